"""Training videos with a text file of boxes each: LaSOT, GOT-10k, TrackingNet."""

import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.datasets.sequence_files import SequenceFiles, packaged_names
from lib.datasets.text.boxes import read_boxes
from lib.datasets.text.ground_truth import read_absence, read_cover, read_names
from lib.datasets.training.listing import (
    FolderNames,
    Listing,
    TrainingRecord,
    TrainingRow,
    fingerprint,
    has_area,
    list_names,
)
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

_GOT10K_NAME = re.compile(r"GOT-10k_Train_(\d{6})", re.ASCII)
_GOT10K_HELD_OUT = re.compile(r"GOT-10k_(Val|Test)_\d{6}", re.ASCII)


class ListedVideo(NamedTuple):
    name: str
    files: SequenceFiles


def list_text_videos(row: TrainingRow, root: Path, remedy: str) -> Listing:
    """The videos of `row` that are in `root`; those that are not are warned of.

    Raises:
        DataError: not one video is there, the set's own list is missing or malformed or that of
            another part, or a video lacks an annotation file.
    """
    base = root / row.subfolder
    if row.list_file and not (base / row.list_file).is_file():
        # The folder that old path files name: the list and the videos lie in the root.
        base = root if (root / row.list_file).is_file() else base
    if row.list_file and not (base / row.list_file).is_file():
        raise DataError(f"training set {row.name!r}: no list {base / row.list_file}; {remedy}")
    videos = _videos(row, base)
    folders = FolderNames(base)
    present = [video for video in videos if video.files.images in folders]
    if not present:
        raise DataError(
            f"training set {row.name!r}: {base} has none of its sequences "
            f"({_looked_for(row, videos)}); {remedy}"
        )
    expected = max(_number_expected(row), len(videos))
    if len(present) < expected:
        logger.warning(
            f"training set {row.name}: only {len(present)} of its {expected} sequences are in "
            f"{base}; training goes on with those"
        )
    key = fingerprint(repr(row), base, (text for video in present for text in video.files.texts))
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
        visible = visible & (read_cover(cover, len(boxes)) > 0)
    return visible


def _read_video(row: TrainingRow, base: Path, video: ListedVideo) -> Iterator[TrainingRecord]:
    files = video.files
    boxes = read_boxes(base / files.annotation).astype(np.float32)
    cover = base / files.cover if files.cover else None
    visible = visibility(boxes, [base / file for file in files.absence], cover)
    yield TrainingRecord(
        video.name, files.images, row.frame_pattern, row.first_frame, boxes, visible
    )


def _videos(row: TrainingRow, base: Path) -> list[ListedVideo]:
    if row.list_file:
        return [_video(row, name) for name in _listed_names(row, base)]
    if row.split:
        return [_video(row, name) for name in packaged_names(row.split)]
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


def _video(row: TrainingRow, name: str, part: str = "") -> ListedVideo:
    return ListedVideo(name, row.files.of(name, {"part": part}))


def _looked_for(row: TrainingRow, videos: list[ListedVideo]) -> str:
    if row.list_file and not videos:
        return f"{row.list_file} has no name of its split"
    first = videos[0].files.images if videos else " or ".join(_annotation_folders(row)[:2])
    return f"looked for {first} and so on"


def _annotation_folders(row: TrainingRow) -> list[str]:
    folder = row.files.annotation.rpartition("/")[0]
    return [folder.format_map({"part": part}) for part in row.parts]


def _number_expected(row: TrainingRow) -> int:
    return len(packaged_names(row.split)) if row.split else 0


def _listed_names(row: TrainingRow, base: Path) -> list[str]:
    """The names of the split, in its order, as far as the data set's own list has them.

    A split holds 0-based positions in the whole list. In a shorter one, of a copy of some videos,
    lines have moved; there the number in a name tells where it stood.
    """
    names = read_names(base / row.list_file)
    if held_out := next(filter(_GOT10K_HELD_OUT.fullmatch, names), None):
        raise DataError(
            f"training set {row.name!r}: {base / row.list_file} lists {held_out}, which is not for "
            f"training; give the folder that holds {row.subfolder}/, or that part itself"
        )
    numbers = [int(found[1]) for name in names if (found := _GOT10K_NAME.fullmatch(name))]
    if len(numbers) == len(names) < row.listed:
        at = {number - 1: name for number, name in zip(numbers, names, strict=True)}
    else:
        at = dict(enumerate(names))
    positions = [int(line) for line in packaged_names(row.split)]
    return [at[position] for position in positions if position in at]
