"""Boxes as people type them, `[TARGET@][FRAME:]x,y,w,h`, and the frames that they ask for."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.utils.targets import TargetId, target_id

# A target before @, a frame before a colon, then the box.
_FORM = re.compile(r"(?:([^@:,]+)@)?(?:(\d+):)?([^@:]*)")


@dataclass(frozen=True)
class PlacedBox:
    """A box, and of what it is.

    Attributes:
        box: xywh in pixels.
        frame: index of its frame; None for the one where tracking starts.
        target: number or name; None for a target that was not there before.
    """

    box: Box
    frame: int | None = None
    target: TargetId | None = None


def parse_box(text: str) -> PlacedBox:
    """The box of `[TARGET@][FRAME:]x,y,w,h`.

    Raises:
        DataError: it is none.

    Example:
        >>> parse_box("cat@120:10,20,30,40")
        PlacedBox(box=(10.0, 20.0, 30.0, 40.0), frame=120, target='cat')
    """
    match = _FORM.fullmatch(text)
    target, frame, numbers = match.groups() if match else (None, None, "")
    try:
        x, y, w, h = (float(word) for word in numbers.split(","))
    except ValueError:
        x = y = w = h = math.nan
    if not math.isfinite(x + y + w + h) or w <= 0 or h <= 0:
        raise DataError(
            f"{text!r} is no box; write x,y,w,h: left, top, width and height in pixels, such as "
            "120,80,60,40; 30:120,80,60,40 is one in frame 30, and cat@30:120,80,60,40 one of the "
            "target cat"
        )
    name = None if target is None else target_id(target)
    return PlacedBox((x, y, w, h), None if frame is None else int(frame), name)


def place_boxes(given: Sequence[PlacedBox], start: int) -> dict[int, dict[TargetId, Box]]:
    """Boxes by frame and target; targets without a name are called 1, 2, … in their order.

    Args:
        given: in the order in which they were typed.
        start: the frame of those that name none.

    Raises:
        DataError: a target has two boxes in one frame.

    Example:
        >>> place_boxes([PlacedBox((1, 2, 3, 4)), PlacedBox((5, 6, 7, 8), 20, 1)], 0)
        {0: {1: (1, 2, 3, 4)}, 20: {1: (5, 6, 7, 8)}}
    """
    numbers = itertools.count(1)
    placed: dict[int, dict[TargetId, Box]] = {}
    for one in given:
        target = next(numbers) if one.target is None else one.target
        frame = start if one.frame is None else one.frame
        if target in placed.setdefault(frame, {}):
            raise DataError(f"target {target} has two boxes in frame {frame}; leave one out")
        placed[frame][target] = one.box
    return placed


def first_frame(given: Sequence[PlacedBox], others: Iterable[int], backward: bool) -> int:
    """Where tracking starts if nobody says it.

    Args:
        given: boxes that were typed.
        others: frames of further boxes.
        backward: whether it goes to the first frame.

    Raises:
        DataError: no box names the frame from which to go backward.
    """
    frames = [*others, *(one.frame for one in given if one.frame is not None)]
    if backward and not frames:
        raise DataError("--backward needs --start FRAME, or a box that names its frame")
    if backward:
        return max(frames)
    return 0 if any(one.frame is None for one in given) else min(frames, default=0)


def check_end(end: int | None, start: int, backward: bool) -> None:
    """Refuse a last frame that lies before the first one.

    Raises:
        DataError: naming both.
    """
    if end is not None and (end > start if backward else end < start):
        raise DataError(f"--end {end} lies before the start, frame {start}")
