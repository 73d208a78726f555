"""Trackers behind one two-method contract."""
