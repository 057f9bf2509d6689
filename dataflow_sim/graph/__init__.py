"""Tensors, layers and networks; facts about them and passes over them."""
