"""Follow targets through a clip: the one loop of the command and of `lib.api.Tracker`.

Each target is tracked for itself, from its own box; nothing is matched between them. SeqTrack
takes all of them through the network in one batch; other trackers take turns.
"""

import contextlib
import logging
import time
from collections.abc import Generator
from typing import Any

import numpy as np

from lib.tracker.base import BaseTracker, Info, checked_box
from lib.utils.boxes import Box
from lib.utils.errors import PartialFailure
from lib.utils.targets import TargetId
from lib.video.check import FrameBoxes, check_box, check_boxes, no_frame, share_inside
from lib.video.clip import Clip, Result, TargetResult

logger = logging.getLogger(__name__)


class Targets:
    """Targets by id, tracked together; they join and leave between frames.

    Args:
        tracker: without a target of its own.
    """

    def __init__(self, tracker: BaseTracker) -> None:
        self.tracker = tracker
        self.states: dict[TargetId, Any] = {}
        self._warned = False

    def start(self, target: TargetId, image: np.ndarray, box: Box, frame: int = 0) -> TargetResult:
        """Begin with a target, or anew with one that is there, in a frame `(H, W, 3)` uint8 RGB.

        Raises:
            DataError: nothing of the box lies in the frame.
        """
        check_box(box, image.shape, frame)
        if not self._warned and share_inside(box, image.shape) < 0.5:
            self._warned = True
            x, y, w, h = box
            logger.warning(
                "box %g,%g,%g,%g of frame %d: more than half of it lies outside of the picture, "
                "which is %d pixels wide and %d high",
                *(x, y, w, h, frame, image.shape[1], image.shape[0]),
            )
        self.states[target], answer = self.tracker.start(image, box)
        certain = None if self.tracker.top_confidence is None else 1.0
        return TargetResult(box, certain, (answer or {}).get("state"), given=True)

    def step(self, image: np.ndarray) -> dict[TargetId, TargetResult]:
        """Find all of them in the next frame.

        Raises:
            SeqTrackError: one of them cannot be tracked.
        """
        if not self.states:
            return {}
        found = {}
        answers = self.tracker.step(list(self.states.values()), [image] * len(self.states))
        for target, answer in zip(list(self.states), answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            self.states[target], info = answer
            box = checked_box(info, f"target {target}")
            found[target] = TargetResult(box, self._confidence(info), info.get("state"))
        return found

    def _confidence(self, answer: Info) -> float | None:
        """In [0, 1]: calibrated where the tracker is, else as a share of the highest score."""
        if (certainty := answer.get("certainty")) is not None:
            return float(certainty)
        score, top = answer.get("confidence"), self.tracker.top_confidence
        return None if score is None or top is None else score / top


def follow(
    targets: Targets,
    clip: Clip,
    boxes: FrameBoxes,
    start: int = 0,
    backward: bool = False,
    end: int | None = None,
) -> Generator[Result, None, None]:
    """Track through a clip, one frame in memory at a time.

    Args:
        targets: those that are there already go on.
        boxes: where targets join, or are corrected.
        start: index of the first frame.
        backward: go toward the first frame.
        end: index of the last frame, or of the first one going backward; None for all.

    Raises:
        DataError: the clip has no such frame or box, or a frame cannot be read.
        PartialFailure: after the last frame, if the clip breaks off or a box had no frame.
    """
    sign = -1 if backward else 1
    waiting, last = dict(boxes), None
    # Closing the generator closes the file, whenever the caller loses interest.
    with contextlib.closing(clip.frames(start, backward)) as frames:
        while last is None or end is None or sign * last < sign * end:
            began = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                _check_reached(clip, start, last, waiting)
                return
            if last is None:
                check_boxes(boxes, frame.image.shape)
            read = time.perf_counter()
            found = targets.step(frame.image)
            # Of a live source, the frame of a box may have been skipped.
            for number in [one for one in waiting if sign * one <= sign * frame.index]:
                for target, box in waiting.pop(number).items():
                    found[target] = targets.start(target, frame.image, box, frame.index)
            yield Result(
                frame.index,
                frame.time,
                frame.image,
                found,
                frame.duration,
                clip.skipped,
                read - began,
                time.perf_counter() - read,
            )
            last = frame.index


def _check_reached(clip: Clip, start: int, last: int | None, waiting: FrameBoxes) -> None:
    """Raise unless the clip that has ended had a frame, and one for each box."""
    if last is None:
        raise no_frame(clip, start, clip.length)
    if waiting:
        raise PartialFailure(
            f"{clip.name} ends at frame {last}: the box of frame {min(waiting)} was not reached"
        )
