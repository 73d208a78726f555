"""From a training set to a batch."""
