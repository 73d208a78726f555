"""Measurements of this checkout, not installed: beside the reference, other trackers, on GPUs."""
