"""The quick way to read a plain table of numbers; anything that is not plain is left to others.

Files of a whole benchmark hold millions of numbers. Nearly all of them are written alike: the
same few characters, one separator between two values, nothing at the ends of a line. That much
can be checked for a whole file at once. What fails the check here is not wrong yet: the careful
reader in `annotations` decides, and says which line it is.
"""

import math

import numpy as np

_NEWLINE = ord("\n")
_SEPARATORS = b",\t "
# Letters of NaN, but none of infinity's: that is refused, with its line.
_CHARACTERS = b"0123456789+-.eEnNaA\n" + _SEPARATORS
_TO_SPACES = bytes.maketrans(_SEPARATORS + b"\n", b"    ")


def plain_table(text: str, columns: int, allow_nan: bool) -> np.ndarray | None:
    """The rows of a plain table as (N, columns) float64, or None if it is not plain.

    Example:
        >>> plain_table("1,2\\n3,4\\n", 2, allow_nan=False).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
        >>> plain_table("1,2\\n3,x\\n", 2, allow_nan=False) is None
        True
    """
    data = _plain_bytes(text)
    if not data or data.translate(None, _CHARACTERS):
        return None
    characters = np.frombuffer(data, dtype=np.uint8)
    newline = characters == _NEWLINE
    between = newline.copy()
    for separator in _SEPARATORS:
        between |= characters == separator
    # Two in a row or one at the start is an empty value or padding.
    if between[0] or (between[1:] & between[:-1]).any():
        return None
    row_ends = np.flatnonzero(newline)
    values_up_to = np.cumsum(between)[row_ends]
    if (np.diff(values_up_to, prepend=0) != columns).any():
        return None
    try:
        values = list(map(float, data.translate(_TO_SPACES).split()))
    except ValueError:
        return None
    table = np.array(values, dtype=np.float64).reshape(-1, columns)
    sound = not np.isinf(table).any() if allow_nan else math.isfinite(table.sum())
    return table if sound else None


def plain_digits(text: str, maximum: int) -> np.ndarray | None:
    """Single digits 0..maximum with one comma or line end between two, as (N,) int64, or None.

    Example:
        >>> plain_digits("0,1,0\\n", 1).tolist()
        [0, 1, 0]
    """
    data = _plain_bytes(text)
    if not data or maximum > 9:
        return None
    characters = np.frombuffer(data, dtype=np.uint8)
    digits, between = characters[::2], characters[1::2]
    if len(digits) != len(between) or not np.isin(between, [_NEWLINE, ord(",")]).all():
        return None
    flags = digits.astype(np.int64) - ord("0")
    return flags if ((flags >= 0) & (flags <= maximum)).all() else None


def _plain_bytes(text: str) -> bytes:
    """ASCII that ends in one line end, with the line ends of Unix; empty if it cannot be."""
    if not text.isascii():
        return b""
    data = text.encode("ascii").rstrip()
    return data.replace(b"\r\n", b"\n").replace(b", ", b",") + b"\n" if data else b""
