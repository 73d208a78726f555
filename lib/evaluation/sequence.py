"""Run one tracker over one sequence: frames in, boxes and seconds out."""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.datasets.prefetch import Readers
from lib.datasets.sequence import Video, announce_range
from lib.results.files import SequenceResult
from lib.tracker.base import BaseTracker, Info, checked_box
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, draw_box
from lib.utils.errors import DataError
from lib.utils.image_io import write_rgb

OnFrame = Callable[[int, np.ndarray, list[float]], None]


def frames_to_run(sequence: Video, max_frames: int | None) -> int:
    """How many frames of the sequence are tracked under a limit."""
    return len(sequence) if max_frames is None else min(len(sequence), max_frames)


@dataclass(frozen=True)
class Outcome:
    """How one sequence ended."""

    name: str  # the sequence
    result: SequenceResult | None = None  # boxes, times and confidences, or None if it failed
    reason: str = ""  # why it failed, one line
    disk_full: bool = False  # it failed because nothing more can be written


class Trace:
    """Collects what a tracker says of one sequence, frame by frame."""

    def __init__(self, sequence: Video) -> None:
        self.sequence = sequence
        self.boxes: list[list[float]] = []
        self.times: list[float] = []
        self.confidences: list[float | None] = []
        self.certainties: list[float | None] = []

    def add(self, answer: Info, seconds: float) -> list[float]:
        """Note the next frame's answer and what it took; returns the box that counts.

        In the first frame that is the given one, whatever the tracker says.

        Raises:
            SeqTrackError: the tracker's answer is no box.
        """
        index = len(self.boxes)
        if index == 0:
            box = list(self.sequence.init_box)
        else:
            box = list(checked_box(answer, self.sequence.frames.describe(index)))
        self.boxes.append(box)
        self.times.append(seconds)
        self.confidences.append(answer.get("confidence"))
        # Of a tracker that nobody calibrated it says no more than the confidence.
        self.certainties.append(answer.get("certainty") if answer.get("calibrated") else None)
        return box

    def result(self) -> SequenceResult:
        """Boxes `(N, 4)`, times `(N,)` and confidences `(N,)`, or None from a tracker without."""
        return SequenceResult(
            boxes=np.array(self.boxes, dtype=np.float64).reshape(-1, 4),
            times=np.array(self.times),
            confidences=_as_column(self.confidences),
            certainties=_as_column(self.certainties),
        )


def run_sequence(
    tracker: BaseTracker,
    sequence: Video,
    max_frames: int | None = None,
    on_frame: OnFrame | None = None,
    readers: Readers | None = None,
) -> SequenceResult:
    """Track through a sequence, one frame in memory at a time, or a few with `readers`.

    Args:
        tracker: it is initialised here, so whatever it did before is forgotten.
        sequence: frames and first box.
        max_frames: stop after that many frames.
        on_frame: called after each frame with its index, the image and the box; not timed.
        readers: threads that read the next frames meanwhile; without, each is read when its
            turn comes.

    Returns:
        boxes `(N, 4)` xywh, the given box first; seconds `(N,)` from asking for a frame to its
        box (first: initialisation); confidences `(N,)`, 1 for the given box unless the tracker
        says otherwise, or None if the tracker gives none.

    Raises:
        SeqTrackError: a frame cannot be read, or the tracker's answer is no box.
    """
    count = frames_to_run(sequence, max_frames)
    announce_range(sequence.frames)
    stream = None if readers is None else readers.open(sequence.frames, 0, count)
    trace = Trace(sequence)
    try:
        for index in range(count):
            start = time.perf_counter()
            image = sequence.frames.read(index) if stream is None else stream.take()
            answer = _start(tracker, image, sequence) if index == 0 else tracker.track(image)
            box = trace.add(answer, time.perf_counter() - start)
            if on_frame is not None:
                on_frame(index, image, box)
    finally:
        if stream is not None:
            stream.close()
    return trace.result()


def _start(tracker: BaseTracker, image: np.ndarray, sequence: Video) -> Info:
    with first_box_of(sequence):
        return tracker.initialize(image, {"init_bbox": list(sequence.init_box)}) or {}


@contextlib.contextmanager
def first_box_of(sequence: Video) -> Iterator[None]:
    """Name the annotation in a DataError of the block, which starts on the first box."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{sequence.annotation}: first box: {error}") from error


def _as_column(confidences: list[float | None]) -> np.ndarray | None:
    first, *rest = confidences
    if first is None and not any(value is not None for value in rest):
        return None
    known = [1.0 if first is None else first, *rest]
    return np.array([math.nan if value is None else value for value in known], dtype=np.float64)


def frame_writer(sequence: Video, folder: Path) -> OnFrame:
    """A callback that writes each frame with its boxes drawn, `<folder>/<sequence>/%06d.jpg`.

    Red is the prediction, green the ground truth where it is known for that frame.
    """

    def write(index: int, image: np.ndarray, box: list[float]) -> None:
        picture = image.copy()
        if index < len(sequence.ground_truth):
            draw_box(picture, sequence.ground_truth[index], TRUTH_COLOUR)
        draw_box(picture, box, PREDICTION_COLOUR)
        write_rgb(_picture(folder, sequence.name, index), picture)

    return write


def has_pictures(folder: Path, name: str, frames: int) -> bool:
    """Whether `frame_writer` has drawn all frames of a sequence."""
    return all(_picture(folder, name, index).exists() for index in range(frames))


def _picture(folder: Path, name: str, index: int) -> Path:
    return folder / name / f"{index + 1:06d}.jpg"


class SequenceSource(Protocol):
    """Gives names of sequences, each to one taker."""

    def take(self, wait: bool) -> str | None:
        """The next sequence.

        Args:
            wait: whether to wait until there is one. Who still has sequences to track must not
                wait: others may be waiting for those.

        Returns:
            its name; None where there is none just now, and after waiting, none ever.
        """


class ListSource:
    """Gives what is in a list.

    Args:
        names: in this order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = deque(names)

    def take(self, wait: bool) -> str | None:
        return self._names.popleft() if self._names else None


# Tracks what a source gives; the callback is called after each frame. Raises SeqTrackError only
# where nothing can be tracked at all.
Follow = Callable[[BaseTracker, SequenceSource, Callable[[], object]], Iterator[Outcome]]
