"""The quick reader takes only what the careful one would read to the same numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.datasets.text.boxes import plain_digits, plain_table, read_boxes_text, read_flags
from lib.utils.errors import DataError

# Pieces that files are made of, good and bad; ends of lines more often, or hardly any line fits.
WORDS = ("1", "20", "-3", "4.5", "1e2", "nan", "inf", "1_0", "x", "1e999", "1-2", "+", "", "٣")
MARKS = (",", "\t", " ", ", ", "  ", ",,", ";", "\n", "\n", "\n", "\r\n", "\r", "\n\n", "\x0c")
PIECES = st.sampled_from((*WORDS, *MARKS))
ROW = st.sampled_from(["1,2,3,4\n", "5\t6\t7\t8\n", "9 10 11 12\r\n", "1.5, 2, 3, 4\n", "1,2,3,4"])
TEXTS = st.lists(st.one_of(ROW, ROW, PIECES), max_size=12).map("".join)


@given(text=TEXTS, allow_nan=st.booleans())
def test_never_differs_from_the_careful_reader(text: str, allow_nan: bool) -> None:
    quick = plain_table(text, 4, allow_nan)
    if quick is not None:
        np.testing.assert_array_equal(quick, careful(text, allow_nan))


def careful(text: str, allow_nan: bool) -> np.ndarray:
    """What the careful reader makes of the text: a blank between lines sends it there."""
    first, *others = text.splitlines()
    return read_boxes_text("\n".join([f" {first}", *others]), "x.txt", allow_nan=allow_nan)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1\t2\t3\t4\n5\t6\t7\t8\n", id="tabs, as this project writes"),
        pytest.param("1,2,3,4\n5.5,6,7,8", id="commas"),
        pytest.param("1 2 3 4\n5 6 7 8\n", id="spaces"),
        pytest.param("1, 2, 3, 4\r\n5, 6, 7, 8\r\n", id="comma and space, Windows"),
        pytest.param("1,2,3,4\n5,6,7,8\n\n", id="blank lines at the end"),
    ],
)
def test_takes_what_is_common(text: str) -> None:
    table = plain_table(text, 4, allow_nan=False)
    assert table is not None and table.dtype == np.float64
    np.testing.assert_array_equal(table[0], [1, 2, 3, 4])
    assert len(table) == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("1,2,3,4,\n", id="trailing separator"),
        pytest.param(",1,2,3\n", id="leading separator"),
        pytest.param("1,2,,4\n", id="empty value"),
        pytest.param("1,2,3\n4,5,6,7,8\n", id="eight values, but not four in each line"),
        pytest.param("1,2,3,4\n\n5,6,7,8\n", id="blank line"),
        pytest.param("1,2,3,nan\n", id="NaN"),
        pytest.param("1,2,3,1e999\n", id="overflow"),
        pytest.param("1,2,3,4-5\n", id="no number"),
    ],
)
def test_leaves_the_rest(text: str) -> None:
    assert plain_table(text, 4, allow_nan=False) is None


def test_nan_where_it_is_allowed() -> None:
    table = plain_table("NaN,NaN,NaN,NaN\n1,2,3,4\n", 4, allow_nan=True)
    assert table is not None and np.isnan(table[0]).all() and table[1, 3] == 4
    assert plain_table("nan,2,3,1e999\n", 4, allow_nan=True) is None


@given(text=st.text(alphabet="0123 ,\n\r-x.", max_size=20), maximum=st.sampled_from([1, 8]))
def test_flags_never_differ_either(text: str, maximum: int, tmp_path_factory) -> None:
    quick = plain_digits(text, maximum)
    if quick is None:
        return
    path = tmp_path_factory.mktemp("flags") / "x.label"
    # A blank in front sends it to the careful reader.
    path.write_bytes(b" " + text.encode())
    np.testing.assert_array_equal(read_flags(path, maximum=maximum), quick)


@pytest.mark.parametrize("text", ["2\n", "0,,1", "0 1", "0.5", "-1", "", "x"])
def test_flags_left_to_the_careful_reader(text: str) -> None:
    assert plain_digits(text, 1) is None


def test_errors_still_name_the_line(tmp_path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("1,2,3,4\n" * 5 + "1,2,3\n")
    with pytest.raises(DataError, match=r"x\.txt:6: 3 values"):
        read_boxes_text(path.read_text(), str(path))
