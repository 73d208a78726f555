"""Box formats, overlap and clipping.

A box says its format: `xywh` is left, top, width, height; `xyxy` is left, top, right, bottom;
`cxcywh` is centre, width, height. Pixels have their origin at the top left; nothing here adds
or subtracts the one of 1-based annotations.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]

# The tracker never lets a box shrink below this, nor leave the image by more (reference tracker).
CLIP_MARGIN = 10


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """Convert boxes `(..., 4)` from xywh to xyxy.

    Example:
        >>> xywh_to_xyxy(np.array([1.0, 2.0, 3.0, 4.0])).tolist()
        [1.0, 2.0, 4.0, 6.0]
    """
    boxes = np.asarray(boxes)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Convert boxes `(..., 4)` from xyxy to xywh.

    Example:
        >>> xyxy_to_xywh(np.array([1.0, 2.0, 4.0, 6.0])).tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    boxes = np.asarray(boxes)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def cxcywh_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Convert boxes `(..., 4)` from cxcywh to xywh.

    Example:
        >>> cxcywh_to_xywh(np.array([5.0, 6.0, 4.0, 2.0])).tolist()
        [3.0, 5.0, 4.0, 2.0]
    """
    boxes = np.asarray(boxes)
    return np.concatenate([boxes[..., :2] - 0.5 * boxes[..., 2:], boxes[..., 2:]], axis=-1)


def iou_xywh(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of matching xywh boxes, `(..., 4)` and `(..., 4)` to `(...)`.

    Two boxes without area overlap by 0, not NaN.

    Example:
        >>> float(iou_xywh(np.array([0, 0, 2, 2]), np.array([1, 0, 2, 2])))
        0.3333333333333333
    """
    a, b = xywh_to_xyxy(first), xywh_to_xyxy(second)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    intersection = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = np.prod(np.asarray(first)[..., 2:], axis=-1) + np.prod(
        np.asarray(second)[..., 2:], axis=-1
    )
    union = areas - intersection
    overlap = np.divide(intersection, union, out=np.zeros_like(union, float), where=union > 0)
    # Rounding of far-away corners can lift equal boxes a hair above 1.
    return np.minimum(overlap, 1.0)


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
