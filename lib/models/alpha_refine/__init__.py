"""The mask-only Alpha-Refine network of the VOT2020 challenge, in plain PyTorch."""
