"""Sequences in, raw result files out."""
