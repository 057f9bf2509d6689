"""From resolved nodes to layers: values, what folds into what, the finished network."""
