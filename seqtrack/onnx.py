"""Tracking without PyTorch; see docs/onnx.md."""

from lib.tracker.exported import SeqTrackONNX

__all__ = ["SeqTrackONNX"]
