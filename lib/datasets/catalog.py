"""The table of data sets, and the one way to open one: by its name or by the path of a folder."""

import os
from collections.abc import Callable
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
from lib.datasets.sequence import Dataset, Sequence
from lib.utils.errors import DataError, did_you_mean

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
        images="{name}",
        annotation="{name}/groundtruth.txt",
        absence=("{name}/absence.label",),
        cover="{name}/cover.label",
    ),
    Row(
        name="got10k_test",
        results_folder="got10k",
        protocol="got10k_test",
        folder="got10k",
        subfolder="test",
        list_file="list.txt",
        images="{name}",
        annotation="{name}/groundtruth.txt",
        first_box_only=True,
    ),
    Row(
        name="lasot",
        results_folder="lasot",
        protocol="lasot",
        folder="lasot",
        split="lasot_test.txt",
        images="{group}/{name}/img",
        frame_pattern="%08d.jpg",
        annotation="{group}/{name}/groundtruth.txt",
        absence=("{group}/{name}/full_occlusion.txt", "{group}/{name}/out_of_view.txt"),
    ),
    Row(
        name="otb",
        results_folder="otb",
        protocol="otb",
        folder="OTB2015",
        aliases=("otb100", "otb2015"),
        split="otb.csv",
        images="{image_folder}",
        annotation="{annotation}",
    ),
)


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
        if _looks_like_path(name_or_path):
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
    paths.check_dataset_keys(key for one in CATALOG for key in (one.name, one.folder) if key)
    folder, entries = _open_benchmark(row, paths)
    loader = partial(load_benchmark_sequence, row, folder, entries)
    return _dataset(row, str(folder), tuple(entries), loader)


def _find_row(name: str) -> Row | None:
    for row in CATALOG:
        if name == row.name or name in row.aliases:
            return row
    return None


def _looks_like_path(text: str) -> bool:
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
    root = paths.dataset_root(row.name, row.folder)
    origin = paths.dataset_root_origin(row.name, row.folder)
    remedy = (
        f"that place comes from: {origin}; put the data there, or say where it is by "
        f"--data_dir (the folder that holds {row.folder}), the environment variable "
        f"SEQTRACK_DATA_{row.name.upper()}, or `datasets: {{{row.name}: FOLDER}}` in paths.yaml"
    )
    if not root.is_dir():
        raise DataError(f"data set {row.name!r}: no folder {root}; {remedy}")
    folder = benchmark_folder(row, root)
    if row.list_file and not (folder / row.list_file).is_file():
        raise DataError(f"data set {row.name!r}: no list {folder / row.list_file}; {remedy}")
    entries = list_entries(row, folder)
    if not any((folder / entry.images).is_dir() for entry in entries.values()):
        first = next(iter(entries.values()))
        raise DataError(
            f"data set {row.name!r}: {folder} has none of its {len(entries)} sequences "
            f"(looked for {first.images} and so on); {remedy}"
        )
    return folder, entries
