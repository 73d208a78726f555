"""Scores of raw results and their statistics: never torch."""
