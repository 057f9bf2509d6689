"""Scenario files: a study as data, its points, and what is expected of their results."""
