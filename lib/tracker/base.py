"""The contract of a tracker: two methods, as PyTracking's users know them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.utils.errors import SeqTrackError

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


def checked_box(
    answer: object, frame: str, finite: bool = True
) -> tuple[float, float, float, float]:
    """The xywh box of a tracker's answer.

    Args:
        answer: what `Tracker.track` returned.
        frame: what to call the frame in a message.
        finite: refuse NaN and infinity.

    Raises:
        SeqTrackError: the answer holds no box.
    """
    box = answer.get("target_bbox") if isinstance(answer, Mapping) else None
    try:
        values = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (4,) or (finite and not np.isfinite(values).all()):
        raise SeqTrackError(
            f"the tracker returned {str(answer)[:200]} for {frame}; a dict is needed in which "
            "'target_bbox' is four finite numbers x, y, w, h"
        )
    x, y, w, h = values.tolist()
    return x, y, w, h
