"""One reader for every text file of boxes or flags, ground truth and results alike.

Values are separated by tabs, commas or spaces, also mixed; a trailing delimiter and blank lines
at the end are accepted. Everything else is refused, naming file and line: a number read into
the wrong column would only show up as a wrong score much later.
"""

import codecs
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.utils.errors import DataError

_LINE_END = re.compile(r"\r\n|\r|\n")
_SEPARATOR = re.compile(r"\s*,\s*|\s+")
# float() alone would also take '1_000', 'infinity' and the digits of other scripts.
_NUMBER_CHARACTERS = re.compile(r"[-+.0-9eEnNaA]+")
_BOX_COLUMNS = (4,)
_NAN_HINT = "a box is four finite numbers"
# `40,5 30,5 24,0 20,0`: numbers with decimal commas, or the corners of a polygon; nobody can tell.
_DECIMAL_COMMAS = re.compile(r"\s*[-+]?\d+,\d+(?:[\s;]+[-+]?\d+,\d+){3,}\s*", re.ASCII)
_MOT_COLUMNS = (9, 10)
# In this order: the mark of UTF-16 begins that of UTF-32.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TextFile(Protocol):
    """A path, or a file in an archive; `str()` names it in messages."""

    def read_bytes(self) -> bytes: ...


def read_boxes(
    path: TextFile | str, *, allow_nan: bool = False, nan_hint: str = _NAN_HINT
) -> np.ndarray:
    """Boxes of a text file as (N, 4) float64, usually x, y, w, h in pixels; one line gives (1, 4).

    Raises:
        DataError: the file is missing, empty or not text, or a line is not four finite numbers.
    """
    return read_boxes_text(read_text(path), str(path), allow_nan=allow_nan, nan_hint=nan_hint)


def read_boxes_text(
    text: str,
    name: str,
    *,
    allow_nan: bool = False,
    nan_hint: str = _NAN_HINT,
) -> np.ndarray:
    """`read_boxes` on a string; `name` stands for the file in messages."""
    boxes = plain_table(text, _BOX_COLUMNS[0], allow_nan)
    if boxes is None:
        rows = _rows(text, name, _BOX_COLUMNS, None if allow_nan else nan_hint)
        boxes = np.array(rows, dtype=np.float64)
    return boxes


def read_regions(path: TextFile | str) -> np.ndarray:
    """Rectangles (4 numbers) or 4-corner polygons (8 numbers, x and y in turn) as (N, 4) float64.

    A polygon becomes its axis-aligned bounding box (x, y, w, h); NaN marks an absent target. This
    is the ground truth of VOT workspaces.

    Raises:
        DataError: as `read_boxes`; also for masks, which hold no box of their own.
    """
    text = read_text(path)
    if text.lstrip().startswith("m"):
        raise DataError(
            f"{path}:1: this is a mask, not a rectangle or a 4-corner polygon; "
            "sequences with mask annotation are run through the VOT toolkit"
        )
    rows = _rows(text, str(path), (4, 8), None)
    return np.array([_bounding_box(row) for row in rows], dtype=np.float64)


def read_flags(
    path: TextFile | str, *, expected_rows: int | None = None, maximum: int = 1
) -> np.ndarray:
    """Whole numbers 0..maximum, one per frame, as (N,) int64.

    LaSOT keeps them in one comma separated line, GOT-10k has one per line; both are read.

    Raises:
        DataError: the file is missing or empty, a value is not such a number, or there are not
            `expected_rows` of them.
    """
    text = read_text(path)
    flags = plain_digits(text, maximum)
    if flags is None:
        values: list[int] = []
        for number, tokens in split_lines(text, str(path)):
            for token in tokens:
                value = _numbers([token])
                if value is None or value[0] not in range(maximum + 1):
                    raise DataError(
                        f"{path}:{number}: flag {token!r} is not a whole number from 0 to {maximum}"
                    )
                values.append(int(value[0]))
        flags = np.array(values, dtype=np.int64)
    if expected_rows is not None and len(flags) != expected_rows:
        raise DataError(f"{path}: {len(flags)} flags, expected {expected_rows} (one per frame)")
    return flags


def read_text(path: TextFile | str) -> str:
    """A text file: UTF-8, or what its byte order mark says (UTF-8, UTF-16 or UTF-32).

    Raises:
        DataError: the file is missing, cannot be read, or is not text.
    """
    file = Path(path) if isinstance(path, str) else path
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: file not found") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    encodings = (name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark))
    encoding = next(encodings, "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a text file (byte {error.start} is not {error.encoding.upper()}); "
            "expected lines of numbers separated by tabs, commas or spaces"
        ) from None
    if text[1:2] == "\0" or text[:1] == "\0":
        raise DataError(
            f"{path}: its second or first byte is zero, as in UTF-16 or UTF-32 without a byte "
            "order mark; save it as UTF-8"
        )
    return text


def split_lines(text: str, name: str) -> list[tuple[int, list[str]]]:
    """(line number, values) of every line; only the end of the file may hold blank lines.

    Raises:
        DataError: there is no line, or a blank one; `name` stands for the file.
    """
    lines = _LINE_END.split(text.rstrip())
    if lines == [""]:
        raise DataError(f"{name}: the file is empty")
    numbered = []
    for number, line in enumerate(lines, start=1):
        content = line.strip().rstrip(", \t")
        if not content:
            raise DataError(f"{name}:{number}: blank line; every frame has its own line")
        numbered.append((number, _SEPARATOR.split(content)))
    return numbered


def _rows(text: str, name: str, columns: Sequence[int], nan_hint: str | None) -> list[list[float]]:
    """The numbers of every line; `nan_hint` None accepts NaN."""
    rows = []
    lines = split_lines(text, name)
    _refuse_decimal_commas(text, name)
    for number, tokens in lines:
        row = _numbers(tokens)
        if row is None:
            wrong = next(token for token in tokens if _numbers([token]) is None)
            shown = repr(wrong[:60]) if wrong else "an empty value"
            raise DataError(
                f"{name}:{number}: {shown} is not a finite number; "
                "values are separated by tabs, commas or spaces"
            )
        if len(row) not in columns:
            wanted = " or ".join(map(str, columns))
            raise DataError(
                f"{name}:{number}: {len(row)} values in {','.join(tokens)[:60]!r}, "
                f"expected {wanted}{_other_table([tokens for _, tokens in lines])}"
            )
        if nan_hint is not None and any(map(math.isnan, row)):
            raise DataError(f"{name}:{number}: NaN in {','.join(tokens)!r}; {nan_hint}")
        rows.append(row)
    return rows


def _refuse_decimal_commas(text: str, name: str) -> None:
    """Refuse lines such as `40,5 30,5 24,0 20,0`, of which eight values would be read."""
    for number, line in enumerate(_LINE_END.split(text.rstrip()), start=1):
        if _DECIMAL_COMMAS.fullmatch(line):
            raise DataError(
                f"{name}:{number}: commas and blanks in turn in {line.strip()[:60]!r}: are these "
                "decimal commas, or the corners of a polygon? Write decimal points, and the same "
                "separator between all values"
            )


def _other_table(lines: Sequence[Sequence[str]]) -> str:
    """What a table with too many columns probably is, to end a message; empty if unknown."""
    rows = [row for row in map(_numbers, lines) if row is not None]
    widths = set(map(len, rows))
    if len(rows) < len(lines) or len(widths) > 1:
        return ""
    (width,) = widths
    table = np.array(rows)
    if width in _MOT_COLUMNS and (table[:, :2] == table[:, :2].round()).all():
        ids = len(np.unique(table[:, 1]))
        whose = "" if ids == 1 else f" of the rows of one id ({ids} are in the file)"
        return (
            "; this looks like a file of MOT or VisDrone (frame, id, x, y, w, h, …), and a tracker "
            f"of one object needs four columns: keep columns 3 to 6{whose}"
        )
    if width == 5 and ((table[:, 1:] >= 0) & (table[:, 1:] <= 1)).all():
        return (
            "; this looks like a detector's label file (class, cx, cy, w, h as shares of the "
            "picture); boxes are x, y, w, h in pixels"
        )
    if width == 8:
        return (
            "; polygons of four corners are read in the layout of VOT (color/ and groundtruth.txt)"
        )
    return ""


def _numbers(tokens: Sequence[str]) -> list[float] | None:
    """The numbers that `tokens` spell, NaN included; None if one is anything else or infinite."""
    if not _NUMBER_CHARACTERS.fullmatch("".join(tokens)):
        return None
    try:
        values = [float(token) for token in tokens]
    except ValueError:
        return None
    return None if any(map(math.isinf, values)) else values


def _bounding_box(row: list[float]) -> list[float]:
    if len(row) == 4:
        return row
    xs, ys = row[0::2], row[1::2]
    # min() and max() of a list with NaN depend on its order; an absent row stays absent.
    if any(map(math.isnan, row)):
        return [math.nan] * 4
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


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
