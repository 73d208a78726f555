"""Video files and folders of frames: read, track, write."""
