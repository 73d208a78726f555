"""Trackers over data sets: one sequence, many, on many processes."""
