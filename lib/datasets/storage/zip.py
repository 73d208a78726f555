"""Zip archives read where they lie: nothing is unpacked, and nothing is written.

A frame or a text file of an archive is found once in a process, by the archive's own directory, and
read later by its position. What travels to worker processes is small: a sequence has the positions
of its own frames, and a data set has none; a worker reads the directory when it first needs it.
"""

import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from lib.datasets.sequence import EncodedFrames
from lib.datasets.text.ground_truth import is_image
from lib.utils.errors import DataError

# The local header before the data of a file in an archive.
_HEADER = 30
_HEADER_START = b"PK\x03\x04"
_ENCRYPTED = 1
# Larger than any frame or annotation; an archive that claims more is not read into memory.
_LARGEST = 1 << 28
# Where a file's local header is, its size packed and unpacked, and how it is packed: 32 bytes,
# where zipfile's own objects take some 600.
ENTRY = np.dtype(
    [
        ("offset", "<i8"), ("packed", "<i8"), ("size", "<i8"), ("crc", "<u4"), ("method", "<u2"),
        ("flags", "<u2"),
    ]
)  # fmt: skip
# Signed: sizes beyond are no sizes, and end as damage does.
_ROW = struct.Struct("<qqqIHH")


@dataclass
class FolderFiles:
    """The files of one folder of an archive."""

    names: list[str] = field(default_factory=list)
    rows: bytearray = field(default_factory=bytearray)


def list_archive(path: Path) -> dict[str, FolderFiles]:
    """The files of an archive by their folder in it; folders are separated by `/`.

    Raises:
        DataError: it is not a zip archive, is damaged, or cannot be read.
    """
    folders: dict[str, FolderFiles] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                folder, _, leaf = info.filename.replace("\\", "/").rpartition("/")
                if leaf:
                    files = folders.setdefault(folder, FolderFiles())
                    files.names.append(leaf)
                    files.rows += _ROW.pack(
                        info.header_offset, info.compress_size, info.file_size, info.CRC,
                        info.compress_type, info.flag_bits,
                    )  # fmt: skip
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    # ValueError is a name that is no text, struct.error a place before the file.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise DataError(
            f"{path}: cannot be read as a zip archive ({error}); download it again, or move it away"
        ) from None
    return folders


@dataclass(frozen=True)
class Wanted:
    """Files that a data set is made of, by their path in it; `a/*` stands for the images in `a`."""

    known: frozenset[str] = frozenset()  # such paths, where the sequences are known beforehand
    pattern: str = ""  # a regular expression for them, where they are not
    part: str = ""  # a word that a folder above them, or the archive, has to have in its name

    @cached_property
    def folders(self) -> frozenset[str]:
        return frozenset(path.rpartition("/")[0] for path in self.known)

    @property
    def accepts(self) -> Callable[[str], object]:
        return self.known.__contains__ if self.known else re.compile(self.pattern).fullmatch


@dataclass(frozen=True)
class ZipMember:
    """A file in an archive: `str()` names it, like a path below the archive."""

    archive: Path
    inside: str
    entry: tuple[int, int, int, int, int, int]

    def __str__(self) -> str:
        return os.path.join(self.archive, self.inside)

    def read_bytes(self) -> bytes:
        """Its content.

        Raises:
            DataError: it is damaged, encrypted, or packed in a way that cannot be read.
            OSError: the archive cannot be opened.
        """
        offset, packed, size, crc, method, flags = self.entry
        if flags & _ENCRYPTED:
            raise DataError(f"{self}: encrypted; unpack {self.archive} with its password")
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{self}: packed by method {method}, and only stored or deflated files can be read "
                f"in place; unpack {self.archive}"
            )
        if max(size, packed) > _LARGEST:
            raise DataError(f"{self}: {max(size, packed)} bytes are no frame and no annotation")
        data = self._packed(offset, packed) if offset >= 0 else b""
        if method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
            except zlib.error:
                data = b""
        if offset < 0 or len(data) != size or zlib.crc32(data) != crc:
            raise DataError(f"{self}: damaged in its archive; download {self.archive} again")
        return data

    def _packed(self, offset: int, packed: int) -> bytes:
        with open(self.archive, "rb") as stream:
            stream.seek(offset)
            header = stream.read(_HEADER)
            if len(header) < _HEADER or not header.startswith(_HEADER_START):
                return b""
            name_and_extra = int.from_bytes(header[26:28], "little") + int.from_bytes(
                header[28:30], "little"
            )
            stream.seek(name_and_extra, os.SEEK_CUR)
            return stream.read(packed)


@dataclass(frozen=True, eq=False)
class ZipImages(EncodedFrames):
    """Images of one folder of an archive, in order; see `FrameSource`. Small when pickled."""

    archive: Path
    inside: str
    names: tuple[str, ...]
    entries: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        try:
            return self._member(index).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.describe(index)}: cannot be read ({error.strerror or error})"
            ) from None

    def describe(self, index: int) -> str:
        return str(self._member(index))

    def _member(self, index: int) -> ZipMember:
        inside = _joined(self.inside, self.names[index])
        return ZipMember(self.archive, inside, self.entries[index].item())


class ZipFolder:
    """The files of one folder of an archive."""

    def __init__(self, archive: Path, inside: str, files: FolderFiles) -> None:
        rows = {name: row for row, name in enumerate(files.names)}
        entries = np.frombuffer(bytes(files.rows), ENTRY)
        self.archive = archive
        self.inside = inside
        self.names = tuple(rows)
        self._entries = entries if len(rows) == len(entries) else entries[list(rows.values())]

    def member(self, name: str) -> ZipMember | None:
        if name not in self.names:
            return None
        entry = self._entries[self.names.index(name)].item()
        return ZipMember(self.archive, _joined(self.inside, name), entry)

    def images(self, names: Sequence[str]) -> ZipImages:
        rows = {name: row for row, name in enumerate(self.names)}
        entries = self._entries[[rows[name] for name in names]]
        return ZipImages(self.archive, self.inside, tuple(names), entries)


def read_archive(path: Path, above: tuple[str, ...], wanted: Wanted) -> dict[str, ZipFolder]:
    """The folders of an archive by their path in the data set.

    People keep an archive for a whole data set, for each class or for each sequence, with or
    without folders around what it holds. Where its files belong follows from what the data set
    is made of: `airplane-1/groundtruth.txt` in `airplane.zip` is `airplane/airplane-1/
    groundtruth.txt`, because LaSOT has such a file. An archive of something else gives nothing.

    Raises:
        DataError: it is not a zip archive, or is damaged.
    """
    folders = {
        inside: files
        for inside, files in list_archive(path).items()
        # Paths that lead out of the archive belong to no data set.
        if not {"..", "", "__MACOSX"} & set(_parts(inside))
    }
    names = {inside: files.names for inside, files in folders.items()}
    place = _place(names, above, path.stem, wanted)
    if place is None:
        return {}
    added, dropped = place
    found = {}
    for inside, files in folders.items():
        parts = _parts(inside)
        if parts[: len(dropped)] == dropped:
            where = "/".join((*added, *parts[len(dropped) :]))
            # Of a whole data set in one archive, the other parts are not kept in memory.
            if not wanted.known or where in wanted.folders:
                found[where] = ZipFolder(path, inside, files)
    return found


def _place(
    folders: Mapping[str, Sequence[str]], above: tuple[str, ...], stem: str, wanted: Wanted
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Which folders to put before the paths of an archive, and which to take off them.

    Tried as if unpacked where it lies, and in a folder of the archive's name; the place that makes
    most files those of the data set is the right one. None if there is no such place.
    """
    accepts = wanted.accepts
    votes: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
    for inside, names in folders.items():
        leaves = {"*" if is_image(name) else name for name in names}
        parts = _parts(inside)
        for start in (above, (*above, stem)):
            full = (*start, *parts)
            for cut in range(len(full) + 1):
                if wanted.part and not _mentions(wanted.part, (stem, *full[:cut])):
                    continue
                found = sum(bool(accepts("/".join((*full[cut:], leaf)))) for leaf in leaves)
                if found:
                    votes[start[cut:], parts[: max(0, cut - len(start))]] += found
    return max(votes, key=votes.__getitem__) if votes else None


def _mentions(part: str, words: Sequence[str]) -> bool:
    return any(part.lower() in word.lower() for word in words)


def _parts(folder: str) -> tuple[str, ...]:
    return tuple(folder.split("/")) if folder else ()


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
