"""Pages of a TIFF file: where each begins, and the file as if it had only that one.

The format is that of Adobe's TIFF 6.0, section 2, and of BigTIFF. OpenCV finds page n by reading
all pages before it; here the position of each is known, so that any page is read at once.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from lib.utils.errors import DataError

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUBFILE_TYPE = 254
_REDUCED = 1  # a thumbnail of another page
_MOST_PAGES = 1 << 20


def is_tiff(data: bytes) -> bool:
    """Whether these are the first bytes of a TIFF file."""
    return data[:4] in _STARTS


def page_offsets(data: np.ndarray, name: str) -> tuple[int, ...]:
    """Where the directory of each page lies in a TIFF file; thumbnails are left out.

    Raises:
        DataError: the file is cut short or damaged.
    """
    offsets: list[int] = []
    seen: set[int] = set()
    for offset, reduced in _directories(data, name):
        if offset in seen or len(seen) == _MOST_PAGES:
            raise DataError(f"{name}: the TIFF file is damaged (its pages go round in a circle)")
        seen.add(offset)
        if not reduced:
            offsets.append(offset)
    return tuple(offsets)


def single_page(data: np.ndarray, offset: int) -> np.ndarray:
    """The file with the page at `offset` as its first one; `data` is changed, no more than that."""
    order, big = _form(data)
    at, size = (8, 8) if big else (4, 4)
    data[at : at + size] = np.frombuffer(offset.to_bytes(size, order), np.uint8)
    return data


def _form(data: np.ndarray) -> tuple[Literal["little", "big"], bool]:
    start = data[:4].tobytes()
    return ("little" if start.startswith(b"II") else "big"), b"+" in start


def _directories(data: np.ndarray, name: str) -> Iterator[tuple[int, bool]]:
    """Position of each page's directory, and whether it is a thumbnail."""
    order, big = _form(data)
    pointer, counter, entry = (8, 8, 20) if big else (4, 2, 12)

    def number(at: int, size: int) -> int:
        if at + size > len(data):
            raise DataError(
                f"{name}: the TIFF file is cut short ({len(data)} bytes); copy it again"
            )
        return int.from_bytes(data[at : at + size].tobytes(), order)

    offset = number(8 if big else 4, pointer)
    while offset:
        count = number(offset, counter)
        first = offset + counter
        after = first + count * entry
        following = number(after, pointer)
        kind = 0
        for at in range(first, after, entry):
            if number(at, 2) == _SUBFILE_TYPE:
                kind = number(at + 4 + pointer, 4)
        yield offset, bool(kind & _REDUCED)
        offset = following
