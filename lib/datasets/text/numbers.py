"""The quick way to read a plain table of numbers; anything that is not plain is left to others.

What fails here is not wrong yet: the careful reader in `boxes` decides, and says which line it is.
"""

import io

import numpy as np

# Letters of NaN, but none of infinity's: that is refused, with its line.
_CHARACTERS = b"0123456789+-.eEnNaA\r\n,\t "


def plain_table(text: str, columns: int, allow_nan: bool) -> np.ndarray | None:
    """The rows of a plain table as (N, columns) float64, or None if it is not plain.

    Example:
        >>> plain_table("1,2\\n3,4\\n", 2, allow_nan=False).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
        >>> plain_table("1,2\\n3,x\\n", 2, allow_nan=False) is None
        True
    """
    body = text.rstrip()
    if not (body and body.isascii()) or body.encode().translate(None, _CHARACTERS):
        return None
    try:
        table = np.loadtxt(
            io.StringIO(body), comments=None, delimiter="," if "," in body else None, ndmin=2
        )
    except ValueError:
        return None
    # NumPy skips blank lines.
    if table.shape != (body.count("\n") + 1, columns):
        return None
    sound = ~np.isinf(table) if allow_nan else np.isfinite(table)
    return table if sound.all() else None


def plain_digits(text: str, maximum: int) -> np.ndarray | None:
    """Whole numbers 0..maximum in one column, or in one row with commas, as (N,) int64, or None.

    Example:
        >>> plain_digits("0,1,0\\n", 1).tolist()
        [0, 1, 0]
    """
    table = plain_table(text, 1 + text.count(",") * ("\n" not in text.rstrip()), allow_nan=False)
    if table is None or not np.isin(table, range(maximum + 1)).all():
        return None
    return table.ravel().astype(np.int64)
