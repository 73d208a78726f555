"""The page that shows results."""
