"""What a run is told: the configuration and the paths."""
