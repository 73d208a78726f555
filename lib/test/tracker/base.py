"""The contract of a tracker: two methods, as PyTracking's users know them."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

Info = dict[str, Any]


class Tracker(ABC):
    """Follows one target through one sequence; reusable for the next one.

    A frame is a `(H, W, 3)` uint8 RGB image, a box is xywh in its pixels.
    """

    @abstractmethod
    def initialize(self, image: np.ndarray, info: Info) -> Info | None:
        """Start on a new target; nothing of an earlier one may remain.

        Args:
            image: the first frame.
            info: `init_bbox` is the target's xywh box in it.

        Returns:
            what `track` would return for this frame, or None.
        """

    @abstractmethod
    def track(self, image: np.ndarray, info: Info | None = None) -> Info:
        """Find the target in the next frame.

        Returns:
            `target_bbox`, an xywh list, and whatever else the tracker knows; a `confidence`
            (on a scale of the tracker's own) is written beside the raw results.
        """
