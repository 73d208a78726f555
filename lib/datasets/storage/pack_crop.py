"""The part of a frame that training samples can ask for, and a smaller picture of it.

A sample's crop lies about a box that is off by chance: its side is FACTOR times the jittered
side, its centre off by at most half of CENTER_JITTER times that. The jittered side itself is
log-normal, so it has no largest value; `sigmas` says how far out it is followed.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

# The log of the side is the mean of two independent normal numbers.
_OF_THE_MEAN = math.sqrt(0.5)


@dataclass(frozen=True)
class CropRule:
    """How frames are cut."""

    reach: float  # from the target's centre, in units of `sqrt(w * h)`
    # Frames whose target is larger (`sqrt(w * h)` in pixels) are made smaller; 0: none
    shrink: int = 0
    quality: int = 95  # of the JPEG that is written

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def reach_of(factor: float, centre_jitter: float, scale_jitter: float, sigmas: float) -> float:
    """How far crops reach from the target's centre, in units of its side.

    Example:
        >>> round(reach_of(4.0, 3.5, 0.5, 3.0), 2)
        10.83
    """
    largest = math.exp(scale_jitter * sigmas * _OF_THE_MEAN)
    return largest * (factor + centre_jitter) / 2


@dataclass(frozen=True)
class KeptRegion:
    """A part of a frame, and the size in which it is stored, in pixels."""

    x: int
    y: int
    width: int
    height: int
    stored_width: int
    stored_height: int

    @property
    def text(self) -> str:
        """For the name of a file.

        Example:
            >>> KeptRegion(30, 40, 900, 700, 450, 350).text
            '30,40,900,700,450,350'
        """
        parts = (self.x, self.y, self.width, self.height, self.stored_width, self.stored_height)
        return ",".join(map(str, parts))

    @classmethod
    def parse(cls, text: str) -> "KeptRegion":
        """The region that `text` says. Raises ValueError: it is none."""
        return cls(*map(int, text.split(",")))

    def move(self, box: np.ndarray) -> np.ndarray:
        """A box `(4,)` xywh of the frame in pixels of the stored part."""
        x, y = self.stored_width / self.width, self.stored_height / self.height
        return (box - (self.x, self.y, 0, 0)) * (x, y, x, y)


def region_of(box: np.ndarray, width: int, height: int, rule: CropRule) -> KeptRegion:
    """The part of a frame that is kept.

    All four sides move by even numbers of pixels, so that rounding to even, which the crop of a
    sample uses, goes the same way in the part, mirrored or not.
    """
    side = math.sqrt(float(box[2]) * float(box[3]))
    # Two pixels more: the crop's own rounding, and its black border column.
    away = rule.reach * side + 2
    centre_x, centre_y = float(box[0] + box[2] / 2), float(box[1] + box[3] / 2)
    left, right = _span(centre_x - away, centre_x + away, width)
    top, bottom = _span(centre_y - away, centre_y + away, height)
    scale = min(1.0, rule.shrink / side) if rule.shrink else 1.0
    stored = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    return KeptRegion(left, top, right - left, bottom - top, *stored)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Even steps from both ends of `size` pixels, with a pixel left at least."""
    start = max(0, min(math.floor(low), size - 1)) // 2 * 2
    end = size - max(0, min(size - math.ceil(high), size - start - 1)) // 2 * 2
    return start, max(end, start + 1)


def cut(image: np.ndarray, region: KeptRegion) -> np.ndarray:
    part = image[region.y : region.y + region.height, region.x : region.x + region.width]
    size = (region.stored_width, region.stored_height)
    if size == (region.width, region.height):
        return part
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA)
