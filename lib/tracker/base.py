"""The contract of a tracker: two methods, as PyTracking's users know them.

Whoever tracks many targets at once calls `start` and `step`, which every tracker has by those two.
A tracker that can take several targets through its network together overrides them.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.utils.boxes import Box
from lib.utils.errors import SeqTrackError

if TYPE_CHECKING:
    import torch

    from lib.tracker.spec import TrackerSpec

Info = dict[str, Any]


class BaseTracker(ABC):
    """Follows one target through one sequence; reusable for the next one.

    A frame is a `(H, W, 3)` uint8 RGB image, a box is xywh in its pixels.

    Attributes:
        top_confidence: the `confidence` of a certain answer; None where it is on no such scale.
        shared: names of attributes that all targets of `start` share, such as a network.
    """

    top_confidence: float | None = None
    shared: tuple[str, ...] = ()

    @classmethod
    def build(cls, spec: "TrackerSpec", device: "torch.device | str") -> "BaseTracker":
        """The tracker that `spec` describes, on `device`; here, one that needs neither."""
        return cls()

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
            (on a scale of the tracker's own) is written beside the raw results, a `certainty`
            in [0, 1] is what people are shown.
        """

    def start(self, image: np.ndarray, box: Box) -> tuple[Any, Info]:
        """A target of its own beside others: its state, and what `initialize` returns.

        Here the state is a copy of the tracker, which must not have a target itself.
        """
        kept = {id(value): value for value in (getattr(self, name) for name in self.shared)}
        state = copy.deepcopy(self, kept)
        return state, state.initialize(image, {"init_bbox": list(box)}) or {}

    def step(
        self, states: Sequence[Any], images: Sequence[np.ndarray]
    ) -> list[tuple[Any, Info] | Exception]:
        """Track each of B targets by one frame of its own.

        Args:
            states: of `start`, or of the step before.
            images: B frames; they may differ in size.

        Returns:
            for each target its new state and what `track` would return, or what went wrong with
            it alone. An error that is raised has changed no state.
        """
        answers: list[tuple[Any, Info] | Exception] = []
        for state, image in zip(states, images, strict=True):
            try:
                answers.append((state, state.track(image)))
            except Exception as error:
                answers.append(error)
        return answers


def checked_box(
    answer: object, frame: str, finite: bool = True
) -> tuple[float, float, float, float]:
    """The xywh box of a tracker's answer.

    Args:
        answer: what `BaseTracker.track` returned.
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
