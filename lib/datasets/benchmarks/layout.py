"""Benchmarks: what a row of the catalog says about files, and how its sequences are read."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.datasets.benchmarks.nfs import read_vatic_boxes
from lib.datasets.sequence import FrameSource, PatchedFrames, Video
from lib.datasets.sequence_files import NO_FILES, SequenceFiles, packaged_list, packaged_names
from lib.datasets.storage.tree import DataTree
from lib.datasets.storage.zip import Wanted
from lib.datasets.text.boxes import TextFile
from lib.datasets.text.ground_truth import (
    check_frame_count,
    first_gap,
    is_image,
    order_images,
    read_absence,
    read_cover,
    read_frame_range,
    read_ground_truth,
    read_names,
    read_vot_boxes,
)
from lib.utils.errors import DataError


@dataclass(frozen=True)
class Layout:
    """One way in which the files of a data set are laid out."""

    # Patterns, in which the columns of a CSV split can be used too; `{video}` is the last part of
    # its image folder, `{place}` the folder of a sequence that was listed
    files: SequenceFiles = NO_FILES
    # Numbered frames from 1, as many as rows; '' takes all images in order. A CSV split has its
    # own.
    frame_pattern: str = ""
    every: int = 1  # of the frames on disk, each how-manieth is used
    vatic: bool = False  # the annotation is NFS's own


@dataclass(frozen=True)
class Server:
    """An evaluation server."""

    key: str  # what the command calls it
    data_set: str  # name in the catalog
    title: str  # for messages
    sequences: int  # how many it expects
    folders: bool  # a folder for each sequence, with a file of times; else only flat files of boxes
    max_runs: int  # how many runs of a tracker it takes
    names: tuple[str, ...] = ()  # of all sequences, where they are known without the data set


@dataclass(frozen=True)
class Row:
    """One benchmark. Odd things are fields here, so that no benchmark needs code of its own."""

    name: str  # as given to `--dataset`; in capitals it is the update-interval key
    results_folder: str = ""  # folder of the raw results; as its name by default
    protocol: str = ""  # scoring rules, a kind that `lib.analysis` knows; as its name by default
    folder: str = ""  # default folder below the data root; '' for data that is generated
    aliases: tuple[str, ...] = ()  # other names for `--dataset`
    # The part of the data set, such as 'val'; the root may be this folder itself
    subfolder: str = ""
    # It may be so whatever it is called, as there is nothing to mistake it for
    any_root: bool = False
    # In the order they are looked for; for each sequence the first that is there
    layouts: tuple[Layout, ...] = ()
    split: str = ""  # packaged list of sequences: .txt names, or .csv with frame ranges
    list_file: str = ""  # list of sequences inside the data set, where there is no packaged one
    # Otherwise, where they are: '*' is a folder each, '*/*' one below another folder, 'anno/*.txt'
    # a file
    listing: str = ""
    only: str = ""  # a word that a listed name has in it, if it belongs to this benchmark
    sequences: int | None = None  # how many there are, where no packaged list tells it
    frames: int | None = None  # how many there are, where no packaged list tells it
    first_box_only: bool = False  # only the first box is public
    server: Server | None = None  # what scores it, where the ground truth is not public
    # How a row of ground truth marks an absent target: 'nan' (UAV123, whose rules know that),
    # 'zeros' (VastTrack), 'negative' (TREK-150), or 'vot': the file is VOT's, NaN and polygons
    absent: str = ""
    # (sequence, number in the file's name) of frames that are published broken
    broken_frames: tuple[tuple[str, int], ...] = ()
    # (sequence, what is known to be odd about it), added to messages about it
    remarks: tuple[tuple[str, str], ...] = ()
    paper: str = ""  # where it was published
    homepage: str = ""  # where it comes from
    rule: str = ""  # what else belongs to its protocol, such as what a tracker may be trained on

    def __post_init__(self) -> None:
        for key in ("results_folder", "protocol"):
            object.__setattr__(self, key, getattr(self, key) or self.name)

    @property
    def number_of_sequences(self) -> int | None:
        """How many it has; None where neither its list nor its paper tells."""
        return len(_packaged_entries(self)) if self.split else self.sequences


@dataclass(frozen=True)
class ListedSequence:
    """Where one sequence of a benchmark is."""

    name: str  # of the sequence
    layouts: tuple[Layout, ...]  # those of the row, for this sequence
    first_frame: int = 1  # number of the first frame
    # That of the last one, None where something else tells the number of frames
    last_frame: int | None = None
    omit: int = 0  # rows of ground truth, and frames, to leave out before the first one


def open_tree(row: Row, root: Path) -> DataTree:
    """The files of a benchmark below `root`, or below its part `row.subfolder`."""
    part = row.subfolder
    if part and not (root / part).is_dir() and root.is_dir() and _is_part(row, root):
        part = ""
    named = row.subfolder if row.subfolder.lower() not in root.name.lower() else ""
    return DataTree(root, part, replace(_wanted(row), part="" if row.any_root else named))


def list_entries(row: Row, tree: DataTree) -> dict[str, ListedSequence]:
    """All sequences of a benchmark in evaluation order, by name.

    Raises:
        DataError: the data set's own list is missing or malformed, there are no sequences, or two
            of one name.
    """
    if row.split:
        return _packaged_entries(row)
    if row.list_file:
        names = read_names(tree.file(row.list_file))
        return {name: _entry(row, name, {"place": name}) for name in names}
    entries: dict[str, ListedSequence] = {}
    places: dict[str, str] = {}
    for place in _listed_places(row.listing, tree):
        name = place.rpartition("/")[2]
        if row.only not in name:
            continue
        if name in entries:
            raise DataError(
                f"{tree.base}: {places[name]} and {place} are both called {name!r}, and their "
                "results would be; rename one"
            )
        entries[name], places[name] = _entry(row, name, {"place": place}), place
    if not entries:
        wanted = f" with {row.only!r} in their name" if row.only else ""
        raise DataError(f"{tree.base}: no sequences{wanted} (looked for {row.listing})")
    return entries


def load_benchmark_sequence(
    row: Row, tree: DataTree, entries: Mapping[str, ListedSequence], name: str
) -> Video:
    """Read the annotation of one sequence and name its frames; no image is opened.

    Raises:
        DataError: a file is missing or malformed, or annotation and frames do not fit.
    """
    try:
        return _load(row, tree, entries[name])
    except DataError as error:
        known = dict(row.remarks).get(name)
        if known is None:
            raise
        raise DataError(f"{error}; {known}") from None


def find_layout(entry: ListedSequence, tree: DataTree) -> Layout:
    """The layout in which a sequence is there: the first in full, else the first in part."""
    if len(entry.layouts) == 1:
        return entry.layouts[0]

    partly = []
    for layout in entry.layouts:
        annotated = tree.has_file(layout.files.annotation)
        pictured = tree.has_folder(layout.files.images)
        if annotated and pictured:
            return layout
        partly += [layout] if annotated or pictured else []
    return [*partly, *entry.layouts][0]


def is_there(entry: ListedSequence, tree: DataTree) -> bool:
    return any(
        tree.has_folder(layout.files.images) or tree.has_file(layout.files.annotation)
        for layout in entry.layouts
    )


def _load(row: Row, tree: DataTree, entry: ListedSequence) -> Video:
    layout = find_layout(entry, tree)
    files = layout.files
    annotation = tree.file(files.annotation)
    others = {one.files.annotation for one in entry.layouts} - {files.annotation}
    if others and not tree.has_file(files.annotation):
        raise DataError(f"{annotation}: file not found, nor {' or '.join(sorted(others))}")
    if files.frame_range:
        first, last = read_frame_range(tree.file(files.frame_range))
        entry = replace(entry, first_frame=first, last_frame=last)
    boxes, marked = _read_boxes(row, entry, layout, annotation)
    names = _frame_names(entry, layout, tree, len(boxes))
    check_frame_count(
        len(names),
        len(boxes),
        annotation,
        tree.describe(files.images),
        first_box_only=row.first_box_only,
        gap="" if layout.frame_pattern else first_gap(names),
    )
    try:
        visible = read_absence([tree.file(path) for path in files.absence], len(boxes))
        cover = read_cover(tree.file(files.cover), len(boxes)) if files.cover else None
    except DataError as error:
        images = sum(map(is_image, tree.names(files.images)))
        if images == len(boxes):
            raise
        # The flags may be right, and the boxes be too few.
        raise DataError(
            f"{error}; {annotation} has {len(boxes)} rows and {tree.describe(files.images)} "
            f"{images} images"
        ) from None
    return Video(
        name=entry.name,
        frames=_frames(row, entry, tree.images(files.images, names), names),
        ground_truth=boxes,
        visible=visible if marked is None else marked,
        cover=cover,
        annotation=str(annotation),
    )


def _read_boxes(
    row: Row, entry: ListedSequence, layout: Layout, annotation: TextFile
) -> tuple[np.ndarray, np.ndarray | None]:
    """Boxes (N, 4), and visibility (N,) bool where the rows themselves mark an absent target."""
    if layout.vatic and entry.last_frame is not None:
        return read_vatic_boxes(annotation, entry.last_frame - entry.first_frame + 1), None
    if row.absent == "vot":
        return read_vot_boxes(annotation)
    boxes = read_ground_truth(annotation, nan_means_absent=row.absent == "nan", skip=entry.omit)
    present = {"zeros": boxes != 0, "negative": boxes >= 0}.get(row.absent)
    return boxes, None if present is None else present.any(axis=1)


def _frame_names(
    entry: ListedSequence, layout: Layout, tree: DataTree, rows: int
) -> tuple[str, ...]:
    folder = layout.files.images
    present = tree.names(folder)
    if not layout.frame_pattern:
        return order_images(present, tree.describe(folder))
    first, last = entry.first_frame, entry.last_frame
    count = rows if last is None or layout.vatic else last - first + 1
    numbers = range(first, first + count * layout.every, layout.every)
    names = tuple(layout.frame_pattern % number for number in numbers)
    missing = sorted(set(names).difference(present))
    if missing:
        raise DataError(
            f"{tree.describe(folder)}/{missing[0]}: frame not found ({len(missing)} of the "
            f"{len(names)} frames {names[0]} to {names[-1]} are missing)"
        )
    return names


def _frames(
    row: Row, entry: ListedSequence, frames: FrameSource, names: tuple[str, ...]
) -> FrameSource:
    broken = {number for name, number in row.broken_frames if name == entry.name}
    if not broken:
        return frames
    numbers = [re.findall(r"\d+", name.rpartition(".")[0])[-1:] for name in names]
    indices = (i for i, found in enumerate(numbers) if found and int(found[0]) in broken)
    return PatchedFrames(frames, frozenset(indices))


def _packaged_entries(row: Row) -> dict[str, ListedSequence]:
    if not row.split.endswith(".csv"):
        return {name: _entry(row, name, {"place": name}) for name in packaged_names(row.split)}
    lines = csv.DictReader(packaged_list(row.split).splitlines())
    return {line["name"]: _entry(row, line["name"], line) for line in lines}


def _entry(row: Row, name: str, columns: Mapping[str, str]) -> ListedSequence:
    first, last, omit, pattern = 1, None, 0, ""
    words = dict(columns)
    if "image_folder" in columns:
        pattern = f"%0{columns['digits']}d.{columns['ext']}"
        first, last = int(columns["start_frame"]), int(columns["end_frame"])
        omit = int(columns["init_omit"])
        words["video"] = columns["image_folder"].rpartition("/")[2]
    layouts = (
        replace(
            layout,
            files=layout.files.of(name, words),
            frame_pattern=pattern or layout.frame_pattern,
        )
        for layout in row.layouts
    )
    return ListedSequence(name, tuple(layouts), first + omit, last, omit)


def _is_part(row: Row, root: Path) -> bool:
    """Whether `root` is the part of the data set itself: `list.txt` and the like are in each."""
    return row.any_root or row.subfolder.lower() in root.name.lower()


def _listed_places(listing: str, tree: DataTree) -> list[str]:
    """Folder, or file without suffix, of each sequence, relative to the data set's folder."""
    folder, _, last = listing.rpartition("/")
    if last != "*":
        suffix = last.removeprefix("*")
        return [name.removesuffix(suffix) for name in tree.list_files(folder, suffix)]
    above = tree.list_folders("") if folder else [""]
    below = [f"{one}/" if one else "" for one in above]
    return [one + name for one in below for name in tree.list_folders(one.rstrip("/"))]


def _wanted(row: Row) -> Wanted:
    """What a benchmark is made of, as archives are searched for it."""
    if row.split:
        layouts = [one for entry in _packaged_entries(row).values() for one in entry.layouts]
        images = {f"{layout.files.images}/*" for layout in layouts}
        return Wanted(known=frozenset(images.union(*(one.files.texts for one in layouts))))
    place = "*/*" if row.listing == "*/*" else "*"
    patterns = []
    for files in (layout.files.of("*", {"place": place}) for layout in row.layouts):
        # In these paths `*` is any part of a name, but in `a/*` for the images in `a`.
        patterns += [_as_pattern(files.images) + r"/\*", *map(_as_pattern, files.texts)]
    return Wanted(pattern="|".join(patterns))


def _as_pattern(path: str) -> str:
    return re.escape(path).replace(re.escape("*"), "[^/]+")
