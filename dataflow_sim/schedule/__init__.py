"""Tilings: their closed form, the search, the checker, the bounds."""
