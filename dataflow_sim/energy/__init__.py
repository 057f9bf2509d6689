"""Counts x cost."""
