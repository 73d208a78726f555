"""The table of data sets, and the one way to open one: by its name or by the path of a folder."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lib.config.paths import Paths
from lib.datasets.benchmarks.folder import find_sequences, open_folder
from lib.datasets.benchmarks.folder_trees import find_tree
from lib.datasets.benchmarks.layout import (
    ListedSequence,
    Row,
    is_there,
    list_entries,
    load_benchmark_sequence,
    open_tree,
)
from lib.datasets.benchmarks.rows import CATALOG, GOT10K_FILES, LASOT_FILES
from lib.datasets.sequence import Dataset, Video
from lib.datasets.sequence_files import SequenceFiles
from lib.datasets.storage.tree import DataTree
from lib.datasets.training.listing import TrainingRow
from lib.utils.errors import DataError, counted, did_you_mean

logger = logging.getLogger(__name__)

_GOT10K_TRAIN = TrainingRow(
    name="GOT10K_train_full",
    format="text",
    folder="got10k",
    subfolder="train",
    split="got10k_train_full_split.txt",
    list_file="list.txt",
    listed=9335,
    files=GOT10K_FILES,
    frame_pattern="%08d.jpg",
)

TRAINING_CATALOG = (
    TrainingRow(
        name="LASOT",
        format="text",
        folder="lasot",
        split="lasot_train_split.txt",
        files=LASOT_FILES,
        frame_pattern="%08d.jpg",
    ),
    replace(_GOT10K_TRAIN, name="GOT10K_vottrain", split="got10k_vot_train_split.txt"),
    replace(_GOT10K_TRAIN, name="GOT10K_votval", split="got10k_vot_val_split.txt"),
    _GOT10K_TRAIN,
    # The two parts of train_full. Not GOT10K_val, which is the name of the official val set.
    replace(_GOT10K_TRAIN, name="GOT10K_train", split="got10k_train_split.txt"),
    replace(_GOT10K_TRAIN, name="GOT10K_ltrval", split="got10k_val_split.txt"),
    TrainingRow(
        name="COCO17",
        format="coco",
        folder="coco",
        files=SequenceFiles("images/train2017", "annotations/instances_train2017.json"),
    ),
    TrainingRow(
        name="TRACKINGNET",
        format="text",
        folder="trackingnet",
        parts=tuple(f"TRAIN_{number}" for number in range(12)),
        files=SequenceFiles("{part}/frames/{name}", "{part}/anno/{name}.txt"),
        frame_pattern="%d.jpg",
        first_frame=0,
    ),
    TrainingRow(
        name="VID",
        format="vid",
        folder="vid",
        files=SequenceFiles("Data/VID/train", "Annotations/VID/train"),
        frame_pattern="%06d.JPEG",
    ),
    TrainingRow(name="SYNTHETIC", format="generated"),
)


@dataclass(frozen=True)
class DatasetLocation:
    """Where a data set is looked for, and what a message says to someone who has it elsewhere."""

    root: Path
    remedy: str

    @property
    def exists(self) -> bool:
        return self.root.exists() or Path(f"{self.root}.zip").is_file()


def dataset_names() -> list[str]:
    return [row.name for row in CATALOG]


def open_dataset(name_or_path: str, paths: Paths) -> Dataset:
    """Open a data set by its name in the catalog, or a folder of sequences by its path.

    A name wins over a folder that happens to be called the same; write `./lasot` for the folder.

    Raises:
        DataError: no such name or folder, or the data is not where the settings say.
    """
    row = find_row(name_or_path)
    if row is None:
        if looks_like_path(name_or_path):
            return _open_path(name_or_path)
        hint = did_you_mean(name_or_path, dataset_names())
        raise DataError(
            f"unknown data set {name_or_path!r}{hint}; known are {', '.join(dataset_names())}, "
            "or the path of a folder of sequences"
        )
    if not row.folder:
        # Generating video takes a good deal of code that no other data set needs.
        from lib.synthetic.video.dataset import BUILT_IN, load_synthetic

        return _dataset(row, "built-in", tuple(BUILT_IN[row.name][1]), load_synthetic)
    place = place_of(row.name, row.folder, paths)
    tree, entries = open_benchmark(row, place)
    if not any(is_there(entry, tree) for entry in entries.values()):
        first = next(iter(entries.values()))
        raise DataError(
            f"data set {row.name!r}: {tree.base} has none of its {len(entries)} sequences "
            f"(looked for {first.layouts[0].files.images} and so on); "
            f"{recognised(place.root, row) or place.remedy}"
        )
    loader = partial(load_benchmark_sequence, row, tree, entries)
    return _dataset(row, str(tree.base), tuple(entries), loader)


def open_benchmark(row: Row, place: DatasetLocation) -> tuple[DataTree, dict[str, ListedSequence]]:
    """The files and the sequences of a benchmark, all of which may be missing.

    Raises:
        DataError: there is no such folder, or nothing in it that lists the sequences.
    """
    tree = open_tree(row, place.root)
    if not tree.exists:
        raise DataError(f"data set {row.name!r}: no folder {place.root}; {place.remedy}")
    if row.list_file and not tree.has_file(row.list_file):
        raise DataError(
            f"data set {row.name!r}: no list {tree.base / row.list_file}; "
            f"{recognised(place.root, row) or place.remedy}"
        )
    try:
        return tree, list_entries(row, tree)
    except DataError as error:
        remedy = recognised(place.root, row) or place.remedy
        raise DataError(f"data set {row.name!r}: {error}; {remedy}") from None


def _open_path(path: str) -> Dataset:
    """A folder of sequences; a benchmark that has to be named is recognised.

    One that is called as a benchmark is called otherwise, so that neither its results nor its
    scores are ever taken for those of the benchmark.
    """
    try:
        dataset = open_folder(path)
        dataset = replace(dataset, loader=partial(_load_own, dataset.loader, Path(dataset.source)))
    except DataError as error:
        hint = recognised(Path(path).expanduser().absolute())
        raise DataError(f"data set folder {path}: {hint}" if hint else str(error)) from None
    taken = {name for row in CATALOG for name in (row.name, row.results_folder)}
    if dataset.name.lower() not in taken:
        return dataset
    name = f"{dataset.name}_folder"
    logger.warning(
        f"{dataset.source} is given by its path, so it is no {dataset.name.lower()}: its results "
        f"and scores are those of {name!r}"
    )
    return replace(dataset, name=name, results_folder=name)


def _load_own(load: Callable[[str], Video], root: Path, name: str) -> Video:
    """A sequence of a folder; where it does not fit, as the benchmark reads it that it is of.

    OTB's David has more images than rows, for example: its list says where tracking starts.
    """
    try:
        return load(name)
    except DataError:
        for row in CATALOG:
            if row.split and (found := _load_published(row, root, name)) is not None:
                return found
        raise


def _load_published(row: Row, root: Path, name: str) -> Video | None:
    """A sequence as a benchmark reads it; None where it is not of that benchmark."""
    tree = open_tree(row, root)
    try:
        entries = list_entries(row, tree) if tree.exists else {}
        return load_benchmark_sequence(row, tree, entries, name) if name in entries else None
    except DataError:
        return None


def place_of(name: str, folder: str, paths: Paths) -> DatasetLocation:
    """Where the settings say that a data set of the catalog is.

    Raises:
        ConfigError: a setting is about a data set that the catalog does not know.
    """
    keys = (key for row in all_rows() for key in (row.name, row.folder) if key)
    paths.check_dataset_keys(keys)
    origin = paths.dataset_root_origin(name, folder)
    remedy = (
        f"that place comes from: {origin}; put the data there, or say where it is by "
        f"--data-dir (the folder that holds {folder}), the environment variable "
        f"SEQTRACK_DATA_{name.upper()}, or `datasets: {{{name.lower()}: FOLDER}}` in paths.yaml"
    )
    return DatasetLocation(paths.dataset_root(name, folder), remedy)


def all_rows() -> list[Row | TrainingRow]:
    return [*CATALOG, *TRAINING_CATALOG]


def find_row(name: str) -> Row | None:
    """The benchmark that is called so, in any case, with `-` for `_`, or by an alias."""
    wanted = name.lower().replace("-", "_")
    for row in CATALOG:
        if wanted == row.name or wanted in row.aliases:
            return row
    return None


def looks_like_path(text: str) -> bool:
    separators = [separator for separator in ("/", os.sep, os.altsep) if separator]
    named = text in (".", "..", "~") or text.lower().endswith(".zip")
    return named or any(s in text for s in separators) or os.path.isdir(text)


def _dataset(
    row: Row, source: str, names: tuple[str, ...], loader: Callable[[str], Video]
) -> Dataset:
    return Dataset(
        name=row.name,
        results_folder=row.results_folder,
        update_key=row.name.upper(),
        protocol=row.protocol,
        source=source,
        sequence_names=names,
        loader=loader,
    )


# The folders in the one that was given are looked at, too: not thousands of them.
_MOST_FOLDERS = 20


def recognised(root: Path, wanted: Row | None = None) -> str:
    """Which data set a folder holds, with what to do about it; empty where that is not clear.

    Args:
        root: where a data set was looked for.
        wanted: the one that was looked for; None where a folder of sequences was.
    """
    if wanted is not None:
        for place in (*_below(root), root.parent):
            if _sequences_of(wanted, place):
                return f"they lie in {place}: give that folder"
    # Benchmarks share names: OTB and DTB70 both have a Basketball/img. The most tell which it is.
    listed = [row for row in CATALOG if row is not wanted and row.split]
    numbers = [_sequences_of(row, root) for row in listed]
    if number := max(numbers):
        row = listed[numbers.index(number)]
        return (
            f"{root} holds {counted(number, 'sequence')} of {row.name}: name that data set, "
            f"and say where it is by SEQTRACK_DATA_{row.name.upper()}={root}"
        )
    if wanted is None:
        for place in _below(root):
            if number := len(find_tree(place)[1]):
                return f"{place} holds {counted(number, 'sequence')}: give that folder"
        return ""
    try:
        folder, found = find_sequences(root)
    except DataError:
        return ""
    return (
        f"{folder} holds {counted(len(found), 'sequence')} of another layout: give that folder "
        "by its path instead of a name"
    )


def _below(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [root / name for name in names[:_MOST_FOLDERS]]


def _sequences_of(row: Row, root: Path) -> int:
    tree = open_tree(row, root)
    try:
        entries = list_entries(row, tree).values() if tree.exists else ()
        return sum(is_there(entry, tree) for entry in entries)
    except DataError:
        return 0
