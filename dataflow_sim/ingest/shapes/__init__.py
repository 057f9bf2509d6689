"""Shapes, types and constants of a file, without its weights."""
