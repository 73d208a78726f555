"""Regions of Label Studio's video annotation to boxes, and back.

A `videorectangle` region is one target. Its `sequence` holds keyframes: `frame` from 1; `x`, `y`,
`width`, `height` in percent of the picture; `enabled` whether it is seen from there to the next.
Source: Label Studio's documentation of the tag VideoRectangle.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.video.clip import TargetResult

Region = Mapping[str, Any]
TYPE = "videorectangle"


def drawn_boxes(
    regions: Sequence[Region], width: int, height: int
) -> dict[int, dict[int | str, Box]]:
    """Boxes in pixels by frame (from 0) and region's id: its first, and those that correct it.

    Args:
        regions: of any type; others than `videorectangle` say nothing.
        width: of the picture in pixels.
        height: likewise.

    Raises:
        DataError: a region is no such region.
    """
    boxes: dict[int, dict[int | str, Box]] = {}
    for region in regions:
        if region.get("type") != TYPE:
            continue
        try:
            for one in region["value"]["sequence"]:
                if not one.get("enabled", True):
                    continue
                x, y, w, h = (float(one[name]) for name in ("x", "y", "width", "height"))
                box = (x * width / 100, y * height / 100, w * width / 100, h * height / 100)
                boxes.setdefault(int(one["frame"]) - 1, {})[region["id"]] = box
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"a region cannot be read ({error!r}): {str(region)[:200]}") from None
    return boxes


def keyframe(
    found: TargetResult, frame: int, fps: float, width: int, height: int
) -> dict[str, Any]:
    """The keyframe of a target in a frame (from 0); a lost target is not seen."""
    x, y, w, h = found.box
    return {
        "frame": frame + 1,
        "enabled": found.state != "lost",
        "rotation": 0,
        "x": 100 * x / width,
        "y": 100 * y / height,
        "width": 100 * w / width,
        "height": 100 * h / height,
        "time": (frame + 1) / fps,
    }


def tracked_region(
    region: Region, sequence: list[dict[str, Any]], frames: int, fps: float
) -> dict[str, Any]:
    """The region with a keyframe in every frame that was tracked.

    Args:
        region: as it was drawn; its id, names and labels are kept.
        sequence: the keyframes.
        frames: of the video.
        fps: of the video.
    """
    value = {
        **region["value"],
        "sequence": sequence,
        "framesCount": region["value"].get("framesCount", frames),
        "duration": region["value"].get("duration", frames / fps),
    }
    kept = {name: region[name] for name in ("id", "from_name", "to_name")}
    return {**kept, "type": TYPE, "origin": "manual", "value": value}
