"""The table of data sets, and the one way to open one: by its name or by the path of a folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lib.config.paths import Paths
from lib.datasets.benchmark import (
    Entry,
    Row,
    benchmark_folder,
    list_entries,
    load_benchmark_sequence,
)
from lib.datasets.folder import open_folder
from lib.datasets.listing import TrainingRow
from lib.datasets.sequence import Dataset, Sequence
from lib.datasets.sequence_files import SequenceFiles
from lib.utils.errors import DataError, did_you_mean

_LASOT_FILES = SequenceFiles(
    images="{group}/{name}/img",
    annotation="{group}/{name}/groundtruth.txt",
    absence=("{group}/{name}/full_occlusion.txt", "{group}/{name}/out_of_view.txt"),
)
_GOT10K_FILES = SequenceFiles(
    images="{name}",
    annotation="{name}/groundtruth.txt",
    absence=("{name}/absence.label",),
    cover="{name}/cover.label",
)

CATALOG = (
    # Generated sequences flag absent targets; LaSOT's rules are the ones that heed that.
    Row(name="synthetic", results_folder="synthetic", protocol="lasot"),
    Row(
        name="got10k_val",
        results_folder="got10k_val",
        protocol="got10k_val",
        folder="got10k",
        subfolder="val",
        list_file="list.txt",
        files=_GOT10K_FILES,
    ),
    Row(
        name="got10k_test",
        results_folder="got10k",
        protocol="got10k_test",
        folder="got10k",
        subfolder="test",
        list_file="list.txt",
        files=SequenceFiles(images="{name}", annotation="{name}/groundtruth.txt"),
        first_box_only=True,
    ),
    Row(
        name="lasot",
        results_folder="lasot",
        protocol="lasot",
        folder="lasot",
        split="lasot_test.txt",
        files=_LASOT_FILES,
        frame_pattern="%08d.jpg",
    ),
    Row(
        name="otb",
        results_folder="otb",
        protocol="otb",
        folder="OTB2015",
        aliases=("otb100", "otb2015"),
        split="otb.csv",
        files=SequenceFiles(images="{image_folder}", annotation="{annotation}"),
    ),
)

_GOT10K_TRAIN = TrainingRow(
    name="GOT10K_train_full",
    format="text",
    folder="got10k",
    subfolder="train",
    split="got10k_train_full_split.txt",
    list_file="list.txt",
    listed=9335,
    files=_GOT10K_FILES,
    frame_pattern="%08d.jpg",
)

TRAINING_CATALOG = (
    TrainingRow(
        name="LASOT",
        format="text",
        folder="lasot",
        split="lasot_train_split.txt",
        files=_LASOT_FILES,
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
class Place:
    """Where a data set is looked for, and what a message says to someone who has it elsewhere."""

    root: Path
    remedy: str


def dataset_names() -> list[str]:
    """Names that `--dataset` knows; a path works too."""
    return [row.name for row in CATALOG]


def open_dataset(name_or_path: str, paths: Paths) -> Dataset:
    """Open a data set by its name in the catalog, or a folder of sequences by its path.

    A name wins over a folder that happens to be called the same; write `./lasot` for the folder.

    Raises:
        DataError: no such name or folder, or the data is not where the settings say.
    """
    row = _find_row(name_or_path)
    if row is None:
        if looks_like_path(name_or_path):
            return open_folder(name_or_path)
        hint = did_you_mean(name_or_path, dataset_names())
        raise DataError(
            f"unknown data set {name_or_path!r}{hint}; known are {', '.join(dataset_names())}, "
            "or the path of a folder of sequences"
        )
    if not row.folder:
        # Generating video takes a good deal of code that no other data set needs.
        from lib.datasets.synthetic import SYNTHETIC_NAMES, load_synthetic

        return _dataset(row, "built-in", SYNTHETIC_NAMES, load_synthetic)
    folder, entries = _open_benchmark(row, paths)
    loader = partial(load_benchmark_sequence, row, folder, entries)
    return _dataset(row, str(folder), tuple(entries), loader)


def place_of(name: str, folder: str, paths: Paths) -> Place:
    """Where the settings say that a data set of the catalog is.

    Args:
        name: of the row.
        folder: its default folder below the data root.
        paths: the settings.

    Raises:
        ConfigError: a setting is about a data set that the catalog does not know.
    """
    rows = (*CATALOG, *TRAINING_CATALOG)
    paths.check_dataset_keys(key for row in rows for key in (row.name, row.folder) if key)
    origin = paths.dataset_root_origin(name, folder)
    remedy = (
        f"that place comes from: {origin}; put the data there, or say where it is by "
        f"--data_dir (the folder that holds {folder}), the environment variable "
        f"SEQTRACK_DATA_{name.upper()}, or `datasets: {{{name.lower()}: FOLDER}}` in paths.yaml"
    )
    return Place(paths.dataset_root(name, folder), remedy)


def _find_row(name: str) -> Row | None:
    for row in CATALOG:
        if name == row.name or name in row.aliases:
            return row
    return None


def looks_like_path(text: str) -> bool:
    """Whether someone who wrote `text` for a data set means a folder."""
    separators = [separator for separator in ("/", os.sep, os.altsep) if separator]
    return text in (".", "..", "~") or any(s in text for s in separators) or os.path.isdir(text)


def _dataset(
    row: Row, source: str, names: tuple[str, ...], loader: Callable[[str], Sequence]
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


def _open_benchmark(row: Row, paths: Paths) -> tuple[Path, dict[str, Entry]]:
    """The folder and the sequences of a benchmark, or an error that says how to name its place."""
    place = place_of(row.name, row.folder, paths)
    root, remedy = place.root, place.remedy
    if not root.is_dir():
        raise DataError(f"data set {row.name!r}: no folder {root}; {remedy}")
    folder = benchmark_folder(row, root)
    if row.list_file and not (folder / row.list_file).is_file():
        raise DataError(f"data set {row.name!r}: no list {folder / row.list_file}; {remedy}")
    entries = list_entries(row, folder)
    if not any((folder / entry.files.images).is_dir() for entry in entries.values()):
        first = next(iter(entries.values()))
        raise DataError(
            f"data set {row.name!r}: {folder} has none of its {len(entries)} sequences "
            f"(looked for {first.files.images} and so on); {remedy}"
        )
    return folder, entries
