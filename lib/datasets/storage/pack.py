"""Packed training sets: frames in a few large zip files, boxes and places in one index.

    <pack>/pack.json         what it is, written last: without it the pack is not finished
    <pack>/pack.index        boxes as in `training_index`, and where every frame lies
    <pack>/shard-00000.zip   frames, stored as they are: any unpacker reads them

A training set of millions of small files is slow to copy, to list and to open on network disks.
Here a frame is one read at a known place of a file that is open already.
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.sequence import EncodedFrames
from lib.datasets.training.index import DAMAGE, TrainingIndex, map_arrays
from lib.datasets.training.set import IndexedSet, StoredFrames
from lib.utils.advice import advice
from lib.utils.errors import DataError
from lib.utils.json_text import parse_json

FORMAT = "seqtrack-pack-1"
ABOUT, INDEX = "pack.json", "pack.index"
# In the place of `ABOUT` until all shards are there.
PLAN = "plan.json"
# Where a frame lies; size 0: it is not there.
# Larger than any frame.
_LARGEST = 1 << 28
PLACE = np.dtype([("shard", "<u4"), ("size", "<u4"), ("offset", "<u8"), ("crc", "<u4")])


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.zip"


def is_pack(folder: Path) -> bool:
    """Whether a pack that was finished is in `folder`; its shards are not looked at."""
    return (folder / ABOUT).is_file()


def is_begun(folder: Path) -> bool:
    """Whether any part of a pack is in `folder`."""
    named = any((folder / name).is_file() for name in (ABOUT, INDEX, PLAN))
    return named or any(folder.glob("shard-*.zip"))


@dataclass
class Shards:
    """The files of a pack, each opened once per process, when first read from."""

    folder: Path
    _open: dict[int, int] = field(default_factory=dict, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens its own."""
        return Shards, (self.folder,)

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def path(self, number: int) -> Path:
        return self.folder / shard_name(number)

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Bytes of a shard, fewer at its end. Raises DataError: it cannot be read."""
        if size > _LARGEST or offset >= 1 << 63:
            raise DataError(
                f"{self.path(number)}: {size} bytes at {offset} are no frame; the index is damaged"
            )
        try:
            if number not in self._open:
                flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
                self._open[number] = os.open(self.path(number), flags)
            descriptor = self._open[number]
            if hasattr(os, "pread"):
                return os.pread(descriptor, size, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, size)
        except FileNotFoundError:
            raise DataError(
                f"{self.path(number)}: missing; pack again, which makes it and keeps the others"
            ) from None
        except OSError as error:
            raise DataError(
                f"{self.path(number)}: cannot be read ({error.strerror or error})"
            ) from None


@dataclass(frozen=True, eq=False)
class PackedFrames(EncodedFrames):
    """Frames of one sequence in a pack; see `FrameSource`."""

    shards: Shards
    name: str
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def read_bytes(self, index: int) -> bytes:
        """The image file of frame `index`. Raises DataError: it is not in the pack, or damaged."""
        shard, size, offset, crc = self.places[index].item()
        if not size:
            raise DataError(f"{self.describe(index)}: not in the pack (missing when it was made)")
        data = self.shards.read(shard, offset, size)
        if len(data) != size or zlib.crc32(data) != crc:
            raise DataError(
                f"{self.describe(index)}: damaged in its shard; remove the shard and pack again"
            )
        return data

    def describe(self, index: int) -> str:
        return f"{self.shards.path(int(self.places[index]['shard']))}: {self.name} frame {index}"


@dataclass(eq=False)
class PackedSet(IndexedSet):
    """A training set in a pack, whose folder is `base`. See `IndexedSet`."""

    places: np.ndarray  # `(M,)` of `PLACE`, a row for each box
    shards: Shards  # the pack's files

    def __reduce__(self) -> tuple[Any, ...]:
        """As the pack's folder: another process maps the same memory."""
        return open_pack, (self.base, self.name)

    def describe(self, index: int) -> str:
        return f"{self.name} {os.fsdecode(self.index.sequences[index]['name'])} ({self.base})"

    def _frames(self, entry: np.void, length: int) -> StoredFrames:
        start = int(entry["start"])
        # A copy: a view would pickle with the whole index behind it.
        places = np.array(self.places[start : start + length])
        return PackedFrames(self.shards, os.fsdecode(entry["name"]), places)


def read_about(folder: Path) -> dict[str, Any]:
    """What a pack says of itself.

    Raises:
        DataError: it is not a pack, is not finished, or is of another version.
    """
    path = folder / ABOUT
    try:
        about = parse_json(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r} instead of {FORMAT!r}")
    except FileNotFoundError:
        raise DataError(
            f"{folder}: no finished pack ({ABOUT} is missing); {advice('data', 'pack', 'NAME')} "
            "makes it, and goes on where it stopped"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a pack's description ({error}); pack again") from None
    return about


def open_pack(folder: Path, name: str, *, check: bool = False) -> PackedSet:
    """The training set in a pack. Raises DataError: it is damaged or not finished."""
    about = read_about(folder)
    file = folder / INDEX
    try:
        key, video = str(about["key"]), bool(about["is_video"])
        sequences, boxes, visible, places = map_arrays(file, FORMAT, key, 4, check=check)
        index = TrainingIndex(sequences, boxes, visible, key)
        if places.dtype != PLACE or places.shape != visible.shape:
            raise ValueError("its places are of another kind")
    except DAMAGE as error:
        problem = "damaged" if check else "cannot be read"
        raise DataError(
            f"{file}: {problem} ({error}); remove it and pack again: finished shards stay"
        ) from None
    return PackedSet(name, video, folder, index, places, Shards(folder))


def check_pack(folder: Path, done: Callable[[int], object]) -> list[str]:
    """Compare every frame of a pack, and its index, with their checksums.

    What else is in a shard, such as names and its directory, is not looked at.

    Returns:
        what is wrong, a line each, by shard; none if nothing is.

    Raises:
        DataError: there is no finished pack, or its index cannot be read.
    """
    packed = open_pack(folder, "", check=True)
    wrong: Counter[str] = Counter()
    for row in np.argsort(packed.places, order=("shard", "offset")):
        place = packed.places[row]
        done(1)
        if place["size"] and (why := _damage(packed.shards, place)):
            wrong[why] += 1
    return [f"{why}: {number} frames" for why, number in wrong.items()]


def _damage(shards: Shards, place: np.void) -> str:
    shard, size, offset, crc = place.item()
    try:
        data = shards.read(shard, offset, size)
    except DataError as error:
        return str(error)
    if len(data) != size:
        return f"{shards.path(shard)}: cut short"
    return "" if zlib.crc32(data) == crc else f"{shards.path(shard)}: damaged"
