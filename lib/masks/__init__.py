"""Masks from boxes: Alpha-Refine, SAM 2."""
