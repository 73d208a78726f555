"""Run one tracker over one sequence: frames in, boxes and seconds out."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.sequence import Sequence
from lib.test.evaluation.results import SequenceResult
from lib.test.tracker.base import Tracker
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, draw_box
from lib.utils.errors import DataError, SeqTrackError
from lib.utils.image_io import write_rgb

OnFrame = Callable[[int, np.ndarray, list[float]], None]


def frames_to_run(sequence: Sequence, max_frames: int | None) -> int:
    """How many frames of the sequence are tracked under a limit."""
    return len(sequence) if max_frames is None else min(len(sequence), max_frames)


def run_sequence(
    tracker: Tracker,
    sequence: Sequence,
    max_frames: int | None = None,
    on_frame: OnFrame | None = None,
) -> SequenceResult:
    """Track through a sequence, one frame in memory at a time.

    Args:
        tracker: it is initialised here, so whatever it did before is forgotten.
        sequence: frames and first box.
        max_frames: stop after that many frames.
        on_frame: called after each frame with its index, the image and the box; not timed.

    Returns:
        boxes `(N, 4)` xywh, the given box first; seconds `(N,)` from the start of reading a
        frame to its box (first: initialisation); confidences `(N,)`, 1 for the given box unless
        the tracker says otherwise, or None if the tracker gives none.

    Raises:
        SeqTrackError: a frame cannot be read, or the tracker's answer is no box.
    """
    boxes: list[list[float]] = []
    times: list[float] = []
    confidences: list[float | None] = []
    for index in range(frames_to_run(sequence, max_frames)):
        start = time.perf_counter()
        image = sequence.frames.read(index)
        if index == 0:
            box = list(sequence.init_box)
            answer = _start(tracker, image, sequence)
        else:
            answer = tracker.track(image)
            box = _checked_box(answer["target_bbox"], sequence, index)
        confidences.append(answer.get("confidence"))
        times.append(time.perf_counter() - start)
        boxes.append(box)
        if on_frame is not None:
            on_frame(index, image, box)
    return SequenceResult(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        times=np.array(times),
        confidences=_as_column(confidences),
    )


def _start(tracker: Tracker, image: np.ndarray, sequence: Sequence) -> dict[str, Any]:
    try:
        return tracker.initialize(image, {"init_bbox": list(sequence.init_box)}) or {}
    except DataError as error:
        raise DataError(f"{sequence.annotation}: first box: {error}") from error


def _as_column(confidences: list[float | None]) -> np.ndarray | None:
    first, *rest = confidences
    if first is None and not any(value is not None for value in rest):
        return None
    known = [1.0 if first is None else first, *rest]
    return np.array([math.nan if value is None else value for value in known], dtype=np.float64)


def _checked_box(box: object, sequence: Sequence, index: int) -> list[float]:
    values = np.asarray(box, dtype=np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise SeqTrackError(
            f"the tracker returned {box!r} for {sequence.frames.describe(index)}; "
            "four finite numbers x, y, w, h are needed"
        )
    return [float(v) for v in values]


def frame_writer(sequence: Sequence, folder: Path) -> OnFrame:
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
