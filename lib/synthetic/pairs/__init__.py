"""Training pairs from photographs and drawings."""
