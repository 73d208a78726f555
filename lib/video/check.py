"""Boxes and frames that a clip does not have, said as soon as it can be known."""

from collections.abc import Mapping
from pathlib import Path

from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.utils.targets import TargetId
from lib.video.clip import Clip
from lib.video.decode import VideoFile
from lib.video.open import FrameClip

# Boxes of targets by the index of their frame.
FrameBoxes = Mapping[int, Mapping[TargetId, Box]]


def check_placed(
    clip: Clip, boxes: FrameBoxes, start: int, backward: bool = False, end: int | None = None
) -> None:
    """Refuse a start or a box that a clip does not have, before it is tracked.

    Only what is told without decoding the clip is looked at: live sources, pipes and some files do
    not say how many frames come, and an address is not read twice.

    Args:
        clip: the frames.
        boxes: of the targets, by frame.
        start: index of the first frame.
        backward: whether the clip is tracked toward its first frame.
        end: index of the last frame that is tracked; None for all.

    Raises:
        DataError: naming the frame or the box, and what the clip has.
    """
    sign = -1 if backward else 1
    if early := [one for one in boxes if sign * one < sign * start]:
        side = "after" if backward else "before"
        raise DataError(f"the box of frame {early[0]} lies {side} the start, frame {start}")
    wanted = max([start, *(one for one in boxes if end is None or sign * one <= sign * end)])
    # What a container says is quick to read and may be wrong; its packets are counted if need be.
    if clip.length is not None and wanted >= clip.length:
        count = clip.counted if isinstance(clip, VideoFile) else clip.length
        if count is not None and wanted >= count:
            raise no_frame(clip, wanted, count)
    if boxes and (shape := _frame_shape(clip, start)) is not None:
        check_boxes(boxes, shape)


def frame_count(clip: Clip) -> int | None:
    """Frames of a clip, as exactly as it can be told without decoding it."""
    exact = clip.counted if isinstance(clip, VideoFile) else None
    return clip.length if exact is None else exact


def no_frame(clip: Clip, frame: int, count: int | None) -> DataError:
    """The error for a frame that a clip of `count` frames does not have."""
    length = "" if count is None else f"; it has {count}, counted from 0"
    return DataError(f"{clip.name} has no frame {frame}{length}")


def check_boxes(boxes: FrameBoxes, shape: tuple[int, ...]) -> None:
    """Refuse boxes of which nothing lies in their frames.

    Raises:
        DataError: naming the first one and the frames' size.
    """
    for frame, some in boxes.items():
        for box in some.values():
            check_box(box, shape, frame)


def check_box(box: Box, shape: tuple[int, ...], frame: int) -> None:
    """Refuse a box of which nothing lies in a frame of a shape `(H, W, ...)`.

    Raises:
        DataError: naming the box and the frame's size.
    """
    if share_inside(box, shape) > 0:
        return
    x, y, w, h = box
    where = f"frame {frame}" if frame else "the first frame"
    raise DataError(
        f"box {x:g},{y:g},{w:g},{h:g} lies outside of {where}, which is {shape[1]} pixels wide "
        f"and {shape[0]} high; a box is x,y,w,h with x,y its upper left corner"
    )


def share_inside(box: Box, shape: tuple[int, ...]) -> float:
    """How much of a box lies in a frame of a shape `(H, W, ...)`, 0 to 1.

    Example:
        >>> share_inside((80, 10, 40, 20), (64, 96))
        0.4
    """
    x, y, w, h = box
    inside = [
        max(0.0, min(low + side, limit) - max(low, 0.0)) / side
        for low, side, limit in ((x, w, shape[1]), (y, h, shape[0]))
    ]
    return inside[0] * inside[1]


def _frame_shape(clip: Clip, start: int) -> tuple[int, ...] | None:
    """Height and width of a clip's frames, where a file of this machine tells."""
    if isinstance(clip, FrameClip):
        return clip.source.read(start).shape
    return clip.shape() if isinstance(clip, VideoFile) and isinstance(clip.path, Path) else None
