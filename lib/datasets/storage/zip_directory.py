"""The directory of a zip archive: which files it holds, by folder, and where their bytes are.

Python's own module makes an object of each file, which for the three and a half million files of
LaSOT in one archive takes gigabytes; here each is a row of numbers. The format is that of PKWARE's
APPNOTE.TXT, sections 4.3.12 to 4.3.16 and 4.5.3; archives that are split or packed in another way
are refused, not guessed at.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lib.utils.errors import DataError

# Of one file: where its local header is, its size packed and unpacked, and how it is packed.
ENTRY = np.dtype(
    [
        ("offset", "<i8"),
        ("packed", "<i8"),
        ("size", "<i8"),
        ("crc", "<u4"),
        ("method", "<u2"),
        ("flags", "<u2"),
    ]
)
_ROW = struct.Struct("<qqqIHH")
_FILE = struct.Struct("<4s6H3I5H2I")
_FILE_START = b"PK\x01\x02"
_END = struct.Struct("<4s4H2IH")
_END_START = b"PK\x05\x06"
_LOCATOR = struct.Struct("<4sIQI")
_LOCATOR_START = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_START = b"PK\x06\x06"
_LONGEST_COMMENT = (1 << 16) - 1
_UNKNOWN = 0xFFFFFFFF
_UTF8 = 1 << 11


@dataclass
class FolderFiles:
    """The files of one folder of an archive.

    Attributes:
        names: in the archive's order.
        rows: an `ENTRY` for each, as bytes.
    """

    names: list[str] = field(default_factory=list)
    rows: bytearray = field(default_factory=bytearray)


def list_archive(path: Path) -> dict[str, FolderFiles]:
    """The files of an archive by their folder in it; folders are separated by `/`.

    Raises:
        DataError: it is not a zip archive, is damaged, or cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            directory, shift = _read_directory(stream)
        return _list_files(directory, shift)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, struct.error) as error:
        raise DataError(
            f"{path}: cannot be read as a zip archive ({error}); download it again, or move it away"
        ) from None


def _read_directory(stream: BinaryIO) -> tuple[bytes, int]:
    """The bytes of the directory, and what to add to its positions.

    Raises:
        ValueError: in words, what is wrong with the archive.
    """
    length = stream.seek(0, 2)
    tail_at = max(0, length - _END.size - _LONGEST_COMMENT)
    stream.seek(tail_at)
    tail = stream.read()
    at = tail.rfind(_END_START)
    if at < 0 or at + _END.size > len(tail):
        raise ValueError("its directory is missing, as at the end of half a download")
    _, disk, _, _, _, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    if end >= _LOCATOR.size:
        stream.seek(end - _LOCATOR.size)
        start, _, end64, _ = _LOCATOR.unpack(stream.read(_LOCATOR.size))
        if start == _LOCATOR_START:
            end, size, offset = _read_end64(stream, end - _LOCATOR.size, end64)
    if disk not in (0, 0xFFFF):
        raise ValueError("it is one of several parts; join them first")
    # Where something was put before the archive, all positions are too small by its length.
    shift = end - size - offset
    if shift < 0:
        raise ValueError("its directory is longer than what is there")
    stream.seek(offset + shift)
    return stream.read(size), shift


def _read_end64(stream: BinaryIO, before: int, claimed: int) -> tuple[int, int, int]:
    """Where the end record of a large archive is, and size and offset of the directory."""
    # Its position is off where something was put before the archive; it usually lies just here.
    for at in (before - _END64.size, claimed):
        stream.seek(max(0, at))
        record = stream.read(_END64.size)
        if record.startswith(_END64_START) and len(record) == _END64.size:
            *_, size, offset = _END64.unpack(record)
            return at, size, offset
    raise ValueError("its directory is damaged")


def _list_files(directory: bytes, shift: int) -> dict[str, FolderFiles]:
    """The files of a directory by folder.

    Raises:
        ValueError: it is damaged.
    """
    folders: dict[bytes, FolderFiles] = {}
    at = 0
    while at < len(directory):
        values = _FILE.unpack_from(directory, at)
        start, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, offset = values
        name_length, extra_length, comment_length = lengths
        if start != _FILE_START:
            raise ValueError("its directory is damaged")
        after = at + _FILE.size + name_length
        name = directory[at + _FILE.size : after]
        if _UNKNOWN in (size, packed, offset):
            extra = directory[after : after + extra_length]
            size, packed, offset = _large_values(extra, size, packed, offset)
        at = after + extra_length + comment_length
        folder, _, leaf = name.replace(b"\\", b"/").rpartition(b"/")
        if leaf:
            files = folders.get(folder)
            if files is None:
                files = folders[folder] = FolderFiles()
            files.names.append(leaf.decode("utf-8" if flags & _UTF8 else "cp437"))
            files.rows += _ROW.pack(offset + shift, packed, size, crc, method, flags)
    if at != len(directory):
        raise ValueError("its directory is cut short")
    return {folder.decode("utf-8", errors="replace"): files for folder, files in folders.items()}


def _large_values(extra: bytes, *values: int) -> list[int]:
    """Sizes and position of a file, those that do not fit 32 bits from its extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            large = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            found = [next(large, None) if value == _UNKNOWN else value for value in values]
            if None not in found:
                return [value for value in found if value is not None]
        at += 4 + length
    raise ValueError("the size of a large file is missing from its directory")
