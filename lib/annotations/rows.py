"""A row of an annotation, and what the formats say about the clip beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from lib.utils.boxes import Box
from lib.utils.targets import TargetId

LOST = "lost"
COLUMNS = ("frame", "target", "time_s", "x", "y", "w", "h", "confidence")
STATE_COLUMN = "state"


@dataclass(frozen=True)
class TargetRow:
    """Where a target is in a frame.

    Attributes:
        frame: 0-based number of the picture.
        time: seconds since the first frame.
        target: the target's number or name.
        box: xywh in pixels, the upper left corner of the picture at 0, 0.
        confidence: 0..1; None where the tracker has none.
        state: 'tracked', 'uncertain' or 'lost'; None where nobody tells.
    """

    frame: int
    time: float
    target: TargetId
    box: Box
    confidence: float | None = None
    state: str | None = None


@dataclass(frozen=True)
class ClipFacts:
    """What a file of annotations says about the clip.

    Attributes:
        name: of the clip's file or folder.
        width: of the pictures, in pixels.
        height: of the pictures, in pixels.
        fps: frames per second.
        length: number of frames, None where nobody knows.
        pictures: file names of the pictures, where the clip is a folder of them.
    """

    name: str
    width: int
    height: int
    fps: float
    length: int | None = None
    pictures: Sequence[str] = ()

    def picture(self, frame: int) -> str:
        """File name of a picture; one of a video is numbered from 0, as `clip_000012.jpg`."""
        if frame < len(self.pictures):
            return self.pictures[frame]
        return f"{PurePath(self.name).stem}_{frame:06d}.jpg"


def target_numbers(rows: Iterable[TargetRow]) -> dict[TargetId, int]:
    """A whole number from 1 on for each target: its own, or its place where there are names."""
    targets = list(dict.fromkeys(row.target for row in rows))
    if all(isinstance(target, int) and target > 0 for target in targets):
        return {target: int(target) for target in targets}
    return {target: place for place, target in enumerate(targets, start=1)}


def csv_cells(row: TargetRow) -> list[str]:
    """The cells of a row of the CSV table, under `COLUMNS` and, where it has one, the state."""
    known = "" if row.confidence is None else f"{row.confidence:.4f}"
    cells = [str(row.frame), str(row.target), f"{row.time:.3f}", *map(_pixels, row.box), known]
    return cells if row.state is None else [*cells, row.state]


def json_row(row: TargetRow) -> dict[str, Any]:
    """A row as JSON has it."""
    return {
        "frame": row.frame,
        "time_s": round(row.time, 6),
        "target": row.target,
        "box": rounded(row.box),
        "confidence": None if row.confidence is None else round(row.confidence, 4),
        "state": row.state,
    }


def rounded(box: Box) -> Box:
    """A box as the formats write it, in hundredths of a pixel."""
    x, y, w, h = (round(float(value), 2) for value in box)
    return x, y, w, h


def _pixels(value: float) -> str:
    return f"{value:.2f}"
