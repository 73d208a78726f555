"""Folders that keep all annotation apart from all frames: `annotations/<name>.txt` beside
`sequences/<name>/`, as VisDrone-SOT, AVisT, TrackingNet and UAVTrack112 do; zipped as well.
"""

import logging
from functools import partial
from pathlib import Path

from lib.datasets.benchmarks.layout import Layout, ListedSequence, Row, load_benchmark_sequence
from lib.datasets.sequence import Dataset
from lib.datasets.sequence_files import SequenceFiles
from lib.datasets.storage.tree import DataTree
from lib.datasets.storage.zip import Wanted
from lib.datasets.text.ground_truth import natural_key
from lib.utils.errors import DataError, counted

logger = logging.getLogger(__name__)

_ANNOTATIONS = ("annotations", "anno")
_FRAMES = ("sequences", "frames", "data_seq", "images")
_FLAGS = ("full_occlusion", "out_of_view")
# A regular expression for the files of such a folder, as archives are searched for them.
_PATTERN = (
    rf"({'|'.join(_FRAMES)})/[^/]+/\*|({'|'.join(_ANNOTATIONS)})/[^/]+\.txt|"
    rf"({'|'.join(_FLAGS)})/[^/]+\.txt"
)
LOOKED_FOR = f"{_FRAMES[0]}/<name>/ beside {_ANNOTATIONS[0]}/<name>.txt"


def find_tree(root: Path) -> tuple[DataTree, dict[str, SequenceFiles]]:
    """The files of such a folder or archive, and those of each sequence by name, in order.

    A sequence is a file of annotation. There are none where this is not the layout; frames
    without annotation are warned of.

    Raises:
        DataError: an archive is damaged.
    """
    tree = DataTree(root, "", Wanted(pattern=_PATTERN))
    for annotations in _ANNOTATIONS:
        names = {file.removesuffix(".txt") for file in tree.list_files(annotations, ".txt")}
        for frames in _FRAMES if names else ():
            folders = tree.list_folders(frames)
            if names.isdisjoint(folders):
                continue
            if alone := [name for name in folders if name not in names]:
                logger.warning(
                    "%s: %s of frames without a file in %s are left out (the first is %s)",
                    tree.describe(frames),
                    counted(len(alone), "folder"),
                    annotations,
                    alone[0],
                )
            ordered = sorted(names, key=natural_key)
            return tree, {name: _files(tree, annotations, frames, name) for name in ordered}
    return tree, {}


def open_archive(path: Path) -> Dataset:
    """Such a folder in a zip archive as a data set; frames are read where they lie.

    Raises:
        DataError: the archive is damaged, or something else is in it.
    """
    tree, files = find_tree(path)
    if not files:
        raise DataError(f"{path}: no archive with {LOOKED_FOR}; unpack it, and give the folder")
    name = path.stem
    row = Row(name, protocol="otb", first_box_only=True)
    entries = {one: ListedSequence(one, (Layout(places),)) for one, places in files.items()}
    return Dataset(
        name=name,
        results_folder=name,
        update_key="DEFAULT",
        protocol="lasot" if all(one.absence for one in files.values()) else "otb",
        source=str(path),
        sequence_names=tuple(entries),
        loader=partial(load_benchmark_sequence, row, tree, entries),
    )


def _files(tree: DataTree, annotations: str, frames: str, name: str) -> SequenceFiles:
    flags = tuple(f"{folder}/{name}_{folder}.txt" for folder in _FLAGS)
    return SequenceFiles(
        images=f"{frames}/{name}",
        annotation=f"{annotations}/{name}.txt",
        absence=flags if all(map(tree.has_file, flags)) else (),
    )
