"""Training sets: how one is opened, by its name in the catalog or by the path of a folder."""

from collections.abc import Callable
from pathlib import Path

from lib.config.paths import Paths
from lib.datasets.benchmarks.open import (
    TRAINING_CATALOG,
    DatasetLocation,
    looks_like_path,
    place_of,
)
from lib.datasets.storage.lmdb import SUFFIX, LmdbSet, copy_texts, find_lmdb
from lib.datasets.storage.pack import PackedSet, is_pack, open_pack, read_about
from lib.datasets.training.coco import list_coco
from lib.datasets.training.folder import list_folder_videos
from lib.datasets.training.index import load_or_build
from lib.datasets.training.listing import Listing, TrainingRow
from lib.datasets.training.set import IndexedSet, TrainingSet
from lib.datasets.training.text import list_text_videos
from lib.datasets.training.vid import list_vid
from lib.utils.errors import DataError, did_you_mean
from lib.utils.files import user_path

_READERS: dict[str, Callable[[TrainingRow, Path, str], Listing]] = {
    "text": list_text_videos,
    "coco": list_coco,
    "vid": list_vid,
}


def training_set_names() -> list[str]:
    return [row.name for row in TRAINING_CATALOG]


def open_training_set(name: str, paths: Paths, cache_dir: Path | None = None) -> TrainingSet:
    """Open a training set; the first time, all its annotation is read and indexed.

    Its files may lie in folders, in a pack (`lib.datasets.storage.pack`) or in LMDBs: whatever is
    in the set's folder. Where there is no such folder, one called `<folder>_lmdb` is looked into.

    Args:
        name: in the catalog, or the path of a pack or of a folder of sequences with ground truth
            (a name wins over a folder that is called the same; write `./LASOT` for the folder).
        paths: where data lies and outputs go.
        cache_dir: where the index is kept; `paths.index_dir` by default.

    Raises:
        DataError: no such name or folder, the data is not where the settings say, or a file of
            boxes is malformed.
        MissingExtraError: the data lies in LMDBs, and the package lmdb is missing.
    """
    cache = cache_dir or paths.index_dir
    row = next((row for row in TRAINING_CATALOG if row.name == name), None)
    if row is None:
        if not looks_like_path(name):
            known = training_set_names()
            raise DataError(
                f"unknown training set {name!r}{did_you_mean(name, known)}; known are "
                f"{', '.join(known)}, or the path of a folder of sequences"
            )
        folder = user_path(name, "training set")
        if is_pack(folder):
            return open_pack(folder, name)
        listing = list_folder_videos(name)
        return IndexedSet(name, True, listing.base, load_or_build(listing, cache, name))
    if row.format not in _READERS:
        raise DataError(f"training set {name!r} is generated; it has no sequences to open")
    place = place_of(row.name, row.folder, paths)
    if is_pack(place.root):
        return _open_packed(place.root, name)
    return _open_files(row, place, cache)


def _open_packed(root: Path, name: str) -> PackedSet:
    """The pack that a setting names for a set of the catalog."""
    packed = open_pack(root, name)
    made_of = read_about(root)["name"]
    if made_of != name:
        raise DataError(
            f"training set {name!r}: {root} is a pack of {made_of!r}; name that set, or the pack "
            "by its path"
        )
    return packed


def _open_files(row: TrainingRow, place: DatasetLocation, cache: Path) -> IndexedSet:
    root, parts = place.root, find_lmdb(place.root)
    if not parts and not root.is_dir():
        parts = find_lmdb(root.with_name(root.name + SUFFIX))
    if parts:
        root = copy_texts(parts, cache)
    elif not root.is_dir():
        raise DataError(f"training set {row.name!r}: no folder {root}; {place.remedy}")
    listing = _READERS[row.format](row, root, place.remedy)
    index = load_or_build(listing, cache, row.name)
    settings = (row.name, row.format != "coco", listing.base, index)
    return LmdbSet(*settings, parts, root) if parts else IndexedSet(*settings)
