"""The report: one page that compares trackers, and opens from a file without any network."""
