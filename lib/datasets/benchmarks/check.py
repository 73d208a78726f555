"""Whether a data set is what it should be: sequences, frames, annotation, flags, readable images.

A check reads all annotation, and of each sequence the first and the last image, because a copy or
a download that broke off shows there. What is read without an error may still not be what it seems:
that is warned of.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib.datasets.benchmarks.layout import (
    ListedSequence,
    Row,
    find_layout,
    is_there,
    load_benchmark_sequence,
)
from lib.datasets.benchmarks.open import recognised
from lib.datasets.sequence import Dataset, ImageFiles, Video
from lib.datasets.storage.tree import DataTree
from lib.datasets.text.box_reading import likely_reading
from lib.datasets.text.ground_truth import first_gap, is_image
from lib.datasets.training.listing import has_area
from lib.datasets.training.set import can_be_drawn_from, left_out
from lib.utils.advice import advice
from lib.utils.errors import DataError, counted

# Called for each sequence when it was looked at.
Progress = Callable[[], object]
# What the eight models were trained with; more templates need more visible frames.
_TEMPLATES = 2
_COMPRESSED = (".jpg", ".jpeg", ".png", ".webp", ".jp2")


@dataclass(frozen=True)
class Report:
    """What a check found."""

    name: str  # of the data set
    place: str  # where it is
    sequences: int  # how many are there, whole or not
    expected_sequences: int | None  # how many it has; None where nobody says
    frames: int  # those of the sequences that are whole
    expected_frames: int | None  # how many it has; None where nobody says
    findings: tuple[str, ...]  # what is wrong, a line each that names the file
    remedy: str  # what to do about it
    # What is odd about the data set as it is published, or good to know
    remarks: tuple[str, ...] = ()
    # What can be read, and is probably not what it seems; a line each
    warnings: tuple[str, ...] = ()


def check_benchmark(
    row: Row,
    tree: DataTree,
    entries: Mapping[str, ListedSequence],
    every_image: bool,
    progress: Progress,
) -> Report:
    """Look at all sequences of a benchmark."""
    findings, warnings = list[str](), list[str]()
    remarks = _known_to_be_broken(row, entries)
    missing: list[ListedSequence] = []
    there = frames = spare = 0
    for entry in entries.values():
        try:
            if is_there(entry, tree):
                there += 1
                sequence = load_benchmark_sequence(row, tree, entries, entry.name)
                warnings += _odd_boxes(sequence, _check_images(sequence, every_image)[0])
                if row.first_box_only:
                    _check_numbers(sequence)
                remarks += _surplus_images(tree, entry, len(sequence))
                frames += len(sequence)
                spare += _frames_without_row(entry, tree, len(sequence))
            else:
                missing.append(entry)
        except DataError as error:
            findings.append(str(error))
        progress()
    remarks += _left_out(spare)
    findings += _not_listed(row, tree, entries) + _missing(row, tree, entries, missing)
    expected = expected_frames(row, entries)
    if not findings and expected not in (None, frames + spare):
        findings.append(f"{tree.base}: {frames} frames, but {row.name} has {expected}")
    return Report(
        name=row.name,
        place=str(tree.base),
        sequences=there,
        expected_sequences=row.number_of_sequences,
        frames=frames,
        expected_frames=expected,
        findings=tuple(dict.fromkeys(findings)),  # each file of a damaged archive says the same
        remedy=f"take what is named from {row.homepage} or from its archive again; "
        f"{advice('data', 'info', row.name)} shows where each file belongs",
        remarks=tuple(remarks),
        warnings=tuple(warnings),
    )


def check_folder(dataset: Dataset, every_image: bool, progress: Progress) -> Report:
    findings, warnings, remarks = list[str](), list[str](), list[str]()
    visible: dict[str, tuple[int, int]] = {}
    for name in dataset.sequence_names:
        try:
            sequence = dataset.load(name)
            sizes = _check_images(sequence, every_image)
            warnings += [
                *_odd_boxes(sequence, sizes[0]),
                *_boxes_outside(sequence, sizes[0]),
                *_other_sizes(sequence, sizes),
            ]
            remarks += _rows_without_area(sequence) + _repeated_frames(sequence)
            visible[name] = _visible_frames(sequence), len(sequence)
            folder = os.path.dirname(sequence.frames.describe(0))
            if os.path.isdir(folder):
                remarks += _without_row(folder, os.listdir(folder), len(sequence))
        except DataError as error:
            findings.append(str(error))
        progress()
    return Report(
        name=dataset.name,
        place=dataset.source,
        sequences=len(dataset),
        expected_sequences=None,
        frames=sum(frames for _, frames in visible.values()),
        expected_frames=None,
        findings=tuple(findings),
        remedy="mend these files, or move their sequences out of the folder",
        remarks=(*remarks, *_too_short(visible)),
        warnings=tuple(warnings),
    )


def first_odd_boxes(dataset: Dataset, names: Sequence[str], most: int = 5) -> str | None:
    """What the boxes of the first few sequences look like if they are not xywh in pixels, or None.

    Before tracking: a sequence that cannot be read is passed over, for it will be named then.
    """
    for name in names[:most]:
        try:
            sequence = dataset.load(name)
            odd = _odd_boxes(sequence, sequence.resolution)
        except DataError:
            continue
        if odd:
            return odd[0]
    return None


def expected_frames(row: Row, entries: Mapping[str, ListedSequence]) -> int | None:
    """How many frames a benchmark has; None where neither a list nor its paper says."""
    ranges = [(entry.first_frame, entry.last_frame) for entry in entries.values()]
    known = [last - first + 1 for first, last in ranges if last is not None]
    return sum(known) if row.split and len(known) == len(ranges) else row.frames


def _check_images(sequence: Video, every_image: bool) -> dict[int, tuple[int, int]]:
    """Width and height of the images that were read, by frame; the first box lies in the first."""
    last = len(sequence) - 1
    x, y, w, h = sequence.init_box
    sizes = {}
    for index in range(len(sequence)) if every_image else sorted({0, last}):
        height, width = sequence.frames.read(index).shape[:2]
        sizes[index] = width, height
        if index == 0 and not (x < width and y < height and x + w > 0 and y + h > 0):
            raise DataError(
                f"{sequence.annotation}: the first box ({x:g}, {y:g}, {w:g}, {h:g}) lies outside "
                f"of {sequence.frames.describe(0)} ({width} x {height} pixels); one of them is of "
                "another video"
            )
    return sizes


def _odd_boxes(sequence: Video, size: tuple[int, int]) -> list[str]:
    """A line where the boxes are probably not xywh in pixels."""
    reading = likely_reading(sequence.ground_truth, size)
    return [f"{sequence.annotation}: {reading}"] if reading else []


def _boxes_outside(sequence: Video, size: tuple[int, int]) -> list[str]:
    """A line about boxes of which nothing lies in the picture."""
    boxes = sequence.ground_truth
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    outside = has_area(boxes) & ((start >= size) | (end <= 0)).any(axis=1)
    if not outside.any():
        return []
    first = int(np.argmax(outside))
    return [
        f"{sequence.annotation}: in {outside.sum()} of {len(boxes)} rows the box lies outside of "
        f"the picture ({size[0]} x {size[1]}); the first is row {first + 1} "
        f"({_numbers(boxes[first])})"
    ]


def _other_sizes(sequence: Video, sizes: Mapping[int, tuple[int, int]]) -> list[str]:
    """A line about the first picture that is not as large as the first of the sequence."""
    for index, (width, height) in sizes.items():
        if (width, height) != sizes[0]:
            return [
                f"{sequence.frames.describe(index)}: {width} x {height} pixels, but the first "
                f"frame has {sizes[0][0]} x {sizes[0][1]}; boxes may be of either"
            ]
    return []


def _rows_without_area(sequence: Video) -> list[str]:
    boxes = sequence.ground_truth
    empty = ~has_area(boxes) & (boxes != 0).any(axis=1)
    if not empty.any():
        return []
    first = int(np.argmax(empty))
    return [
        f"{sequence.annotation}: {counted(int(empty.sum()), 'row')} without area, where the target "
        f"counts as absent; the first is row {first + 1} ({_numbers(boxes[first])})"
    ]


def _repeated_frames(sequence: Video) -> list[str]:
    """A line about image files that are the same, byte for byte, as the one before."""
    frames = sequence.frames
    if not isinstance(frames, ImageFiles):
        return []
    paths = [frames.describe(index) for index in range(len(frames))]
    try:
        # Files of these formats differ in size when their pictures differ; only few are read.
        sizes = [os.path.getsize(path) for path in paths if path.lower().endswith(_COMPRESSED)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    if len(sizes) < len(paths):
        return []
    same = [
        index
        for index in range(1, len(sizes))
        if sizes[index] == sizes[index - 1]
        and frames.read_bytes(index) == frames.read_bytes(index - 1)
    ]
    if not same:
        return []
    return [
        f"{sequence.name}: {counted(len(same), 'frame')} of {len(frames)} the same as the one "
        f"before; the first is {paths[same[0]]}"
    ]


def _visible_frames(sequence: Video) -> int:
    """In how many frames a training would see the target."""
    visible = has_area(sequence.ground_truth)
    if sequence.visible is not None:
        visible = visible & sequence.visible
    if sequence.cover is not None:
        visible = visible & (sequence.cover > 0)
    return int(visible.sum())


def _too_short(visible: Mapping[str, tuple[int, int]]) -> list[str]:
    names = list(visible)
    counts = np.array(list(visible.values()), dtype=np.int64).reshape(-1, 2)
    usable = can_be_drawn_from(counts[:, 0], counts[:, 1], _TEMPLATES)
    line = left_out(usable, _TEMPLATES, lambda index: names[index])
    return [f"for a training, {line}"] if line else []


def _numbers(box: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in box)


def _check_numbers(sequence: Video) -> None:
    """Refuse gaps in the numbers of frames, where no ground truth tells how many there are."""
    folder, first = os.path.split(sequence.frames.describe(0))
    names = [os.path.basename(sequence.frames.describe(i)) for i in range(len(sequence))]
    gap = first_gap(names)
    if not gap and re.fullmatch("0*[01]", os.path.splitext(first)[0]) is None:
        gap = f"; the first image is {first}, and frames are numbered from 0 or 1"
    if gap:
        raise DataError(f"{folder}: frames are missing{gap}")


def _not_listed(row: Row, tree: DataTree, entries: Mapping[str, ListedSequence]) -> list[str]:
    """Where annotation files are the list: frames that have none."""
    if not row.listing.endswith(".txt"):
        return []
    findings = []
    for files in (layout.files for layout in row.layouts):
        folder = files.images.rpartition("/")[0]
        try:
            names = tree.list_folders(folder)
        except DataError as error:
            findings.append(str(error))
            continue
        findings += [
            f"{tree.base / files.of(name, {}).annotation}: file not found, though there are frames "
            f"in {tree.base / folder / name}"
            for name in names
            if name not in entries
        ]
    return findings


def _known_to_be_broken(row: Row, entries: Mapping[str, ListedSequence]) -> list[str]:
    return [
        f"{name}: frame {number} is published broken, as far as known; where it cannot be read, "
        "the frame before it stands in"
        for name, number in row.broken_frames
        if name in entries
    ]


def _frames_without_row(entry: ListedSequence, tree: DataTree, frames: int) -> int:
    """1 where NFS's own annotation ends one frame before the video, as that of some videos does."""
    if entry.last_frame is None or not find_layout(entry, tree).vatic:
        return 0
    return entry.last_frame - entry.first_frame + 1 - frames


def _left_out(spare: int) -> list[str]:
    if not spare:
        return []
    return [
        f"{counted(spare, 'sequence')} as downloaded: no row of annotation for the last frame, "
        "which is left out"
    ]


def _surplus_images(tree: DataTree, entry: ListedSequence, frames: int) -> list[str]:
    """A line about images behind the last row of ground truth, if there are any."""
    layout = find_layout(entry, tree)
    if not layout.frame_pattern or entry.last_frame is not None or layout.files.frame_range:
        return []
    folder = layout.files.images
    return _without_row(tree.describe(folder), tree.names(folder), frames)


def _without_row(folder: str, names: Iterable[str], frames: int) -> list[str]:
    images = sum(map(is_image, names))
    if images <= frames:
        return []
    return [
        f"{folder}: {images} images, of which {frames} have ground truth; the others are not used"
    ]


def _missing(
    row: Row,
    tree: DataTree,
    entries: Mapping[str, ListedSequence],
    missing: Sequence[ListedSequence],
) -> list[str]:
    """What is wrong with the number of sequences, and the first that is not there."""
    source = "download or unpack the rest"
    if missing:
        images = tree.base / missing[0].layouts[0].files.images
        if len(missing) == len(entries):
            source = recognised(tree.root, row) or source
        return [
            f"{images}: not there; {len(missing)} of the {counted(len(entries), 'sequence')} of "
            f"{row.name} are missing, the first is {missing[0].name}; {source}"
        ]
    expected = row.number_of_sequences
    if expected is None or expected == len(entries):
        return []
    listed = tree.base / (row.list_file or row.listing.partition("*")[0])
    remedy = source if len(entries) < expected else "move away what does not belong there"
    return [
        f"{listed}: {counted(len(entries), 'sequence')}, but {row.name} has {expected}; {remedy}"
    ]
