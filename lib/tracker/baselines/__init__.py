"""Trackers without a network, to compare with."""
