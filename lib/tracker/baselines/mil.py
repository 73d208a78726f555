"""OpenCV's MIL tracker, a baseline that everybody has: it learns online and knows no scale.

Source: Babenko, Yang and Belongie, Visual tracking with online multiple instance learning,
CVPR 2009, in OpenCV's implementation, which seeds itself by the clock: no two runs are equal.
"""

from typing import Any

import cv2
import numpy as np

from lib.tracker.base import BaseTracker, Info
from lib.utils.errors import DataError

# In a smaller box OpenCV looks for a feature that fits until the process is killed.
_LEAST_SIDE, _LEAST_AREA = 3, 18


class MIL(BaseTracker):
    """Follows the target by features that a classifier picks online; the size stays."""

    def initialize(self, image: np.ndarray, info: Info) -> None:
        """Start on the box `info["init_bbox"]`, rounded to pixels, as far as it is in the image.

        Raises:
            DataError: of the box too little is in the image, or around it.
        """
        height, width = image.shape[:2]
        x, y, w, h = (float(v) for v in info["init_bbox"])
        left, top = max(0, round(x)), max(0, round(y))
        size = (min(width, round(x + w)) - left, min(height, round(y + h)) - top)
        what = f"MIL cannot start on the box {x:g},{y:g},{w:g},{h:g}"
        if min(size) < _LEAST_SIDE or size[0] * size[1] < _LEAST_AREA:
            raise DataError(
                f"{what}: {max(0, size[0])} x {max(0, size[1])} pixels of it are in the image, and "
                f"it needs {_LEAST_SIDE} each way and {_LEAST_AREA} altogether"
            )
        self.box = [float(v) for v in (left, top, *size)]
        self.tracker = cv2.TrackerMIL.create()
        try:
            self.tracker.init(image, [left, top, *size])
        except cv2.error:
            raise DataError(
                f"{what}: it learns from what is around the box, and the image of {width} x "
                f"{height} pixels has too little of that"
            ) from None

    def track(self, image: np.ndarray, info: Info | None = None) -> dict[str, Any]:
        """The new box; the last one where MIL has lost the target."""
        found, box = self.tracker.update(image)
        if found:
            self.box = [float(v) for v in box]
        return {"target_bbox": list(self.box)}
