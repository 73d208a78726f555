"""Training videos with a text file of boxes each: LaSOT, GOT-10k, TrackingNet."""

import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.datasets.annotations import read_boxes, read_flags
from lib.datasets.benchmark import packaged_list
from lib.datasets.ground_truth import read_absence, read_names
from lib.datasets.listing import (
    FolderNames,
    Listing,
    Record,
    TrainingRow,
    fingerprint,
    has_area,
    list_names,
)
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

_GOT10K_NAME = re.compile(r"GOT-10k_Train_(\d{6})", re.ASCII)


class Video(NamedTuple):
    """Files of one video, relative to the data set's folder."""

    name: str
    images: str
    annotation: str
    absence: tuple[str, ...]
    cover: str

    @property
    def files(self) -> list[str]:
        """All its annotation files."""
        return [self.annotation, *self.absence, *([self.cover] if self.cover else [])]


def list_text_videos(row: TrainingRow, root: Path, remedy: str) -> Listing:
    """The videos of `row` that are in `root`; those that are not are warned of.

    Args:
        row: of the catalog.
        root: the data set's folder.
        remedy: ends the message when nothing is there.

    Raises:
        DataError: not one video is there, the set's own list is missing or malformed, or a video
            lacks an annotation file.
    """
    base = root / row.subfolder
    if row.list_file and not (base / row.list_file).is_file():
        # The folder that old path files name: the list and the videos lie in the root.
        base = root if (root / row.list_file).is_file() else base
    if row.list_file and not (base / row.list_file).is_file():
        raise DataError(f"training set {row.name!r}: no list {base / row.list_file}; {remedy}")
    videos = _videos(row, base)
    folders = FolderNames(base)
    present = [video for video in videos if video.images in folders]
    if not present:
        looked_for = videos[0].images if videos else " or ".join(_annotation_folders(row)[:2])
        raise DataError(
            f"training set {row.name!r}: {base} has none of its sequences "
            f"(looked for {looked_for} and so on); {remedy}"
        )
    expected = max(_number_expected(row), len(videos))
    if len(present) < expected:
        logger.warning(
            "training set %s: only %d of its %d sequences are in %s; training goes on with those",
            row.name,
            len(present),
            expected,
            base,
        )
    key = fingerprint(repr(row), base, (file for video in present for file in video.files))
    return Listing(base, key, [partial(_read_video, row, base, video) for video in present])


def visibility(
    boxes: np.ndarray, absence: list[Path] | None = None, cover: Path | None = None
) -> np.ndarray:
    """Frames with a visible target, `(N,)` bool: a box with area, no absence flag, some cover.

    Raises:
        DataError: a file is missing or malformed, or has not one flag per box.
    """
    visible = has_area(boxes)
    present = read_absence(absence or [], len(boxes))
    if present is not None:
        visible = visible & present
    if cover is not None:
        visible = visible & (read_flags(cover, expected_rows=len(boxes), maximum=8) > 0)
    return visible


def _read_video(row: TrainingRow, base: Path, video: Video) -> Iterator[Record]:
    boxes = read_boxes(base / video.annotation).astype(np.float32)
    cover = base / video.cover if video.cover else None
    visible = visibility(boxes, [base / file for file in video.absence], cover)
    yield Record(video.name, video.images, row.frame_pattern, row.first_frame, boxes, visible)


def _videos(row: TrainingRow, base: Path) -> list[Video]:
    if row.list_file:
        return [_video(row, name) for name in _listed_names(row, base)]
    if row.split:
        return [_video(row, name) for name in packaged_list(row.split).split()]
    found = []
    missing = []
    for part, folder in zip(row.parts, _annotation_folders(row), strict=True):
        names = [name for name in list_names(base / folder) if name.endswith(".txt")]
        found += [_video(row, name.removesuffix(".txt"), part) for name in names]
        missing += [] if names else [part]
    if found and missing:
        logger.warning(
            "training set %s: %d of its %d parts are not in %s: %s",
            row.name,
            len(missing),
            len(row.parts),
            base,
            ", ".join(missing),
        )
    return found


def _video(row: TrainingRow, name: str, part: str = "") -> Video:
    values = {"name": name, "group": name.rpartition("-")[0], "part": part}
    return Video(
        name=name,
        images=row.images.format_map(values),
        annotation=row.annotation.format_map(values),
        absence=tuple(path.format_map(values) for path in row.absence),
        cover=row.cover.format_map(values),
    )


def _annotation_folders(row: TrainingRow) -> list[str]:
    return [row.annotation.rpartition("/")[0].format_map({"part": part}) for part in row.parts]


def _number_expected(row: TrainingRow) -> int:
    return len(packaged_list(row.split).split()) if row.split else 0


def _listed_names(row: TrainingRow, base: Path) -> list[str]:
    """The names of the split, in its order, as far as the data set's own list has them.

    A split holds 0-based positions in the whole list. In a shorter one, of a copy of some videos,
    lines have moved; there the number in a name tells where it stood.
    """
    names = read_names(base / row.list_file)
    numbers = [int(found[1]) for name in names if (found := _GOT10K_NAME.fullmatch(name))]
    if len(numbers) == len(names) < row.listed:
        at = {number - 1: name for number, name in zip(numbers, names, strict=True)}
    else:
        at = dict(enumerate(names))
    positions = [int(line) for line in packaged_list(row.split).split()]
    return [at[position] for position in positions if position in at]
