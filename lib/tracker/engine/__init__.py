"""Runs the network for a tracker: PyTorch, a CUDA graph, ONNX Runtime."""
