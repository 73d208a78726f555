"""Template matching, the oldest baseline: where near the last box does the first patch fit best?

The measure is the zero-mean normalised cross-correlation of the colours (Lewis, Fast normalized
cross-correlation, Vision Interface 1995), in OpenCV's implementation. The template is the first
box for ever and its size stays, so this tracker cannot drift but loses whatever changes its looks.
"""

import math
from typing import Any

import cv2
import numpy as np

from lib.tracker.base import BaseTracker, Info
from lib.utils.errors import DataError

# How far the target may move from frame to frame, in mean sides sqrt(w * h) of its box.
REACH = 1.0
_LEAST_SIDE = 2


class TemplateMatch(BaseTracker):
    """Looks for the patch of the first box in a window around the last one.

    `confidence` and `certainty` are the correlation at the box, from 0 (none, or a negative one)
    to 1.
    """

    def initialize(self, image: np.ndarray, info: Info) -> Info:
        """Keep the pixels of the box `info["init_bbox"]`, as far as it is in the image.

        Raises:
            DataError: too little of it is in the image.
        """
        height, width = image.shape[:2]
        x, y, w, h = (float(value) for value in info["init_bbox"])
        left, top = max(0, round(x)), max(0, round(y))
        right, bottom = min(width, round(x + w)), min(height, round(y + h))
        if min(right - left, bottom - top) < _LEAST_SIDE:
            raise DataError(
                f"template matching cannot start on the box {x:g},{y:g},{w:g},{h:g}: "
                f"{max(0, right - left)} x {max(0, bottom - top)} pixels of it are in the image, "
                f"and it needs {_LEAST_SIDE} each way"
            )
        self.template = image[top:bottom, left:right].copy()
        # One colour correlates with nothing; what comes nearest to it is then looked for.
        self.flat = not self.template.std(axis=(0, 1)).any()
        self.corner = (left, top)
        # Where the box lies relative to its part that is in the image.
        self.offset = (x - left, y - top)
        self.size = (w, h)
        self.reach = max(1, math.ceil(REACH * math.sqrt(w * h)))
        return {"target_bbox": [x, y, w, h], "confidence": 1.0, "certainty": 1.0}

    def track(self, image: np.ndarray, info: Info | None = None) -> dict[str, Any]:
        """The box where the template fits best; the last one in an image it does not fit into."""
        left, right = self._span(image.shape[1], self.template.shape[1], self.corner[0])
        top, bottom = self._span(image.shape[0], self.template.shape[0], self.corner[1])
        score = 0.0
        if left < right and top < bottom:
            window = image[top:bottom, left:right]
            _, score, _, (dx, dy) = cv2.minMaxLoc(self._fit(window))
            self.corner = (left + dx, top + dy)
        box = [self.corner[0] + self.offset[0], self.corner[1] + self.offset[1], *self.size]
        score = min(1.0, max(0.0, score))
        return {"target_bbox": box, "confidence": score, "certainty": score}

    def _fit(self, window: np.ndarray) -> np.ndarray:
        """How well the template fits at each place of the window, 1 at best."""
        if self.flat:
            return 1 - cv2.matchTemplate(window, self.template, cv2.TM_SQDIFF_NORMED)
        return cv2.matchTemplate(window, self.template, cv2.TM_CCOEFF_NORMED)

    def _span(self, extent: int, side: int, last: int) -> tuple[int, int]:
        """First pixel of the window and one past its last, on one axis; empty if nothing fits."""
        if side > extent:
            return 0, 0
        start = min(max(0, last - self.reach), extent - side)
        end = max(min(extent, last + side + self.reach), start + side)
        return start, end
