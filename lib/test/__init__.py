"""Run trackers over sequences, write raw results, score them."""
