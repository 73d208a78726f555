"""Benchmarks: what a row of the catalog says about files, and how its sequences are read."""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.datasets.ground_truth import (
    check_frame_count,
    list_images,
    read_absence,
    read_cover,
    read_ground_truth,
    read_names,
)
from lib.datasets.sequence import ImageFiles, Sequence
from lib.datasets.sequence_files import NO_FILES, SequenceFiles, packaged_list, packaged_names
from lib.utils.errors import DataError


@dataclass(frozen=True)
class Row:
    """One benchmark. Odd things are fields here, so that no benchmark needs code of its own.

    Attributes:
        name: as given to `--dataset`; in capitals it is the update-interval key.
        results_folder: folder of the raw results.
        protocol: scoring rules, a kind that `lib.test.analysis` knows.
        folder: default folder below the data root; '' for data that is generated.
        aliases: other names for `--dataset`.
        subfolder: the part of the data set, such as 'val'; the root may be this folder itself.
        split: packaged list of sequences: .txt names, or .csv with frame ranges.
        list_file: list of sequences inside the data set, where there is no packaged one.
        files: patterns, in which the columns of a CSV split can be used too.
        frame_pattern: numbered frames from 1, as many as rows; '' takes all images in order.
        first_box_only: only the first box is public.
        nan_means_absent: a row of NaN marks an absent target, as in UAV123.
    """

    name: str
    results_folder: str
    protocol: str
    folder: str = ""
    aliases: tuple[str, ...] = ()
    subfolder: str = ""
    split: str = ""
    list_file: str = ""
    files: SequenceFiles = NO_FILES
    frame_pattern: str = ""
    first_box_only: bool = False
    nan_means_absent: bool = False


@dataclass(frozen=True)
class Entry:
    """Where one sequence of a benchmark is."""

    name: str
    files: SequenceFiles
    frame_pattern: str
    first_frame: int = 1
    last_frame: int | None = None
    omit: int = 0


def benchmark_folder(row: Row, root: Path) -> Path:
    """The folder that the row's patterns start from: `root`, or its part `row.subfolder`."""
    if not row.subfolder or (root / row.subfolder).is_dir():
        return root / row.subfolder
    # Only a folder named like the part may stand for it: list.txt exists in every part, and
    # running `test` in the name of `val` would go unnoticed.
    if row.subfolder in root.name.lower() and (root / row.list_file).is_file():
        return root
    return root / row.subfolder


def list_entries(row: Row, folder: Path) -> dict[str, Entry]:
    """All sequences of a benchmark in evaluation order, by name.

    Raises:
        DataError: the data set's own list is missing or malformed.
    """
    if row.split.endswith(".csv"):
        lines = csv.DictReader(packaged_list(row.split).splitlines())
        entries = [_entry(row, line["name"], line) for line in lines]
    elif row.split:
        entries = [_entry(row, name, {}) for name in packaged_names(row.split)]
    else:
        entries = [_entry(row, name, {}) for name in read_names(folder / row.list_file)]
    return {entry.name: entry for entry in entries}


def load_benchmark_sequence(
    row: Row, folder: Path, entries: Mapping[str, Entry], name: str
) -> Sequence:
    """Read the annotation of one sequence and name its frames; no image is opened.

    Raises:
        DataError: a file is missing or malformed, or annotation and frames do not fit.
    """
    entry = entries[name]
    files = entry.files
    annotation = folder / files.annotation
    boxes = read_ground_truth(annotation, nan_means_absent=row.nan_means_absent, skip=entry.omit)
    images = folder / files.images
    names = _frame_names(entry, images, len(boxes))
    check_frame_count(len(names), len(boxes), annotation, images, first_box_only=row.first_box_only)
    return Sequence(
        name=name,
        frames=ImageFiles(images, names),
        ground_truth=boxes,
        visible=read_absence([folder / path for path in files.absence], len(boxes)),
        cover=read_cover(folder / files.cover, len(boxes)) if files.cover else None,
        annotation=str(annotation),
    )


def _entry(row: Row, name: str, columns: Mapping[str, str]) -> Entry:
    pattern, first, last, omit = row.frame_pattern, 1, None, 0
    if columns:
        pattern = f"%0{columns['digits']}d.{columns['ext']}"
        first, last = int(columns["start_frame"]), int(columns["end_frame"])
        omit = int(columns["init_omit"])
    return Entry(
        name=name,
        files=row.files.of(name, columns),
        frame_pattern=pattern,
        first_frame=first + omit,
        last_frame=last,
        omit=omit,
    )


def _frame_names(entry: Entry, folder: Path, rows: int) -> tuple[str, ...]:
    if not entry.frame_pattern:
        return list_images(folder)
    last = entry.last_frame
    if last is None:
        last = entry.first_frame + rows - 1
    names = tuple(entry.frame_pattern % i for i in range(entry.first_frame, last + 1))
    # One listing instead of thousands of stat calls: data sets often live on network disks.
    try:
        present = set(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: no folder of frames here ({error.strerror})") from None
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{folder / missing[0]}: frame not found ({len(missing)} of the {len(names)} frames "
            f"{names[0]} to {names[-1]} are missing)"
        )
    return names
