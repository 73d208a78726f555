"""Overlap and clipping of boxes.

A box says its format: `xywh` is left, top, width, height; `cxcywh` is centre, width, height.
Pixels have their origin at the top left; nothing here adds or subtracts the one of 1-based
annotations.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]

# The tracker never lets a box shrink below this, nor leave the image by more (reference tracker).
CLIP_MARGIN = 10


def iou_xywh(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of matching xywh boxes, (N, 4) and (N, 4).

    Computed to the bit as the GOT-10k toolkit does, which scores with it: 0 for two boxes without
    area, NaN where a box holds NaN.

    Example:
        >>> iou_xywh(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 2, 2]])).round(6).tolist()
        [0.333333]
    """
    start = np.maximum(first[:, :2], second[:, :2])
    end = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    shared = np.maximum(end - start, 0.0).prod(axis=1)
    union = first[:, 2:].prod(axis=1) + second[:, 2:].prod(axis=1) - shared
    return np.clip(shared / (union + np.finfo(float).eps), 0.0, 1.0)


def clip_xywh(box: Sequence[float], height: int, width: int, margin: int = CLIP_MARGIN) -> Box:
    """Clip an xywh box to the image, keeping at least `margin` pixels of it each way.

    The corners are clipped first and the size is then raised to `margin`, so a small box at
    the right or lower edge may stick out again: the reference tracker does that, and released
    weights were measured with it.

    Example:
        >>> clip_xywh((300, 300, 20, 20), height=140, width=190)
        (180.0, 130.0, 10.0, 10.0)
    """
    x, y, w, h = (float(v) for v in box)
    left = min(max(0.0, x), float(width - margin))
    right = min(max(float(margin), x + w), float(width))
    top = min(max(0.0, y), float(height - margin))
    bottom = min(max(float(margin), y + h), float(height))
    return left, top, max(float(margin), right - left), max(float(margin), bottom - top)


def pull_size(box: Box, size: tuple[float, float], share: float) -> Box:
    """An xywh box whose log size is pulled toward `size` by `share`, about the same centre.

    Example:
        >>> [round(v, 6) for v in pull_size((10.0, 10.0, 20.0, 80.0), (20.0, 20.0), 0.5)]
        [10.0, 30.0, 20.0, 40.0]
    """
    x, y, w, h = box
    new_w, new_h = (
        max(now, 1e-6) ** (1 - share) * aim**share for now, aim in zip((w, h), size, strict=True)
    )
    return (x + (w - new_w) / 2, y + (h - new_h) / 2, new_w, new_h)
