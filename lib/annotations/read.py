"""Annotations in: boxes of targets by frame, from MOT, COCO, CVAT's XML, CSV and JSON."""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lib.annotations.rows import COLUMNS, LOST
from lib.annotations.write import check_format
from lib.datasets.text.boxes import read_text, split_lines
from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.utils.json_text import parse_json
from lib.utils.targets import TargetId, target_id

# Frames and identities above are none.
_MOST = 2**53
# Where it stands in the file, frame from 0, target, box.
_Found = tuple[str, int, TargetId, Sequence[Any]]


def read_boxes(path: Path, format: str | None = None) -> dict[int, dict[TargetId, Box]]:
    """Boxes by frame (from 0) and target, in the order of the frames.

    A target that is lost, or outside of the picture, has no box there.

    Args:
        path: the file.
        format: one of `READABLE`; None to tell it from the file.

    Raises:
        ConfigError: there is no such format.
        DataError: the file cannot be read, is not of that format, or holds no box.
    """
    text = read_text(path)
    format = format or _format_of(path, text)
    check_format(format, READABLE)
    boxes: dict[int, dict[TargetId, Box]] = {}
    for where, frame, target, numbers in _READERS[format](text, str(path)):
        box = _box(where, numbers)
        if frame < 0:
            raise DataError(f"{where}: the number of the frame is too small")
        if target in boxes.setdefault(frame, {}):
            raise DataError(f"{where}: target {_shown(target)} has two boxes in this frame")
        boxes[frame][target] = box
    if not boxes:
        raise DataError(f"{path}: holds no box")
    return {frame: boxes[frame] for frame in sorted(boxes)}


def _format_of(path: Path, text: str) -> str:
    start = text.lstrip()[:1]
    if start == "<":
        return "cvat"
    if start in ("{", "["):
        return "coco" if '"images"' in text else "json"
    return "csv" if text.lstrip().startswith(COLUMNS[0]) else "mot"


def _box(where: str, values: Sequence[Any]) -> Box:
    """Four numbers as a box with a size."""
    try:
        x, y, w, h = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        x = y = w = h = math.nan
    if not math.isfinite(x + y + w + h) or w <= 0 or h <= 0:
        shown = _shown(", ".join(map(str, values)))
        raise DataError(f"{where}: {shown} is no box x, y, w, h of finite numbers, w and h above 0")
    return x, y, w, h


def _whole(where: str, what: str, value: Any) -> int:
    """A whole number, also where a table writes it as 3.0."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number.is_integer() or abs(number) > _MOST:
        raise DataError(f"{where}: {what} {str(value)[:60]!r} is no whole number")
    return int(number)


def _target(where: str, value: Any) -> TargetId:
    try:
        return target_id(str(value))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _shown(value: Any) -> str:
    """What a file says, fit for one line of a message."""
    return " ".join(str(value).split())[:60]


def _read_csv(text: str, name: str) -> Iterator[_Found]:
    try:
        yield from _csv_rows(csv.DictReader(text.splitlines()), name)
    except csv.Error as error:
        raise DataError(f"{name}: not a CSV table ({error})") from None


def _csv_rows(table: csv.DictReader, name: str) -> Iterator[_Found]:
    needed = ("frame", "target", *"xywh")
    if missing := [column for column in needed if column not in (table.fieldnames or ())]:
        raise DataError(f"{name}:1: no column {missing[0]}; the columns are {', '.join(COLUMNS)}")
    for row in table:
        where = f"{name}:{table.line_num}"
        if row.get("state") != LOST:
            box = [row[side] for side in "xywh"]
            yield where, _whole(where, "frame", row["frame"]), _target(where, row["target"]), box


def _read_mot(text: str, name: str) -> Iterator[_Found]:
    for number, cells in split_lines(text, name):
        where = f"{name}:{number}"
        if len(cells) < 6:
            raise DataError(
                f"{where}: {len(cells)} values; MOT has frame (from 1), target, x, y, w, h, …"
            )
        frame = _whole(where, "frame", cells[0]) - 1
        yield where, frame, _whole(where, "target", cells[1]), cells[2:6]


def _read_json(text: str, name: str) -> Iterator[_Found]:
    rows = _parsed(text, name).get("rows")
    for place, row in enumerate(_dicts(rows, f"{name}: rows"), start=1):
        where = f"{name}: row {place}"
        if row.get("state") != LOST:
            box = row.get("box")
            values = box if isinstance(box, list) else [box]
            yield (
                where,
                _whole(where, "frame", row.get("frame")),
                _target(where, row.get("target")),
                values,
            )


def _read_coco(text: str, name: str) -> Iterator[_Found]:
    content = _parsed(text, name)
    images = _dicts(content.get("images"), f"{name}: images")
    annotations = _dicts(content.get("annotations"), f"{name}: annotations")
    videos = {str(image.get("video_id")) for image in images}
    if len(videos) > 1:
        raise DataError(f"{name}: {len(videos)} videos; keep the annotations of one")
    ordered = sorted(images, key=lambda image: _whole(name, "an image's id", image.get("id")))
    # Without a number of its own, an image is the frame of its place, as CVAT writes them.
    frames = {_key(one["id"]): one.get("frame_id", place) for place, one in enumerate(ordered)}
    seen: dict[Any, int] = {}
    for place, annotation in enumerate(annotations, start=1):
        where = f"{name}: annotation {_shown(annotation.get('id', place))}"
        image, box = _key(annotation.get("image_id")), annotation.get("bbox")
        if image not in frames:
            raise DataError(f"{where}: there is no image {_shown(image)}")
        seen[image] = seen.get(image, 0) + 1
        target = _coco_target(where, annotation)
        if target is None:
            # A single annotated frame says where tracking starts, and needs no identities.
            if len(seen) > 1 and max(seen.values()) > 1:
                raise DataError(
                    f"{where}: no instance_id or track_id says which box of one frame is which of "
                    "another"
                )
            target = seen[image]
        frame = _whole(where, "frame_id", frames[image])
        yield where, frame, target, box if isinstance(box, list) else [box]


def _key(value: Any) -> Any:
    """A number or a name; the text of what cannot be a key."""
    return value if isinstance(value, int | float | str) else str(value)


def _coco_target(where: str, annotation: dict[str, Any]) -> TargetId | None:
    attributes = annotation.get("attributes")
    more = attributes if isinstance(attributes, dict) else {}
    for value in (annotation.get("instance_id"), annotation.get("track_id"), more.get("track_id")):
        if value is not None:
            return _target(where, value)
    return None


def _read_cvat(text: str, name: str) -> Iterator[_Found]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"{name}: not XML ({error})") from None
    if root.find("track") is None and root.find("image") is not None:
        raise DataError(
            f"{name}: 'CVAT for images', whose boxes have no identity; export it as 'CVAT for "
            "video 1.1'"
        )
    for track in root.iter("track"):
        for box in track.iter("box"):
            where = f"{name}: track {_shown(track.get('id'))}, frame {_shown(box.get('frame'))}"
            if box.get("outside") == "1":
                continue
            corners = [box.get(side) for side in ("xtl", "ytl", "xbr", "ybr")]
            try:
                left, top, right, bottom = (float(corner or "") for corner in corners)
            except ValueError:
                raise DataError(f"{where}: the box has no xtl, ytl, xbr and ybr") from None
            # What is left of the difference of two decimal numbers is not in the file.
            sides = (left, top, round(right - left, 6), round(bottom - top, 6))
            frame = _whole(where, "frame", box.get("frame"))
            yield where, frame, _target(where, track.get("id")), sides


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DataError(f"{name}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{name}: a list, where annotations of a clip are an object")
    return content


def _dicts(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise DataError(f"{what}: no list of objects is there")
    return value


_READERS: dict[str, Callable[[str, str], Iterator[_Found]]] = {
    "csv": _read_csv,
    "json": _read_json,
    "mot": _read_mot,
    "coco": _read_coco,
    "cvat": _read_cvat,
}
READABLE = tuple(_READERS)
