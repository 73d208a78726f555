"""The one text reader: what it takes, what it refuses, and what it says."""

import math
from pathlib import Path

import numpy as np
import pytest

from lib.datasets.text.boxes import read_boxes, read_boxes_text, read_flags, read_regions
from lib.utils.errors import DataError

TWO_ROWS = np.array([[1, 2, 3, 4], [5.5, 6, 7, 8]])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1\t2\t3\t4\n5.5\t6\t7\t8\n", id="tabs"),
        pytest.param("1,2,3,4\n5.5,6,7,8\n", id="commas"),
        pytest.param("1 2 3 4\n5.5 6 7 8\n", id="spaces"),
        pytest.param("1, 2,\t3 4\n5.5\t6, 7 ,8", id="mixed, no final newline"),
        pytest.param("1 \t2 \t3\t4\n5.5\t6\t7\t8\n", id="padded tabs"),
        pytest.param("1,2,3,4,\n5.5,6,7,8,\n", id="trailing delimiter"),
        pytest.param("1\t2\t3\t4\t\n5.5\t6\t7\t8\t\n", id="trailing tab"),
        pytest.param("  1 2 3 4\n  5.5 6 7 8\n", id="indented"),
        pytest.param("1,2,3,4\n5.5,6,7,8\n\n \n\n", id="blank lines at the end"),
        pytest.param("1,2,3,4\r\n5.5,6,7,8\r\n", id="windows line ends"),
        pytest.param("1,2,3,4\r5.5,6,7,8", id="old mac line ends"),
        pytest.param("1.0e+00,2E0,+3,4.\n.55e1,6,7,8\n", id="all spellings of numbers"),
    ],
)
def test_accepts(text: str) -> None:
    boxes = read_boxes_text(text, "x.txt")
    assert boxes.dtype == np.float64
    np.testing.assert_array_equal(boxes, TWO_ROWS)


def test_one_line_stays_a_table() -> None:
    assert read_boxes_text("1,2,3,4\n", "x.txt").shape == (1, 4)


def test_negative_and_zero_sizes_are_kept() -> None:
    np.testing.assert_array_equal(read_boxes_text("-1,-2,0,-4", "x"), [[-1, -2, 0, -4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "x.txt: the file is empty", id="nothing"),
        pytest.param(" \n\n", "x.txt: the file is empty", id="only blanks"),
        pytest.param("1;2;3;4\n", "x.txt:1: '1;2;3;4' is not", id="semicolons"),
        pytest.param("1,2,3,4\na,b,c,d\n", "x.txt:2: 'a' is not", id="words"),
        pytest.param("x,y,w,h\n1,2,3,4\n", "x.txt:1: 'x' is not", id="header"),
        pytest.param("1,2,3,4\n1,2,3\n", "x.txt:2: 3 values", id="short row"),
        pytest.param("1,2,3,4,5\n", "x.txt:1: 5 values", id="long row"),
        pytest.param("1,,2,3,4\n", "x.txt:1: an empty value", id="doubled comma shifts no column"),
        pytest.param(",1,2,3,4\n", "x.txt:1: an empty value", id="leading comma"),
        pytest.param("1,2,3,4\n\n5,6,7,8\n", "x.txt:2: blank line", id="blank inside"),
        pytest.param("\n5,6,7,8\n", "x.txt:1: blank line", id="blank first"),
        pytest.param("1,2,3,inf\n", "x.txt:1: 'inf' is not", id="infinity"),
        pytest.param("1,2,3,1e999\n", "x.txt:1: '1e999' is not", id="overflow to infinity"),
        pytest.param("1_0,2,3,4\n", "x.txt:1: '1_0' is not", id="underscore, which float() takes"),
        pytest.param("٣,2,3,4\n", "x.txt:1: '٣' is not", id="digit of another script"),
        pytest.param("1,2,3,0x4\n", "x.txt:1: '0x4' is not", id="hexadecimal"),
        pytest.param("1,2,3,4\n\x00\x00\x00\n", "x.txt:2: ", id="zeros of a crashed write"),
        pytest.param("1,2,3,4\nNaN,NaN,NaN,NaN\n", "x.txt:2: NaN in", id="absent by NaN"),
        pytest.param("1,-nan,3,4\n", "x.txt:1: NaN in '1,-nan,3,4'", id="one NaN"),
    ],
)
def test_refuses_naming_the_line(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_boxes_text(text, "x.txt")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_long_garbage_is_shortened() -> None:
    with pytest.raises(DataError) as caught:
        read_boxes_text("z" * 10_000, "x.txt")
    assert len(str(caught.value)) < 200


def test_nan_where_it_is_allowed() -> None:
    boxes = read_boxes_text("NaN,nan,NAN,-NaN\n1,2,3,4\n", "x.txt", allow_nan=True)
    assert np.isnan(boxes[0]).all()
    np.testing.assert_array_equal(boxes[1], [1, 2, 3, 4])


def test_infinity_is_never_allowed() -> None:
    with pytest.raises(DataError, match="'inf' is not"):
        read_boxes_text("inf,1,2,3\n", "x.txt", allow_nan=True)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "größe.txt"
    path.write_bytes(b"\xef\xbb\xbf1,2,3,4\n5.5,6,7,8\n")  # byte order mark of Windows editors
    np.testing.assert_array_equal(read_boxes(path), TWO_ROWS)
    np.testing.assert_array_equal(read_boxes(str(path)), TWO_ROWS)

    path.write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    with pytest.raises(DataError, match=r"größe\.txt: not a text file"):
        read_boxes(path)
    with pytest.raises(DataError, match=r"none\.txt: file not found"):
        read_boxes(tmp_path / "none.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_byte_order_marks_say_the_encoding(tmp_path: Path, encoding: str) -> None:
    """What Windows shells and editors write."""
    path = tmp_path / "groundtruth.txt"
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    path.write_bytes(f"{mark}1,2,3,4\r\n5.5,6,7,8\r\n".encode(encoding))
    np.testing.assert_array_equal(read_boxes(path), TWO_ROWS)
    np.testing.assert_array_equal(read_regions(path), TWO_ROWS)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_without_a_mark_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_bytes("1,2,3,4\n".encode(encoding))
    with pytest.raises(DataError, match=r"groundtruth\.txt: .* UTF-16 .* save it as UTF-8"):
        read_boxes(path)


def test_damaged_wide_characters_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_bytes("1,2,3,4\n".encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"groundtruth\.txt: not a text file"):
        read_boxes(path)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("40,5 30,5 24,0 20,0", id="blanks"),
        pytest.param("40,5\t30,5\t24,0\t20,0", id="tabs"),
        pytest.param("40,5;30,5;24,0;20,0", id="semicolons"),
    ],
)
def test_decimal_commas_are_no_polygon(tmp_path: Path, line: str) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_text(f"{line}\n{line}\n")
    for read in (read_regions, read_boxes):
        with pytest.raises(DataError, match=r"groundtruth\.txt:1: .* decimal commas"):
            read(path)
    # Mixed separators that leave no doubt are read as before.
    path.write_text("10,5, 20,8 ,18,16 8,13\n")
    np.testing.assert_array_equal(read_regions(path), [[8, 5, 12, 11]])


MOT = "this looks like a file of MOT or VisDrone (frame, id, x, y, w, h, …)"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(
            ["1,0,40,30,24,20,1,4,0,0", "2,0,42,31,24,20,1,4,0,0"],
            f"10 values in '1,0,40,30,24,20,1,4,0,0', expected 4; {MOT}, and a tracker of one "
            "object needs four columns: keep columns 3 to 6",
            id="VisDrone: ten columns, one object",
        ),
        pytest.param(
            ["1,1,40,30,24,20,1,1,1.0", "1,7,42,31,24,20,1,1,0.5"],
            "keep columns 3 to 6 of the rows of one id (2 are in the file)",
            id="MOT: nine columns, two objects",
        ),
        pytest.param(["0 0.5 0.5 0.2 0.1"], "a detector's label file", id="YOLO"),
        pytest.param(["1,2,3,4,5,6,7,8"], "read in the layout of VOT", id="polygon"),
    ],
)
def test_tables_of_other_programs_are_named(rows: list[str], says: str) -> None:
    with pytest.raises(DataError) as caught:
        read_boxes_text("\n".join(rows), "x.txt")
    assert says in str(caught.value)


def test_odd_tables_are_not_guessed_at() -> None:
    for text in ("1,2,3,4,5,6\n", "1.5,2,3,4,5,6,7,8,9\n", "1,2,3,4\n" + "1," * 9 + "1\n"):
        with pytest.raises(DataError, match=r"expected 4$"):
            read_boxes_text(text, "x.txt")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        pytest.param("0,1,1,0\n", [0, 1, 1, 0], id="LaSOT: one line"),
        pytest.param("0\n1\n1\n0\n", [0, 1, 1, 0], id="GOT-10k: one per line"),
        pytest.param("0,1,1,0,", [0, 1, 1, 0], id="trailing comma"),
        pytest.param("0.0\n1e0\n", [0, 1], id="as numpy.savetxt writes them"),
    ],
)
def test_flags(tmp_path: Path, text: str, flags: list[int]) -> None:
    path = tmp_path / "absence.label"
    path.write_text(text)
    np.testing.assert_array_equal(read_flags(path, expected_rows=len(flags)), flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("0\n1\n2\n", r":3: flag '2' is not a whole number from 0 to 1", id="above"),
        pytest.param("0\n-1\n", r":2: flag '-1'", id="below"),
        pytest.param("0\n0.5\n", r":2: flag '0.5'", id="fraction"),
        pytest.param("nan\n", r":1: flag 'nan'", id="NaN"),
        pytest.param("0,yes\n", r":1: flag 'yes'", id="word"),
        pytest.param("0,,1\n", r":1: flag ''", id="empty value"),
        pytest.param("", r": the file is empty", id="empty file"),
        pytest.param("0\n0\n", r": 2 flags, expected 3", id="too few"),
    ],
)
def test_flags_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.label"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x\.label" + message):
        read_flags(path, expected_rows=3)


def test_cover_labels_go_to_eight(tmp_path: Path) -> None:
    path = tmp_path / "cover.label"
    path.write_text("8\n0\n")
    np.testing.assert_array_equal(read_flags(path, maximum=8), [8, 0])


def test_regions(tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_text("1,2,3,4\n10,5,20,8,18,16,8,13\nnan,nan,nan,nan\n" + ",".join(["nan"] * 8))
    boxes = read_regions(path)
    np.testing.assert_array_equal(boxes[:2], [[1, 2, 3, 4], [8, 5, 12, 11]])
    assert np.isnan(boxes[2:]).all()


def test_polygon_with_one_nan_is_absent_whatever_its_place(tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    for place in range(8):
        values = ["5"] * 8
        values[place] = "nan"
        path.write_text(",".join(values))
        assert all(math.isnan(value) for value in read_regions(path)[0])


def test_regions_refused(tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_text("1,2,3,4\n1,2,3,4,5,6\n")
    with pytest.raises(DataError, match=r"groundtruth\.txt:2: 6 values .* expected 4 or 8"):
        read_regions(path)
    path.write_text("m0,0,5,5,3,2\n")
    with pytest.raises(DataError, match=r"groundtruth\.txt:1: this is a mask"):
        read_regions(path)
