"""Regions as VOT writes them, in text and in binary, and how far two of them overlap.

A region is a rectangle, a mask, or a special one that only has a code. Overlap is counted in
pixels inside the image: a rectangle is rounded to pixels and filled first, so there is no other
measure for boxes than for masks.
Source: the file formats and the rules at the edges are those of vot-toolkit 0.7.4.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError

UNKNOWN, INITIALISATION, FAILURE = 0, 1, 2

# Left, top, right, bottom; the last two are pixels that belong to the region.
Bounds = tuple[int, int, int, int]

_BINARY_VERSION = 1
# Coordinates beyond are no pixels, and a mask of more is no mask of a picture.
_FARTHEST = 1 << 30
_MOST_PIXELS = 1 << 26
_POLYGON = "a polygon, which only the toolkit's own analysis (`vot analyze`) scores"
_TYPE_SPECIAL, _TYPE_RECTANGLE, _TYPE_POLYGON, _TYPE_MASK = range(4)


@dataclass(frozen=True, eq=False)
class Region:
    """A region of an image."""

    bounds: Bounds  # the pixels it spans, which may lie outside the image
    # (h, w) bool of a mask, from the left and top of `bounds` on; None if all of `bounds` is filled
    pixels: np.ndarray | None = None
    code: int | None = None  # of a special region, which covers nothing; None otherwise
    is_empty: bool = False  # whether the target is not there, for the count of failures

    def window(self, bounds: Bounds) -> tuple[Bounds, np.ndarray | None] | None:
        """The part inside `bounds`: its span and its pixels there; None if there is none."""
        if self.code is not None:
            return None
        left, top = max(self.bounds[0], bounds[0]), max(self.bounds[1], bounds[1])
        right, bottom = min(self.bounds[2], bounds[2]), min(self.bounds[3], bounds[3])
        if left > right or top > bottom:
            return None
        span = (left, top, right, bottom)
        if self.pixels is None:
            return span, None
        x, y = self.bounds[:2]
        return span, self.pixels[top - y : bottom - y + 1, left - x : right - x + 1]


def special(code: int) -> Region:
    """A region without pixels; for the rules at the edges it sits in the first pixel."""
    return Region((0, 0, 0, 0), code=code, is_empty=True)


def rectangle(x: float, y: float, w: float, h: float) -> Region:
    """A filled rectangle; its four numbers are rounded one by one, halves to even.

    Raises:
        ValueError: it is far larger than any picture.
    """
    # The toolkit keeps rectangles in float32; a decimal near .5 is rounded after that.
    if max(map(abs, (x, y, w, h))) > _FARTHEST:
        raise ValueError(f"{x:g}, {y:g}, {w:g}, {h:g} is no rectangle in a picture")
    left, top, width, height = (int(np.round(np.float32(value))) for value in (x, y, w, h))
    return Region((left, top, left + width - 1, top + height - 1), is_empty=not (w > 0 and h > 0))


def mask(x: int, y: int, pixels: np.ndarray, shrink: bool = False) -> Region:
    """A mask whose first pixel is at (x, y).

    Args:
        x: column of the first pixel.
        y: row of the first pixel.
        pixels: (h, w) bool.
        shrink: take a mask that is one pixel wide for an empty one, as the toolkit's reader of
            text does.
    """
    columns, rows = np.flatnonzero(pixels.any(axis=0)), np.flatnonzero(pixels.any(axis=1))
    if not columns.size or (shrink and columns[-1] == 0):
        x, y = (0, 0) if shrink else (x, y)
        return Region((x, y, x, y), np.zeros((1, 1), bool), is_empty=True)
    left, top, right, bottom = (int(v) for v in (columns[0], rows[0], columns[-1], rows[-1]))
    return Region(
        (x + left, y + top, x + right, y + bottom),
        pixels[top : bottom + 1, left : right + 1],
        # In the toolkit a mask that ends in its first column or row counts as absent.
        is_empty=(right == 0 or bottom == 0) if not shrink else (right == left or bottom == top),
    )


def overlap(first: Region, second: Region, width: int, height: int) -> float:
    """Intersection over union of two regions, in the pixels of an image.

    Two regions that together span only one row or column overlap by 1, and if that is so for
    the part inside the image by 0: the toolkit has it so, for empty regions.
    """
    pair = (first.bounds, second.bounds)
    left, top = (min(bounds[i] for bounds in pair) for i in (0, 1))
    right, bottom = (max(bounds[i] for bounds in pair) for i in (2, 3))
    if left >= right or top >= bottom:
        return 1.0
    image = (max(0, left), max(0, top), min(width - 1, right), min(height - 1, bottom))
    if image[0] >= image[2] or image[1] >= image[3]:
        return 0.0
    one, two = first.window(image), second.window(image)
    areas = _area(one) + _area(two)
    if not areas:
        return 0.0
    shared = _shared(first, second, image) if one and two else 0
    return shared / (areas - shared)


def _area(part: tuple[Bounds, np.ndarray | None] | None) -> int:
    if part is None:
        return 0
    (left, top, right, bottom), pixels = part
    if pixels is None:
        return (right - left + 1) * (bottom - top + 1)
    return int(np.count_nonzero(pixels))


def _shared(first: Region, second: Region, image: Bounds) -> int:
    """How many pixels inside the image belong to both."""
    one = first.window(image)
    both = second.window(one[0]) if one else None
    if both is None:
        return 0
    span, pixels = both
    _, others = first.window(span) or (span, None)
    if pixels is None or others is None:
        return _area((span, pixels if others is None else others))
    return int(np.count_nonzero(pixels & others))


def parse_region(text: str) -> Region:
    """A region from its text: `x,y,w,h`, a code, or `mX,Y,W,H,run,run,…`.

    Raises:
        ValueError: it is none of these; the message says why.
    """
    if text.startswith("m"):
        x, y, w, h, *runs = (int(value) for value in text[1:].split(","))
        return mask(x, y, _decode_runs(runs, w, h), shrink=True)
    values = [float(value) for value in text.split(",")]
    if len(values) == 1:
        if not 0 <= values[0] < _FARTHEST:
            raise ValueError(f"{text[:60]!r} is no code")
        return special(int(values[0]))
    if len(values) != 4:
        raise ValueError(f"{len(values)} numbers: {_POLYGON}")
    if not all(map(math.isfinite, values)):
        return special(UNKNOWN)
    return rectangle(*values)


def _decode_runs(runs: list[int] | tuple[int, ...], width: int, height: int) -> np.ndarray:
    """Run lengths, zeros first, row by row, as (height, width) bool."""
    if width * height > _MOST_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels")
    if min((width, height, *runs)) < 0 or sum(runs) > width * height:
        raise ValueError(f"the runs of a mask do not fit into {width} x {height} pixels")
    flat = np.zeros(width * height, bool)
    filled = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    flat[: filled.size] = filled
    return flat.reshape(height, width)


def read_regions(path: Path) -> list[Region]:
    """The regions of a `.txt` file (one per line) or of a `.bin` file.

    Raises:
        DataError: the file is missing, cut short or malformed; the message names the place.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: not found") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if path.suffix == ".bin":
        return _parse_binary(data, path)
    regions = []
    for number, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            regions.append(parse_region(line.strip()))
        except ValueError as error:
            raise DataError(f"{path}:{number}: not a region ({error!s:.160})") from error
    return regions


def _parse_binary(data: bytes, path: Path) -> list[Region]:
    regions: list[Region] = []
    try:
        version, count = struct.unpack_from("<hI", data)
        if version != _BINARY_VERSION:
            raise DataError(f"{path}: version {version} of the format, expected {_BINARY_VERSION}")
        position = struct.calcsize("<hI")
        for _ in range(count):
            region, position = _unpack(data, position)
            regions.append(region)
    except struct.error:
        raise DataError(f"{path}: cut short after {len(regions)} regions") from None
    except ValueError as error:
        raise DataError(f"{path}: region {len(regions)}: {error}") from error
    return regions


def _unpack(data: bytes, position: int) -> tuple[Region, int]:
    """The region that starts at a position, and the position after it."""

    def take(form: str) -> tuple:
        nonlocal position
        values = struct.unpack_from(form, data, position)
        position += struct.calcsize(form)
        return values

    (kind,) = take("<B")
    if kind == _TYPE_SPECIAL:
        return special(*take("<I")), position
    if kind == _TYPE_RECTANGLE:
        box = take("<4f")
        if not all(map(math.isfinite, box)):
            raise ValueError(f"the rectangle {box} is not finite")
        return rectangle(*box), position
    if kind == _TYPE_MASK:
        x, y, w, h, count = take("<hhHHH")
        return mask(x, y, _decode_runs(take(f"<{count}H"), w, h)), position
    if kind == _TYPE_POLYGON:
        raise ValueError(_POLYGON)
    raise ValueError(f"of type {kind}, which is unknown")
