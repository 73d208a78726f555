"""The boxes of a whole training set in three arrays, kept in one file that all processes map.

Reading the annotation of a big set takes minutes, and every loader process needs it. So it is
read once; the file's name says which listing it was made from, so that a training which runs
keeps its index when the data change. The file is a line of JSON, padded, and three arrays in
NumPy's own format.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from tqdm import tqdm

from lib.datasets.training.listing import Listing
from lib.utils.errors import DataError
from lib.utils.files import atomic_path

logger = logging.getLogger(__name__)

_FORMAT = "seqtrack-training-index-1"
_HEADER = 256
_BLOCK = 1 << 20
# Every opening counts as a use: a training opens its index again for each validation.
_UNUSED_SECONDS = 30 * 24 * 3600
# What reading a damaged file raises.
DAMAGE = (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, MemoryError)


@dataclass(frozen=True, eq=False)
class TrainingIndex:
    """All sequences of a training set; pickles as the path of its file where it has one."""

    # `(n,)` with the fields name, folder and pattern (bytes), first, start (row of its first box),
    # length and visible (number of frames with a visible target)
    sequences: np.ndarray
    boxes: np.ndarray  # `(M, 4)` float32 xywh
    visible: np.ndarray  # `(M,)` bool
    key: str  # of the listing that it was made from
    file: Path | None = None  # where it is kept; None when it is held in memory only

    def __post_init__(self) -> None:
        """Raise ValueError where the arrays do not fit each other: the file may be a forgery."""
        rows = len(self.boxes)
        kinds = dict.fromkeys(("first", "start", "length", "visible"), "i")
        kinds |= dict.fromkeys(("name", "folder", "pattern"), "S")
        fields: Mapping[str, Any] = self.sequences.dtype.fields or {}
        if {name: field[0].kind for name, field in fields.items()} != kinds:
            raise ValueError("its sequences are of another kind")
        if self.boxes.shape != (rows, 4) or self.boxes.dtype != np.float32:
            raise ValueError("its boxes are of another kind")
        if self.visible.shape != (rows,) or self.visible.dtype != bool or self.sequences.ndim != 1:
            raise ValueError("its flags are of another kind")
        start, length = self.sequences["start"], self.sequences["length"]
        if ((start < 0) | (length < 0) | (start > rows - length)).any():
            raise ValueError("a sequence has no rows there")

    def __reduce__(self) -> tuple[Any, ...]:
        """As the path of the file: another process maps the same memory."""
        if self.file is None:
            return TrainingIndex, (self.sequences, self.boxes, self.visible, self.key)
        return _open_again, (self.file, self.key)


def load_or_build(listing: Listing, folder: Path, name: str) -> TrainingIndex:
    """The index of `listing` from `folder`, or made now and kept there if that is possible.

    Raises:
        DataError: an annotation file is malformed.
    """
    stem = _stem(name, listing.base)
    file = folder / f"{stem}-{_short(f'{_FORMAT} {listing.key}'.encode())}.index"
    try:
        return _load(file, listing.key, check=True)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except DAMAGE as error:
        logger.warning("%s: damaged index of a training set (%s); it is made again", file, error)
    index = build_index(listing, name)
    try:
        _save(file, index)
        _remove_unused(folder, stem)
        return _load(file, listing.key)
    except OSError as error:
        logger.warning(
            f"{file}: the index of training set {name} cannot be kept ({error.strerror or error}); "
            "it is made again in every run, and every loader process has its own copy"
        )
        return index


def build_index(listing: Listing, name: str) -> TrainingIndex:
    """Read all annotation of `listing`; a progress bar shows when that takes long.

    Raises:
        DataError: an annotation file is malformed; the message names it.
    """
    bar = tqdm(
        listing.tasks, f"indexing {name}, once", file=sys.stderr, disable=None, delay=2, leave=False
    )
    records = [record for task in bar for record in task()]
    if not records:
        raise DataError(f"training set {name!r}: {listing.base} holds no usable annotation")
    lengths = np.array([len(record.boxes) for record in records])
    columns = {
        "name": np.array([os.fsencode(record.name) for record in records]),
        "folder": np.array([os.fsencode(record.folder) for record in records]),
        "pattern": np.array([os.fsencode(record.pattern) for record in records]),
        "first": np.array([record.first for record in records], dtype=np.int32),
        "start": np.cumsum(lengths) - lengths,
        "length": lengths.astype(np.int32),
        "visible": np.array([record.visible.sum() for record in records], dtype=np.int32),
    }
    sequences = np.empty(len(records), dtype=[(key, c.dtype) for key, c in columns.items()])
    for key, column in columns.items():
        sequences[key] = column
    boxes = np.concatenate([record.boxes for record in records])
    visible = np.concatenate([record.visible for record in records])
    return TrainingIndex(sequences, boxes, visible, listing.key)


def _stem(name: str, base: Path) -> str:
    word = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_.")[-60:]
    return f"{word}-{_short(os.fsencode(base))}"


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _remove_unused(folder: Path, stem: str) -> None:
    """Remove the indices of a set that nobody has opened for long, and no others.

    A younger one may be that of a training which runs, and which will open it again.
    """
    for file in folder.iterdir():
        if not re.fullmatch(rf"{re.escape(stem)}(-[0-9a-f]{{12}})?\.index", file.name):
            continue
        # Somebody else may have been quicker, and Windows keeps files that are open.
        with contextlib.suppress(OSError):
            if file.stat().st_atime < time.time() - _UNUSED_SECONDS:
                file.unlink()


def _save(file: Path, index: TrainingIndex) -> None:
    save_arrays(file, _FORMAT, index.key, (index.sequences, index.boxes, index.visible))


def _load(file: Path, key: str, *, check: bool = False) -> TrainingIndex:
    """Map the arrays of `file`; `check` reads it all and compares its checksum."""
    sequences, boxes, visible = map_arrays(file, _FORMAT, key, 3, check=check)
    # The time of its last use, which many systems do not keep by themselves. Files of somebody
    # else are left as they are.
    with contextlib.suppress(OSError):
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
    return TrainingIndex(sequences, boxes, visible, key, file)


def save_arrays(file: Path, kind: str, key: str, arrays: Iterable[np.ndarray]) -> None:
    """Write arrays to a file of the given kind (see the module), atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    with atomic_path(file) as temporary, open(temporary, "wb+") as stream:
        stream.seek(_HEADER)
        for array in arrays:
            npy.write_array(stream, array, version=(1, 0), allow_pickle=False)
        size = stream.tell()
        header = {"format": kind, "key": key, "size": size, "crc32": _checksum(stream)}
        stream.seek(0)
        stream.write(json.dumps(header).encode().ljust(_HEADER - 1) + b"\n")


def map_arrays(
    file: Path, kind: str, key: str, number: int, *, check: bool = False
) -> list[np.ndarray]:
    """The arrays of a file of `save_arrays`, as read-only maps.

    Raises:
        OSError: it cannot be read.
        ValueError: in words, what is wrong with it; `DAMAGE` has all that can be raised.
    """
    with open(file, "rb") as stream:
        header = json.loads(stream.read(_HEADER))
        if header["format"] != kind:
            raise ValueError(f"format {header['format']!r}")
        if header["key"] != key:
            raise ValueError("of other data")
        if os.fstat(stream.fileno()).st_size != header["size"]:
            raise ValueError("cut short")
        if check and _checksum(stream) != header["crc32"]:
            raise ValueError("wrong checksum")
        stream.seek(_HEADER)
        return [_map_array(stream, file) for _ in range(number)]


def _open_again(file: Path, key: str) -> TrainingIndex:
    try:
        return _load(file, key)
    except DAMAGE as error:
        raise DataError(f"{file}: cannot be read any more ({error}); start again") from None


def _map_array(stream: IO[bytes], file: Path) -> np.ndarray:
    """The array at the stream's position as a read-only map; the stream goes on behind it."""
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("unknown version of an array")
    shape, fortran, dtype = npy.read_array_header_1_0(stream)
    if fortran or dtype.hasobject:
        raise ValueError("unexpected kind of array")
    array = np.memmap(file, dtype, "r", stream.tell(), shape)
    stream.seek(array.nbytes, os.SEEK_CUR)
    return array


def _checksum(stream: IO[bytes]) -> int:
    stream.seek(_HEADER)
    checksum = 0
    while block := stream.read(_BLOCK):
        checksum = zlib.crc32(block, checksum)
    return checksum
