"""Boxes on the command line of `track`: which target, in which frame."""

import argparse
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.video.clip import TargetId

# A target before @, a frame before a colon, then the box.
_FORM = re.compile(r"(?:([^@:,]+)@)?(?:(\d+):)?([^@:]*)")


@dataclass(frozen=True)
class BoxArgument:
    """What `--box` says.

    Attributes:
        box: xywh in pixels.
        frame: index of its frame; None for the one where tracking starts.
        target: number or name; None for a target that was not there before.
    """

    box: Box
    frame: int | None = None
    target: TargetId | None = None


def box_argument(text: str) -> BoxArgument:
    """An argument `[TARGET@][FRAME:]x,y,w,h`.

    Example:
        >>> box_argument("cat@120:10,20,30,40")
        BoxArgument(box=(10.0, 20.0, 30.0, 40.0), frame=120, target='cat')
    """
    match = _FORM.fullmatch(text)
    target, frame, numbers = match.groups() if match else (None, None, "")
    try:
        x, y, w, h = (float(word) for word in numbers.split(","))
    except ValueError:
        x = y = w = h = math.nan
    if not math.isfinite(x + y + w + h) or w <= 0 or h <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no box; write x,y,w,h: left, top, width and height in pixels, such as "
            "120,80,60,40; 30:120,80,60,40 is one in frame 30, and cat@30:120,80,60,40 one of the "
            "target cat"
        )
    name: TargetId | None = target
    if target is not None and target.isdecimal():
        name = int(target)
    return BoxArgument((x, y, w, h), None if frame is None else int(frame), name)


class FourWords(argparse.Action):
    """`--optional_box X Y W H`, as PyTracking's users type a box."""

    def __call__(self, p, namespace, words, *_: object) -> None:  # type: ignore[no-untyped-def]
        """Add the box."""
        try:
            namespace.boxes = [*namespace.boxes, box_argument(",".join(words))]
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def place_boxes(given: Sequence[BoxArgument], start: int) -> dict[int, dict[TargetId, Box]]:
    """Boxes by frame and target; targets without a name are called 1, 2, … in their order.

    Args:
        given: of the command line.
        start: the frame of those that name none.

    Raises:
        DataError: a target has two boxes in one frame.

    Example:
        >>> place_boxes([BoxArgument((1, 2, 3, 4)), BoxArgument((5, 6, 7, 8), 20, 1)], 0)
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
