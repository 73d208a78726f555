"""ImageNet VID as a training set: one sequence per track, from its first frame to its first gap.

There is one XML file per frame, over a million of them. An index notices that files were added or
removed, by the times of their folders, but not that one was edited in place. Some trackers leave
what they read from the XML as `cache.json` in the data set's folder; where it is there, it is
read instead.
"""

import logging
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.text.boxes import read_text
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
from lib.utils.json_text import parse_json

logger = logging.getLogger(__name__)

# Of a video, and far more than any has.
_MOST_FRAMES = 1 << 31
_CACHE = "cache.json"
_SET = "ILSVRC2015_VID_train_%04d"
_VIDEO = "ILSVRC2015_train_%08d"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def list_vid(row: TrainingRow, root: Path, remedy: str) -> Listing:
    """The videos of VID that have both annotation and frames. Raises DataError: there is none."""
    images, xml = root / row.files.images, root / row.files.annotation
    if (root / _CACHE).is_file():
        logger.warning(
            f"training set {row.name}: boxes are those of {root / _CACHE}, not of the XML files; "
            "rename it to read them"
        )
        # Which of its videos are used depends on their frames.
        about = "\n".join([repr(row), *_videos_below(images)])
        return Listing(
            root, fingerprint(about, root, [_CACHE]), [partial(read_vid_cache, row, root)]
        )
    annotated = _videos_below(xml)
    frames = FolderNames(images)
    videos = [video for video in annotated if video in frames]
    if not videos:
        raise DataError(
            f"training set {row.name!r}: no video has both frames in {images} and XML files in "
            f"{xml}; {remedy}"
        )
    if len(videos) < len(annotated):
        logger.warning(
            f"training set {row.name}: only {len(videos)} of {len(annotated)} annotated videos "
            f"have frames in {images}; training goes on with those"
        )
    # The time of a folder changes with the files in it; a million files are too many to ask.
    key = fingerprint(repr(row), xml, videos)
    return Listing(root, key, [partial(read_vid_video, row, root, video) for video in videos])


def _videos_below(folder: Path) -> list[str]:
    return [
        f"{group}/{video}" for group in list_names(folder) for video in list_names(folder / group)
    ]


def read_vid_video(row: TrainingRow, root: Path, video: str) -> Iterator[TrainingRecord]:
    """One record per track of a video, in the order of their first frames.

    Raises:
        DataError: an XML file cannot be read.
    """
    folder = root / row.files.annotation / video
    numbers = sorted(
        int(name.removesuffix(".xml"))
        for name in list_names(folder)
        if name.endswith(".xml") and name.removesuffix(".xml").isdecimal()
    )
    tracks: dict[str, list[tuple[int, list[float], bool]]] = {}
    for number in numbers:
        for track, box, visible in _objects(folder / f"{number:06d}.xml"):
            seen = tracks.setdefault(track, [])
            # Frames after a gap, and a second object of the same name, are not used.
            if not seen or seen[-1][0] == number - 1:
                seen.append((number, box, visible))
    for track, seen in tracks.items():
        boxes = [box for _, box, _ in seen]
        flags = [visible for _, _, visible in seen]
        name = f"{video.rpartition('/')[2]}-{track}"
        try:
            yield _record(row, name, video, seen[0][0], boxes, flags)
        except ValueError as error:
            raise DataError(f"{folder}: track {track!r:.60} cannot be used ({error})") from None


def read_vid_cache(row: TrainingRow, root: Path) -> Iterator[TrainingRecord]:
    """The records of a `cache.json` whose frames are there; the others are warned of.

    Raises:
        DataError: the file is not such a cache, or no video of it is there.
    """
    path = root / _CACHE
    try:
        tracks = parse_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    frames = FolderNames(root)
    items = tracks if isinstance(tracks, list) else [tracks]
    found = 0
    for number, track in enumerate(items):
        record = _cached(row, path, number, track)
        if record.folder in frames:
            found += 1
            yield record
    images = root / row.files.images
    if not found:
        raise DataError(f"{path}: not one of its videos has frames in {images}")
    if found < len(items):
        logger.warning(
            f"training set {row.name}: only {found} of the {len(items)} tracks of {path} have "
            f"frames in {images}; training goes on with those"
        )


def _cached(row: TrainingRow, path: Path, number: int, track: Any) -> TrainingRecord:
    try:
        video = f"{_SET % track['set_id']}/{_VIDEO % track['vid_id']}"
        name = f"{_VIDEO % track['vid_id']}-{number}"
        first, boxes, visible = int(track["start_frame"]), track["anno"], track["target_visible"]
        if not 0 <= first < _MOST_FRAMES:
            raise ValueError(f"start_frame {first}")
        return _record(row, name, video, first, boxes, visible)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: item {number} is not a track with set_id, vid_id, start_frame, anno and "
            f"target_visible ({error!r:.160}); rename the file to read the XML files instead"
        ) from None


def _record(
    row: TrainingRow,
    name: str,
    video: str,
    first: int,
    boxes: list[list[float]],
    visible: list[bool],
) -> TrainingRecord:
    array = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    flags = np.array(visible, dtype=bool)
    if len(flags) != len(array) or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"{len(array)} boxes, {len(flags)} flags")
    folder = f"{row.files.images}/{video}"
    return TrainingRecord(name, folder, row.frame_pattern, first, array, flags & has_area(array))


def _objects(path: Path) -> Iterator[tuple[str, list[float], bool]]:
    """Track, box xywh and visibility of every object in the XML file of a frame."""
    try:
        root = ElementTree.fromstring(read_text(path))
    except ElementTree.ParseError as error:
        raise DataError(f"{path}:{error.position[0]}: not valid XML ({error})") from None
    for item in root.iter("object"):
        sides = [item.findtext(f"bndbox/{side}", "") for side in _SIDES]
        track = item.findtext("trackid")
        try:
            x1, y1, x2, y2 = map(float, sides)
        except ValueError:
            raise DataError(f"{path}: bndbox {sides} of an object is not four numbers") from None
        if track is None or not math.isfinite(x1 + y1 + x2 + y2):
            raise DataError(f"{path}: an object has trackid {track} and bndbox {sides}")
        yield track, [x1, y1, x2 - x1, y2 - y1], item.findtext("occluded", "").strip() == "0"
