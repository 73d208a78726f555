"""Generated pictures: test sequences and training pairs."""
