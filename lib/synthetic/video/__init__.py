"""Built-in tracking sequences, generated."""
