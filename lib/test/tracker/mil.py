"""OpenCV's MIL tracker, a baseline that everybody has: it learns online and knows no scale.

Source: Babenko, Yang and Belongie, Visual tracking with online multiple instance learning,
CVPR 2009, in OpenCV's implementation, which seeds itself by the clock: no two runs are equal.
"""

from typing import Any

import cv2
import numpy as np

from lib.test.tracker.base import Info, Tracker
from lib.utils.errors import DataError


class MIL(Tracker):
    """Follows the target by features that a classifier picks online; the size stays."""

    def initialize(self, image: np.ndarray, info: Info) -> None:
        """Start on the box `info["init_bbox"]`, rounded to pixels.

        Raises:
            DataError: the box is smaller than a pixel, or OpenCV refuses it.
        """
        self.box = [float(v) for v in info["init_bbox"]]
        self.tracker = cv2.TrackerMIL.create()
        try:
            self.tracker.init(image, [round(v) for v in self.box])
        except cv2.error as error:
            raise DataError(f"MIL cannot start on the box {self.box}: {error.err}") from None

    def track(self, image: np.ndarray, info: Info | None = None) -> dict[str, Any]:
        """The new box; the last one where MIL has lost the target."""
        found, box = self.tracker.update(image)
        if found:
            self.box = [float(v) for v in box]
        return {"target_bbox": list(self.box)}
