"""Networks of one layer or two, for studies of a layer."""
