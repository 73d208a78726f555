"""What every layout shares: listing the images of a folder, and reading ground truth that fits."""

import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from lib.datasets.text.boxes import (
    TextFile,
    read_boxes,
    read_flags,
    read_regions,
    read_text,
    split_lines,
)
from lib.utils.errors import DataError
from lib.utils.files import is_folder_name
from lib.utils.image_io import IMAGE_SUFFIXES, UNREAD_SUFFIXES

_DIGITS = re.compile(r"(\d+)", re.ASCII)
# Of a video; a list of the names of many more would fill the memory.
_MOST_FRAMES = 1_000_000
_NAN_HINT = (
    "only UAV123 and VOT ground truth may mark an absent target by NaN, "
    "elsewhere write a box with width and height 0"
)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorting key that compares runs of digits as numbers: `2.jpg` before `10.jpg`."""
    stem = os.path.splitext(name)[0]
    # The split alternates text and digits, so keys never compare a string with a number.
    parts = _DIGITS.split(stem)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def is_image(name: str) -> bool:
    """Whether a file name is that of a frame; hidden files (`._1.jpg` of macOS) are not."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def has_image(folder: Path) -> bool:
    """Whether `folder` is a readable folder that holds at least one image."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image(entry.name) for entry in entries)
    except OSError:
        return False


def list_images(folder: Path, warn: Callable[[str], object] | None = None) -> tuple[str, ...]:
    """Names of the images in `folder`, in numeric order.

    Raises:
        DataError: the folder is missing or holds no image, or a frame twice.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise DataError(f"{folder}: no folder of frames here ({error.strerror})") from None
    try:
        images = order_images(names, folder)
    except DataError as error:
        raise DataError(f"{error}{_images_below(folder)}") from None
    stems: dict[str, str] = {}
    for name in images:
        other = stems.setdefault(os.path.splitext(name)[0], name)
        if other != name:
            raise DataError(
                f"{folder}: {other} and {name} are one frame twice; keep the files of one kind"
            )
    if warn is not None and (unread := unread_pictures(names)):
        warn(f"{folder}: {unread}")
    return images


def unread_pictures(names: Iterable[str]) -> str:
    """Which files of a folder are pictures that cannot be read, in words; empty if none.

    Example:
        >>> unread_pictures(["1.heic", "2.HEIC", "3.dng", "4.jpg", "notes.txt"])
        '2 .heic and 1 .dng are not read; convert them, to PNG for example'
    """
    suffixes = (os.path.splitext(name)[1].lower() for name in names if not name.startswith("."))
    found = Counter(suffix for suffix in suffixes if suffix in UNREAD_SUFFIXES)
    if not found:
        return ""
    kinds = " and ".join(f"{number} {suffix}" for suffix, number in found.most_common())
    return f"{kinds} are not read; convert them, to PNG for example"


def _images_below(folder: Path) -> str:
    """A folder in `folder` that has images, for the message that there are none here."""
    try:
        with os.scandir(folder) as entries:
            below = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return ""
    found = next((name for name in below if has_image(folder / name)), None)
    return f"; there are some in {found}/, which is no layout: rename it to img" if found else ""


def order_images(names: Iterable[str], folder: object) -> tuple[str, ...]:
    """Those of `names` that are images, in numeric order; `folder` is for messages.

    Raises:
        DataError: not one of them is.
    """
    names = list(names)
    images = [name for name in names if is_image(name)]
    if not images:
        unread = unread_pictures(names)
        raise DataError(
            f"{folder}: no images (looked for {', '.join(sorted(IMAGE_SUFFIXES))})"
            + (f"; {unread}" if unread else "")
        )
    return tuple(sorted(images, key=natural_key))


def read_ground_truth(
    path: TextFile, *, nan_means_absent: bool = False, skip: int = 0
) -> np.ndarray:
    """Boxes (N, 4) of a ground-truth file without its first `skip` rows; the first is usable.

    Raises:
        DataError: the file is not as it should be, naming the line.
    """
    boxes = read_boxes(path, allow_nan=nan_means_absent, nan_hint=_NAN_HINT)
    if len(boxes) <= skip:
        raise DataError(f"{path}: {len(boxes)} rows, but tracking starts at row {skip + 1}")
    check_first_box(boxes[skip], f"{path}:{skip + 1}")
    return boxes[skip:]


def check_first_box(box: np.ndarray, where: str) -> None:
    """Refuse a first box that no tracker can be started with.

    Raises:
        DataError: a value is NaN, or width or height is not positive.
    """
    x, y, w, h = (float(value) for value in box)
    if math.isnan(x + y + w + h) or w <= 0 or h <= 0:
        raise DataError(
            f"{where}: the first box ({x:g}, {y:g}, {w:g}, {h:g}) has no area; "
            "tracking starts from it, so width and height must be positive"
        )


def check_frame_count(
    frames: int,
    rows: int,
    annotation: object,
    images: object,
    *,
    first_box_only: bool,
    gap: str = "",
) -> None:
    """Refuse ground truth that belongs to another number of frames.

    Raises:
        DataError: naming both counts.
    """
    if rows == frames or (first_box_only and rows == 1):
        return
    raise DataError(
        f"{annotation}: {rows} rows, but {images} gives {frames} frames; ground truth has one row "
        f"per frame{', or only the first box' if first_box_only else ''}{gap}"
    )


def first_gap(names: Sequence[str]) -> str:
    """Where the numbers of image files, in order, leave one out, in words; empty if nowhere.

    Example:
        >>> first_gap(["0001.jpg", "0002.jpg", "0005.jpg"])
        '; no image between 0002.jpg and 0005.jpg'
    """
    numbers = [re.search(r"(\d+)\.\w+$", name) for name in names]
    for (one, name), (two, following) in itertools.pairwise(zip(numbers, names, strict=True)):
        if one and two and int(two[1]) - int(one[1]) > 1:
            return f"; no image between {name} and {following}"
    return ""


def read_absence(paths: Sequence[TextFile], rows: int) -> np.ndarray | None:
    """Visibility (N,) bool from files of absence flags: visible where all are 0; None for none.

    Raises:
        DataError: a file is missing or malformed, or does not have `rows` flags.
    """
    if not paths:
        return None
    absent = np.zeros(rows, dtype=bool)
    for path in paths:
        absent |= read_flags(path, expected_rows=rows) > 0
    return ~absent


def read_cover(path: TextFile, rows: int) -> np.ndarray:
    """GOT-10k cover labels (N,) int64: visible eighths of the target, 0..8.

    Raises:
        DataError: the file is missing or malformed, or does not have `rows` of them.
    """
    return read_flags(path, expected_rows=rows, maximum=8)


def read_frame_range(path: TextFile) -> tuple[int, int]:
    """First and last frame number of a file such as Temple-Color's `Ball_frames.txt`: `1,602`.

    Raises:
        DataError: the file is missing, or not two frame numbers in order.
    """
    lines = split_lines(read_text(path), str(path))
    values = [value for _, tokens in lines for value in tokens]
    if len(values) == 2 and all(value.isascii() and value.isdecimal() for value in values):
        first, last = (int(value[:20]) for value in values)
        if first <= last <= _MOST_FRAMES:
            return first, last
    raise DataError(
        f"{path}:1: {','.join(values)[:60]!r} is not a range of frames; expected the numbers of "
        "the first and the last one, such as 1,602"
    )


def read_vot_boxes(path: TextFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Boxes (N, 4) xywh of VOT's ground truth, and visibility (N,) bool where NaN marks absence.

    An absent target has an empty box; a polygon of four corners becomes the box around it.

    Raises:
        DataError: the file is not as it should be, or holds masks; naming the line.
    """
    boxes = read_regions(path)
    check_first_box(boxes[0], f"{path}:1")
    boxes, absent = empty_where_nan(boxes)
    return boxes, ~absent if absent.any() else None


def empty_where_nan(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) in which a row with any NaN, an absent target, has no area; and which are so.

    Scoring knows an absent target by a box without area; NaN is left to data sets that are
    scored by their own rule for it.
    """
    absent = np.isnan(boxes).any(axis=1)
    return np.where(absent[:, None], 0.0, boxes), absent


def read_names(path: TextFile) -> tuple[str, ...]:
    """Sequence names of a list file, one per line; they name result files, so no separators.

    Raises:
        DataError: the file is missing, empty, or a name is listed twice, is a path or too long.
    """
    names: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        if not is_folder_name(name):
            raise DataError(f"{path}:{number}: {name!r:.80} is not the name of a folder beside it")
        if name in names:
            raise DataError(f"{path}:{number}: {name!r} is listed before, in line {names[name]}")
        names[name] = number
    if not names:
        raise DataError(f"{path}: the list of sequences is empty")
    return tuple(names)
