"""SeqTrack: visual object tracking as reading a box out loud (CVPR 2023)."""

__version__ = "0.1.0"
