"""lib/utils/crop.py: what the parity kit does not cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.utils.crop import (
    Crop,
    box_in_crop,
    crop_side,
    crop_square,
    cut_square,
    map_box_back,
    square_at,
)
from lib.utils.errors import DataError

IMAGE = np.arange(100 * 120 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 120, 3) | 1


def test_crop_inside_is_the_image_itself():
    square = cut_square(IMAGE, (50, 40, 10, 10), 4.0)
    np.testing.assert_array_equal(square, IMAGE[25:65, 35:75])


def test_last_column_is_black_when_the_square_reaches_the_border():
    square = cut_square(IMAGE, (95, 40, 10, 10), 4.0)  # columns 80 .. 119, the image's last ones
    assert square.shape == (40, 40, 3)
    assert not square[:, -1].any() and square[:, -2].all()


def test_ties_round_to_even():
    # side 4, centre at 10.5 and 11.5: the left edge 8.5 goes to 8, 9.5 to 10.
    for x, left in ((10, 8), (11, 10)):
        square = cut_square(IMAGE, (x, 50, 1, 1), 4.0)
        np.testing.assert_array_equal(square, IMAGE[48:52, left : left + 4])


def test_map_back_undoes_the_crop():
    box = (31.5, 22.25, 17.0, 9.5)
    crop = crop_square(IMAGE, (30, 21, 20, 12), 4.0, 64)
    assert crop.resize_factor == 64 / 62
    half = 0.5 * 64 / crop.resize_factor
    centre = (box[0] + box[2] / 2 - (40 - half), box[1] + box[3] / 2 - (27 - half))
    back = map_box_back((*centre, *box[2:]), crop.box, crop.resize_factor, 64)
    np.testing.assert_allclose(back, box)


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((10, 10, 0, 20), "smaller than one pixel"),
        ((10, 10, -3, 20), "must be >= 0"),
        ((10, 10, float("nan"), 20), "must be >= 0"),
        ((10, 10, 1e6, 1e6), "larger than 32000"),
        ((400, 10, 10, 10), "outside the image of 120 x 100"),
        ((10, -300, 10, 10), "outside the image of 120 x 100"),
        ((-300, 10, 10, 10), "outside the image of 120 x 100"),
        ((10, 400, 10, 10), "outside the image of 120 x 100"),
    ],
)
def test_impossible_boxes_are_named(box, why):
    with pytest.raises(DataError, match=why):
        crop_square(IMAGE, box, 4.0, 64)


def test_the_image_is_left_as_it_was():
    before = IMAGE.copy()
    crop_square(IMAGE, (110, 90, 30, 30), 4.0, 32)
    np.testing.assert_array_equal(IMAGE, before)


SIDE = st.floats(1, 60)
BOXES = st.tuples(st.floats(-20, 110), st.floats(-20, 90), SIDE, SIDE)


@given(box=BOXES, factor=st.floats(0.5, 6), size=st.sampled_from([16, 64, 255]))
def test_map_back_undoes_any_crop(box, factor, size):
    """The centre of the crop, with the size of the box, is the box."""
    w, h = box[2:]
    resize = size / crop_side(box, factor)
    centre = 0.5 * size / resize
    back = map_box_back((centre, centre, w, h), box, resize, size)
    assert back == pytest.approx(box, abs=1e-9)


@given(box=BOXES, shift=st.integers(-50, 50), factor=st.floats(0.5, 6))
def test_the_square_moves_with_its_box(box, shift, factor):
    whole = tuple(float(round(value)) for value in box)
    x, y, w, h = whole
    left, top, side = square_at(whole, factor)
    # An even shift: halves are rounded to even numbers.
    moved = square_at((x + 2 * shift, y, w, h), factor)
    assert moved == (left + 2 * shift, top, side)
    assert side == pytest.approx((w * h) ** 0.5 * factor + 0.5, abs=0.5 + 1e-6)


@given(box=BOXES, factor=st.floats(0.5, 6))
def test_a_cut_holds_pixels_of_the_image_or_black(box, factor):
    left, top, side = square_at(box, factor)
    try:
        square = cut_square(IMAGE, box, factor)
    except DataError:
        # All of it is outside, but for the column and the row that the border rule blackens.
        assert left >= 119 or top >= 99 or left + side <= 0 or top + side <= 0
        return
    assert square.shape == (side, side, 3)
    # No pixel of the image is 0.
    rows, columns = np.nonzero(square[..., 0])
    np.testing.assert_array_equal(square[rows, columns], IMAGE[rows + top, columns + left])


def test_a_square_around_a_wide_box():
    # sqrt(30 * 20) * 4 is 97.98, and the centre lies at (65, 50).
    assert square_at((50, 40, 30, 20), 4.0) == (16, 1, 98)
    assert square_at((50, 40, 20, 30), 4.0) == (11, 6, 98)


def test_the_smallest_and_the_largest_square():
    assert crop_side((0, 0, 1, 1), 1.0) == crop_side((0, 0, 0.1, 0.1), 1.0) == 1
    assert crop_side((0, 0, 32000, 32000), 1.0) == 32000
    with pytest.raises(DataError, match="the square of 32001 pixels"):
        crop_side((0, 0, 32001, 32001), 1.0)


@pytest.mark.parametrize(
    ("box", "black"),
    [
        # Side 40. Rows and columns of the square that are black: first of all, then last ones.
        pytest.param((50, 75, 10, 10), (0, 1, 0, 0), id="the border: its last row"),
        pytest.param((50, 80, 10, 10), (0, 6, 0, 0), id="five rows below"),
        pytest.param((50, 10, 10, 10), (5, 0, 0, 0), id="five rows above"),
        pytest.param((10, 40, 10, 10), (0, 0, 5, 0), id="five columns to the left"),
        pytest.param((95, 40, 10, 10), (0, 0, 0, 1), id="the border: its last column"),
        pytest.param((98, 40, 10, 10), (0, 0, 0, 4), id="three columns to the right"),
        pytest.param((50, 74, 10, 10), (0, 0, 0, 0), id="a row from the border"),
    ],
)
def test_what_is_black(box, black):
    square = cut_square(IMAGE, box, 4.0)
    assert square.shape == (40, 40, 3)
    above, below, left, right = black
    seen = np.zeros((40, 40), bool)
    seen[above : 40 - below, left : 40 - right] = True
    # No pixel of the image is 0, and black is black in all channels.
    np.testing.assert_array_equal((square > 0).all(axis=2), seen)
    np.testing.assert_array_equal((square > 0).any(axis=2), seen)


def test_a_box_in_a_crop():
    """65 pixels count as 64; the crop's centre is (35, 23) of the image, the box's (37, 28)."""
    crop = Crop(np.zeros((65, 65, 3), np.uint8), 2.0, (30, 20, 10, 6))
    found = box_in_crop(np.array([33, 26, 8, 4]), crop)
    assert found.dtype == np.float32
    assert found.tolist() == [36 / 64 - 8 / 64, 42 / 64 - 4 / 64, 16 / 64, 8 / 64]


def test_a_box_that_was_predicted_in_the_image():
    """The crop of 20 x 20 pixels has its corner at (25, 13)."""
    assert map_box_back((12, 9, 6, 4), (30, 20, 10, 6), 2.0, 40) == (34, 20, 6, 4)
