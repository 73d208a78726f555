"""Follow several targets through one clip.

Each target is tracked for itself, from its box in the first frame; nothing is matched between
them. SeqTrack takes all of them through the network in one batch; other trackers take turns.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from lib.tracker.base import BaseTracker, Info, checked_box
from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.video.clip import Clip, Estimate, Step


class Targets:
    """A fixed number of targets, tracked together.

    Args:
        tracker: without a target of its own.
    """

    def __init__(self, tracker: BaseTracker) -> None:
        self.tracker = tracker
        self.states: list[Any] = []

    def start(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Estimate]:
        """Begin with one target per box in the first frame `(H, W, 3)` uint8 RGB."""
        self.states = [self.tracker.start(image, box)[0] for box in boxes]
        certain = None if self.tracker.top_confidence is None else 1.0
        return [Estimate(box, certain) for box in boxes]

    def step(self, image: np.ndarray) -> list[Estimate]:
        """Find all of them in the next frame.

        Raises:
            SeqTrackError: one of them cannot be tracked.
        """
        estimates = []
        answers = self.tracker.step(self.states, [image] * len(self.states))
        for number, answer in enumerate(answers):
            if isinstance(answer, Exception):
                raise answer
            self.states[number], found = answer
            estimates.append(Estimate(checked_box(found, "a frame"), self._confidence(found)))
        return estimates

    def _confidence(self, answer: Info) -> float | None:
        """As a share of the highest, where that is known."""
        score, top = answer.get("confidence"), self.tracker.top_confidence
        return None if score is None or top is None else score / top


def build_targets(spec: TrackerSpec, device: torch.device | str = "cpu") -> Targets:
    """The tracker that `spec` describes, for any number of targets.

    Raises:
        SeqTrackError: as `build_tracker`.
    """
    return Targets(build_tracker(spec, device))


def follow(
    targets: Targets, clip: Clip, boxes: Sequence[Box], max_frames: int | None = None
) -> Iterator[Step]:
    """Track through a clip, one frame in memory at a time.

    Args:
        targets: they are started here, so whatever they did before is forgotten.
        clip: the frames.
        boxes: xywh in the first frame, one per target.
        max_frames: stop after that many frames.

    Raises:
        DataError: a box lies outside of the first frame, or a frame cannot be read.
        PartialFailure: after the last frame, if the clip breaks off.
    """
    done = 0
    # Closing the generator closes the file, whenever the caller loses interest.
    with contextlib.closing(clip.frames()) as frames:
        while max_frames is None or done < max_frames:
            began = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            read = time.perf_counter()
            if done == 0:
                check_boxes(boxes, frame.image)
                estimates = targets.start(frame.image, boxes)
            else:
                estimates = targets.step(frame.image)
            yield Step(frame, estimates, read - began, time.perf_counter() - read)
            done += 1


def check_boxes(boxes: Sequence[Box], image: np.ndarray) -> None:
    """Refuse a box of which nothing lies in the first frame.

    Raises:
        DataError: naming the box and the frame's size.
    """
    height, width = image.shape[:2]
    for x, y, w, h in boxes:
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise DataError(
                f"box {x:g},{y:g},{w:g},{h:g} lies outside of the first frame, which is {width} "
                f"pixels wide and {height} high; a box is x,y,w,h with x,y its upper left corner"
            )
