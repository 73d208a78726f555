"""The table of the model zoo."""
