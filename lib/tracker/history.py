"""The boxes of the frames before, for a network that reads them (MODEL.HISTORY)."""

from collections.abc import Sequence

import numpy as np

from lib.utils.boxes import Box
from lib.utils.crop import Crop, box_in_crop


def with_box(history: tuple[Box, ...], box: Box, lost: bool, count: int) -> tuple[Box, ...]:
    """The last `count` boxes after another frame; none of a lost target: where it was says nothing
    about where it comes back.

    Example:
        >>> with_box(((0, 0, 4, 4), (1, 0, 4, 4)), (2, 0, 4, 4), lost=False, count=2)
        ((1, 0, 4, 4), (2, 0, 4, 4))
    """
    return () if lost or not count else (*history, box)[-count:]


def seen_in(crops: Sequence[Crop], past: Sequence[tuple[Box, ...]], count: int) -> np.ndarray:
    """The boxes before, in B search crops, as `Engine.generate` takes them.

    Args:
        crops: B of them.
        past: for each, at most `count` boxes xywh in image pixels, oldest first.
        count: N of MODEL.HISTORY.

    Returns:
        `(B, N, 4)` float32, NaN where a box is not known.
    """
    history = np.full((len(crops), count, 4), np.nan, np.float32)
    for row, crop, boxes in zip(history, crops, past, strict=True):
        if boxes:
            row[-len(boxes) :] = box_in_crop(np.array(boxes), crop)
    return history
