"""From a folder (or a seed) to sequences of frames with ground truth."""
