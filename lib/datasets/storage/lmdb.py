"""Training sets in LMDB files, as other frameworks keep them: keys are paths in the data set.

All text below the keys is small; it is copied once to a folder of its own, with an empty folder
for every folder of images, so that the usual readers read it. Frames are read from the LMDB.
"""

import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.sequence import EncodedFrames, NumberedFrames
from lib.datasets.text.ground_truth import is_image
from lib.datasets.training.set import IndexedSet, StoredFrames
from lib.utils.advice import extra
from lib.utils.errors import DataError, MissingExtraError
from lib.utils.files import atomic_path, atomic_write_text

logger = logging.getLogger(__name__)

SUFFIX = "_lmdb"
_DATA = "data.mdb"
_DONE = ".complete"
_META = 144
_MAGIC = 0xBEEFC0DE.to_bytes(4, "little")


def find_lmdb(root: Path) -> dict[str, Path]:
    """The LMDBs of a data set by the folder that their keys are below; none if there are none.

    Args:
        root: folder of an LMDB, or of one LMDB for each part of the set (`TRAIN_0_lmdb`).
    """
    if (root / _DATA).is_file():
        return {"": root}
    parts = sorted(root.glob(f"*/{_DATA}")) if root.is_dir() else []
    return {file.parent.name.removesuffix(SUFFIX): file.parent for file in parts}


@functools.lru_cache(maxsize=64)
def _open(folder: Path, process: int) -> Any:
    """An LMDB, opened once per process: a forked one must not use its parent's."""
    try:
        import lmdb
    except ImportError:
        raise MissingExtraError(
            f"to read {folder} the package lmdb is needed: {extra('lmdb')}, or pip install lmdb"
        ) from None
    _check_whole(folder)
    try:
        return lmdb.open(
            os.fspath(folder), readonly=True, lock=False, readahead=False, meminit=False
        )
    except lmdb.Error as error:
        raise DataError(f"{folder}: cannot be opened as an LMDB ({error})") from None


@contextlib.contextmanager
def _transaction(folder: Path) -> Iterator[Any]:
    """A transaction. Raises DataError: what is read in it is damaged."""
    database = _open(folder, os.getpid())
    import lmdb

    try:
        with database.begin() as transaction:
            yield transaction
    except lmdb.Error as error:
        raise DataError(f"{folder}: the LMDB is damaged ({error}); copy it again") from None


def _check_whole(folder: Path) -> None:
    """Refuse a file that ends before its last page: reading there would end the process.

    Source: `MDB_meta` of lmdb.h: a page has 16 bytes of its own, then magic and version (4 bytes
    each), address and size of the map (8 each), two databases (48 each, the page size is the first
    field), the number of the last page (8).
    """
    file = folder / _DATA
    with open(file, "rb") as stream:
        pages = [stream.read(_META)]
        size = int.from_bytes(pages[0][40:44], "little")
        stream.seek(size)
        pages.append(stream.read(_META))
    if any(page[16:20] != _MAGIC for page in pages):
        return  # whatever this is, the package has to judge it
    last = max(int.from_bytes(page[136:144], "little") for page in pages)
    if (last + 1) * size > file.stat().st_size:
        raise DataError(f"{folder}: the LMDB is cut short ({file.stat().st_size} bytes of {_DATA})")


def read_value(folder: Path, key: str) -> bytes:
    """The value of a key.

    Raises:
        DataError: there is no such key, or the LMDB cannot be read.
        MissingExtraError: the package lmdb is missing.
    """
    with _transaction(folder) as transaction:
        value = transaction.get(os.fsencode(key))
    if value is None:
        raise DataError(f"{folder}: has no key {key!r}")
    return bytes(value)


def _entries(folder: Path) -> Iterator[tuple[str, Any]]:
    """Keys, and a function that gives the value."""
    with _transaction(folder) as transaction:
        cursor = transaction.cursor()
        for key in cursor.iternext(keys=True, values=False):
            yield os.fsdecode(bytes(key)), lambda: bytes(cursor.value())


def copy_texts(parts: dict[str, Path], cache: Path) -> Path:
    """The folder with all files of a set that are no images, and its empty folders of images.

    Raises:
        DataError: an LMDB cannot be read, or a key leads out of the data set.
        OSError: the cache cannot be written.
    """
    about = [f"{part} {path} {_stamp(path)}" for part, path in parts.items()]
    name = hashlib.sha256("\n".join(about).encode(errors="surrogateescape")).hexdigest()[:12]
    target = cache / f"lmdb-{name}"
    if (target / _DONE).is_file():
        return target
    for part, path in parts.items():
        logger.warning("reading the annotation in %s, once", path)
        known: set[str] = set()
        for key, value in _entries(path):
            folder, _, leaf = key.rpartition("/")
            where = target / part / folder
            if folder not in known:
                if ".." in folder.split("/") or os.path.isabs(key) or "\0" in key:
                    raise DataError(f"{path}: the key {key!r} leads out of the data set")
                known.add(folder)
            try:
                where.mkdir(parents=True, exist_ok=True)
                if not is_image(leaf):
                    with atomic_path(where / leaf) as temporary:
                        temporary.write_bytes(value())
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise DataError(f"{path}: the key {key!r:.80} is no path ({error})") from None
    atomic_write_text(target / _DONE, "\n".join(about) + "\n")
    return target


def _stamp(folder: Path) -> str:
    status = (folder / _DATA).stat()
    return f"{status.st_size} {status.st_mtime_ns}"


class LmdbFrames(NumberedFrames, EncodedFrames):
    """Frames of one sequence in an LMDB, whose keys are their names; see `FrameSource`."""

    def read_bytes(self, index: int) -> bytes:
        return read_value(self.folder, self.name(index))

    def describe(self, index: int) -> str:
        return os.path.join(self.folder, self.name(index))


@dataclass(eq=False)
class LmdbSet(IndexedSet):
    """A training set whose frames lie in LMDBs. See `IndexedSet`."""

    parts: dict[str, Path]
    texts: Path

    def _frames(self, entry: np.void, length: int) -> StoredFrames:
        folder = self._folder(entry).relative_to(self.texts).as_posix()
        part, below = ("", folder) if "" in self.parts else folder.split("/", 1)
        pattern = os.fsdecode(entry["pattern"])
        if not self.is_video:
            pattern = pattern.replace("%", "%%")
            # A still: its name holds no number.
            return LmdbFrames(self.parts[part], _joined(below, pattern) + "%.0s", 0, 1)
        first = int(entry["first"])
        return LmdbFrames(self.parts[part], _joined(below, pattern), first, length)

    @property
    def frames_base(self) -> Path:
        return self.parts.get("", next(iter(self.parts.values())).parent)


def _joined(folder: str, name: str) -> str:
    # The folder is no pattern.
    return f"{folder.replace('%', '%%')}/{name}" if folder not in ("", ".") else name
