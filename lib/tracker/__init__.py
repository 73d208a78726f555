"""Trackers: what tracks a target from frame to frame."""
