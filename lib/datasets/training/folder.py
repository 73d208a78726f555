"""A user's own folder of videos as a training set, in the layouts that `folder.py` knows."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lib.datasets.benchmarks.folder import FolderLayout, FolderSequence, find_sequences
from lib.datasets.sequence import ImageFiles, StackPages, announce_range, folder_frames
from lib.datasets.text.boxes import read_boxes, read_regions
from lib.datasets.text.ground_truth import (
    check_frame_count,
    empty_where_nan,
    first_gap,
    list_images,
)
from lib.datasets.training.listing import Listing, TrainingRecord, fingerprint
from lib.datasets.training.text import visibility
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)


def list_folder_videos(path: str) -> Listing:
    """The videos of a folder that have ground truth; those that have none are warned of.

    Raises:
        DataError: no such folder, or no such video in it.
    """
    base, sequences = find_sequences(path)
    missing = [name for name, (_, layout) in sequences.items() if layout is None]
    if missing:
        logger.warning(
            f"training set {path}: {len(missing)} of its {len(sequences)} sequences are left out, "
            f"for they have no ground truth (the first is {sequences[missing[0]].folder})"
        )
    tasks = []
    files = []
    for name, (folder, layout) in sequences.items():
        if layout is not None:
            tasks.append(partial(_read_video, base, name, folder, layout))
            absence, cover = layout.flag_files(folder)
            # A folder's time changes with the images in it.
            files += [folder / layout.images, folder / layout.annotation, *absence]
            files += [] if cover is None else [cover]
    first = next(one for one in sequences.values() if one.layout)
    _announce_range(first)
    return Listing(base, fingerprint("folder", base, map(str, files)), tasks)


def _announce_range(sequence: FolderSequence) -> None:
    """Say, by one clip for all, how grey of more than 8 bits is scaled."""
    folder, layout = sequence
    # What is broken is reported when it is read.
    with contextlib.suppress(DataError):
        images = folder / layout.images if layout else folder
        announce_range(ImageFiles(images, list_images(images)))


def numbered_pattern(names: Sequence[str]) -> tuple[str, int]:
    """The pattern that gives `names` from consecutive numbers, and the first; ('', 0) if none.

    Example:
        >>> numbered_pattern(["img_08.jpg", "img_09.jpg", "img_10.jpg"])
        ('img_%02d.jpg', 8)
        >>> numbered_pattern(["1.jpg", "3.jpg"])
        ('', 0)
    """
    found = re.fullmatch(r"(.*?)([0-9]+)(\.\w+)", names[0])
    if not found:
        return "", 0
    prefix, digits, suffix = found.groups()
    pattern, first = f"{prefix.replace('%', '%%')}%0{len(digits)}d{suffix}", int(digits)
    fits = all(pattern % number == name for number, name in enumerate(names, first))
    return (pattern, first) if fits else ("", 0)


def _read_video(
    base: Path, name: str, folder: Path, layout: FolderLayout
) -> Iterator[TrainingRecord]:
    annotation, images = folder / layout.annotation, folder / layout.images
    if layout.regions:
        boxes, _ = empty_where_nan(read_regions(annotation))
    else:
        boxes = read_boxes(annotation)
    names = list_images(images, logger.warning)
    frames = folder_frames(images, names)
    if isinstance(frames, StackPages):
        raise DataError(
            f"{images / names[0]}: {len(frames)} pages in one file; unpack them to train on them"
        )
    check_frame_count(
        len(names), len(boxes), annotation, images, first_box_only=False, gap=first_gap(names)
    )
    boxes = boxes.astype(np.float32)
    visible = visibility(boxes, *layout.flag_files(folder))
    pattern, first = numbered_pattern(names)
    yield TrainingRecord(name, os.path.relpath(images, base), pattern, first, boxes, visible)
