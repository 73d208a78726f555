"""What a training says and writes down."""
