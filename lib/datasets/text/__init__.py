"""Numbers in text files: boxes, ground truth."""
