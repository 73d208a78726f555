"""NFS's own annotation, as people download it: text of the VATIC tool, made at 240 frames a second.

A row is `track x1 y1 x2 y2 frame lost occluded generated "label"`. NFS is scored at 30 frames a
second, on every eighth frame; the files that trackers usually read were converted to that. The
flags are not used, because the converted files have none and all forms should score the same.
"""

import math

import numpy as np

from lib.datasets.text.boxes import TextFile, read_text, split_lines
from lib.datasets.text.ground_truth import check_first_box
from lib.utils.errors import DataError

# Frames at 240 per second for one at 30.
FRAME_STEP = 8
_COLUMNS = 8


def read_vatic_boxes(path: TextFile, frames: int) -> np.ndarray:
    """Boxes of `frames` frames at 30 per second as (M, 4) float64 x, y, w, h in pixels.

    Rows are in the order of their frame numbers, one per frame at 240 per second or at 30. M is
    `frames`, or one less: some videos have one frame more than annotation (the GOT-10k toolkit
    leaves that frame out, too).

    Raises:
        DataError: the file is malformed, a frame number is missing or given twice, the rows are
            too few or too many, or the first box has no area.
    """
    numbers, boxes, lines = _read_rows(path)
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    jumps = np.flatnonzero(np.diff(numbers) != 1)
    if len(jumps):
        at = int(jumps[0]) + 1
        raise DataError(
            f"{path}:{lines[order[at]]}: frame {numbers[at]} follows frame {numbers[at - 1]}; "
            "there is one row for each frame"
        )
    boxes = boxes[order]
    for step in (1, FRAME_STEP):
        rows = math.ceil(len(boxes) / step)
        if abs(rows - frames) <= 1:
            boxes = boxes[::step][:frames]
            check_first_box(boxes[0], f"{path}:{lines[order[0]]}")
            return boxes
    raise DataError(
        f"{path}: {len(boxes)} rows for {frames} frames at 30 per second; expected about "
        f"{FRAME_STEP * frames} (240 per second) or {frames}"
    )


def _read_rows(path: TextFile) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Frame numbers (N,), boxes (N, 4) x, y, w, h, and the line of each."""
    numbers, boxes, lines = [], [], []
    for line, tokens in split_lines(read_text(path), str(path)):
        try:
            values = [float(token) for token in tokens[1:6]]
        except ValueError:
            values = [math.nan]
        if len(tokens) < _COLUMNS or not (np.isfinite(values).all() and values[4].is_integer()):
            raise DataError(
                f"{path}:{line}: {' '.join(tokens)[:60]!r} is not a row of NFS's annotation; "
                'expected: track x1 y1 x2 y2 frame lost occluded generated "label"'
            )
        x1, y1, x2, y2, frame = values
        numbers.append(int(frame))
        boxes.append([x1, y1, x2 - x1, y2 - y1])
        lines.append(line)
    return np.array(numbers), np.array(boxes, dtype=np.float64), lines
