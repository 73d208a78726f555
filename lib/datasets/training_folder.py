"""A user's own folder of videos as a training set, in the layouts that `folder.py` knows."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lib.datasets.annotations import read_boxes, read_regions
from lib.datasets.folder import Layout, find_sequences, layout_of
from lib.datasets.ground_truth import check_frame_count, first_gap, list_images
from lib.datasets.listing import Listing, Record, fingerprint
from lib.datasets.training_text import visibility

logger = logging.getLogger(__name__)


def list_folder_videos(path: str) -> Listing:
    """The videos of a folder that have ground truth; those that have none are warned of.

    Raises:
        DataError: no such folder, or no such video in it.
    """
    base, folders = find_sequences(path)
    layouts = {name: layout_of(folder) for name, folder in folders.items()}
    missing = [name for name, layout in layouts.items() if layout is None]
    if missing:
        logger.warning(
            "training set %s: %d of its %d sequences are left out, for they have no ground truth "
            "(the first is %s)",
            path,
            len(missing),
            len(folders),
            folders[missing[0]],
        )
    tasks = []
    files = []
    for name, layout in layouts.items():
        if layout is not None:
            tasks.append(partial(_read_video, base, name, folders[name], layout))
            # A folder's time changes with the images in it.
            here = [layout.images, layout.annotation, *_flag_files(folders[name], layout)]
            files += [os.path.join(folders[name], file) for file in here]
    return Listing(base, fingerprint("folder", base, files), tasks)


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


def _flag_files(folder: Path, layout: Layout) -> list[str]:
    optional = (*layout.absence, *((layout.cover,) if layout.cover else ()))
    return [file for file in optional if (folder / file).is_file()]


def _read_video(base: Path, name: str, folder: Path, layout: Layout) -> Iterator[Record]:
    annotation, images = folder / layout.annotation, folder / layout.images
    if layout.regions:
        # NaN marks an absent target there.
        boxes = np.nan_to_num(read_regions(annotation)).astype(np.float32)
    else:
        boxes = read_boxes(annotation).astype(np.float32)
    names = list_images(images)
    check_frame_count(
        len(names), len(boxes), annotation, images, first_box_only=False, gap=first_gap(names)
    )
    flags = _flag_files(folder, layout)
    visible = visibility(
        boxes,
        [folder / file for file in layout.absence if file in flags],
        folder / layout.cover if layout.cover in flags else None,
    )
    pattern, first = numbered_pattern(names)
    yield Record(name, os.path.relpath(images, base), pattern, first, boxes, visible)
