"""Training sets: how each lies on the disk, and how one is opened."""
