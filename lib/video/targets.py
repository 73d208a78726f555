"""Follow several targets through one clip.

Each target is tracked for itself, from its box in the first frame; nothing is matched between
them. SeqTrack takes all of them through the network in one batch.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from lib.tracker.base import Tracker, checked_box
from lib.tracker.build import build_tracker
from lib.tracker.seqtrack import SeqTrackTracker, TargetState, start_target, track_step
from lib.tracker.spec import TrackerSpec
from lib.tracker.templates import SCORE_SCALE
from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.video.clip import Clip, Estimate, Step

# The score of four certain tokens; confidences are shown as shares of it.
TOP_SCORE = 4 * SCORE_SCALE


class Targets(Protocol):
    """A fixed number of targets, tracked together."""

    def start(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Estimate]:
        """Begin with one target per box in the first frame `(H, W, 3)` uint8 RGB."""
        ...

    def step(self, image: np.ndarray) -> list[Estimate]:
        """Find all of them in the next frame."""
        ...


class BatchedTargets:
    """All targets in one forward pass of SeqTrack."""

    def __init__(self, tracker: SeqTrackTracker) -> None:
        self.tracker = tracker
        self.states: list[TargetState] = []

    def start(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Estimate]:
        """Begin; the given boxes are certain."""
        settings, engine = self.tracker.settings, self.tracker.engine
        self.states = [start_target(image, box, settings, engine) for box in boxes]
        return [Estimate(state.box, 1.0) for state in self.states]

    def step(self, image: np.ndarray) -> list[Estimate]:
        """Find all of them in the next frame."""
        its = self.tracker
        images = [image] * len(self.states)
        predictions = track_step(its.engine, its.settings, self.states, images)
        self.states = [prediction.state for prediction in predictions]
        return [Estimate(one.state.box, one.score / TOP_SCORE) for one in predictions]


class SeparateTargets:
    """One tracker object per target, for trackers without a batched step."""

    def __init__(self, spec: TrackerSpec, device: torch.device | str) -> None:
        self.spec, self.device = spec, device
        self.trackers: list[Tracker] = []

    def start(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Estimate]:
        """Begin with a new tracker for each box."""
        self.trackers = [build_tracker(self.spec, self.device) for _ in boxes]
        for tracker, box in zip(self.trackers, boxes, strict=True):
            tracker.initialize(image, {"init_bbox": list(box)})
        return [Estimate(box, None) for box in boxes]

    def step(self, image: np.ndarray) -> list[Estimate]:
        """Ask one tracker after the other."""
        answers = [tracker.track(image) for tracker in self.trackers]
        return [Estimate(checked_box(answer, "a frame"), None) for answer in answers]


def build_targets(spec: TrackerSpec, device: torch.device | str = "cpu") -> Targets:
    """The tracker that `spec` describes, for any number of targets.

    Raises:
        SeqTrackError: as `build_tracker`.
    """
    tracker = build_tracker(spec, device)
    if isinstance(tracker, SeqTrackTracker):
        return BatchedTargets(tracker)
    return SeparateTargets(spec, device)


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
