"""What one pass over a clip with many targets gains over a run for each of them.

Both sides are `Tracker.stream` over one video file, of 1280 x 720 pixels or as asked for: one side
reads it once with all targets in one batch, the other once for each target, as somebody does who
has a tracker of single targets. The pictures are those of generated sequences side by side, so that
every target is a thing that moves. The network is loaded before the clock starts. The time of
tracking alone is a row as well.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.same_rows import RowAgreement
from benchmarks.turns import take_turns
from lib.api import Tracker
from lib.datasets.sequence import Video
from lib.utils.boxes import Box
from lib.video.write import FileSink

SIZE = (1280, 720)


@dataclass(frozen=True)
class _Tracked:
    """Boxes `(targets, frames, 4)`, and the seconds that finding them took, without reading."""

    boxes: np.ndarray
    seconds: float


def targets_record(
    tracker: Tracker,
    sequences: Sequence[Video],
    frames: int,
    rounds: int,
    seconds: float,
    factors: Sequence[float],
    size: tuple[int, int] = SIZE,
) -> dict[str, Any]:
    """The record of `benchmark.py targets`: rows for both sides, and how far boxes are apart.

    Args:
        tracker: with its network.
        sequences: each gives a part of the pictures and one target.
        frames: of the clip.
        rounds: turns of each side.
        seconds: begin no further round after that time.
        factors: of the squares that the tracker cuts: search region and template.
        size: width and height of the clip's pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip, boxes = write_clip(Path(folder) / "clip.mp4", sequences, frames, size)
        targets = len(boxes)
        works = {
            f"{targets} runs of one": lambda _: _join([_run(tracker, clip, [b]) for b in boxes]),
            f"one run of {targets}": lambda _: _run(tracker, clip, boxes),
        }
        tracked: dict[str, list[_Tracked]] = {name: [] for name in works}

        def note(_: int, results: dict[str, Any]) -> None:
            for name, result in results.items():
                tracked[name].append(result)

        times = take_turns(works, tracker.device, rounds, seconds, note, at_least=1)
    walls = {name: one.median / 1000 for name, one in times.items()}
    alone = {name: float(np.median([one.seconds for one in tracked[name]])) for name in works}
    rows = []
    for situation, side in (("whole run", walls), ("tracking only", alone)):
        single = next(iter(side.values()))
        for name, took in side.items():
            rate = {"frames_per_s": frames / took, "ratio_to_reference": single / took}
            rows.append({"situation": situation, "what": name, "calls": len(tracked[name]), **rate})
    agreement = RowAgreement()
    pairs = zip(*(some[0].boxes for some in tracked.values()), strict=True)
    for number, (one, other) in enumerate(pairs, start=1):
        agreement.add(f"target {number}", one, other, factors)
    facts = {"targets": targets, "frames": frames, "frame": list(size), "engine": tracker.engine}
    return {**facts, "rows": rows, **agreement.row()}


def write_clip(
    path: Path, sequences: Sequence[Video], frames: int, size: tuple[int, int] = SIZE
) -> tuple[Path, list[Box]]:
    """A video file of the sequences' first frames side by side, and the box of each one's target.

    Args:
        path: of the file.
        sequences: fill a square grid row by row, each stretched to its tile.
        frames: of the clip; no sequence has fewer.
        size: width and height of the pictures.
    """
    columns = math.ceil(math.sqrt(len(sequences)))
    width, height = size[0] // columns, size[1] // columns
    corners = [
        (width * (number % columns), height * (number // columns))
        for number in range(len(sequences))
    ]
    sink = FileSink(path, 25)
    for index in range(frames):
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        for (x, y), sequence in zip(corners, sequences, strict=True):
            tile = cv2.resize(sequence.frames.read(index)[..., ::-1], (width, height))
            picture[y : y + height, x : x + width] = tile
        sink.write(picture, index / 25)
    sink.close()
    boxes = []
    for (x, y), sequence in zip(corners, sequences, strict=True):
        share = np.array(sequence.init_box) / np.array(sequence.resolution * 2)
        boxes.append(tuple((share * (width, height, width, height) + (x, y, 0, 0)).tolist()))
    return path, boxes


def _run(tracker: Tracker, clip: Path, boxes: Sequence[Box]) -> _Tracked:
    found, seconds = [], 0.0
    for result in tracker.stream(clip, list(boxes)):
        found.append([one.box for one in result.targets.values()])
        seconds += result.track_seconds
    return _Tracked(np.array(found).swapaxes(0, 1), seconds)


def _join(runs: Sequence[_Tracked]) -> _Tracked:
    return _Tracked(np.concatenate([one.boxes for one in runs]), sum(one.seconds for one in runs))
