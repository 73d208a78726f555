"""lib/utils/boxes.py: overlap, clipping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.utils import boxes

coordinate = st.floats(-500, 500, allow_nan=False)
extent = st.floats(0.5, 400)
box = st.tuples(coordinate, coordinate, extent, extent)


@given(box, box)
def test_iou_is_symmetric_and_bounded(first, second):
    a, b = np.array([first]), np.array([second])
    value = boxes.iou_xywh(a, b).item()
    assert 0 <= value <= 1
    assert value == pytest.approx(boxes.iou_xywh(b, a).item())
    assert boxes.iou_xywh(a, a).item() == pytest.approx(1)


def test_iou_without_area_is_zero():
    empty = np.zeros((2, 4))
    assert boxes.iou_xywh(empty, empty).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        pytest.param((10, 20, 40, 20), 1, id="the same"),
        pytest.param((30, 20, 40, 20), 1 / 3, id="half beside it"),
        pytest.param((10, 25, 40, 20), 3 / 5, id="a quarter below it"),
        pytest.param((-10, 10, 40, 20), 1 / 7, id="a quarter at the corner"),
        pytest.param((20, 25, 20, 10), 1 / 4, id="within"),
        pytest.param((0, 10, 80, 50), 1 / 5, id="around"),
        pytest.param((50, 20, 40, 20), 0, id="touching"),
        pytest.param((90, 90, 40, 20), 0, id="apart both ways"),
        pytest.param((10, 20, 0, 0), 0, id="a point"),
    ],
)
def test_known_overlaps(other, overlap):
    one = np.array([[10, 20, 40, 20]])
    assert boxes.iou_xywh(one, np.array([other])).item() == pytest.approx(overlap, abs=1e-12)


@given(box, st.integers(30, 300), st.integers(30, 300))
def test_clip_keeps_ten_pixels_in_reach(xywh, height, width):
    x, y, w, h = boxes.clip_xywh(xywh, height, width)
    assert 0 <= x <= width - 10 and 0 <= y <= height - 10
    assert w >= 10 and h >= 10


@given(box, box)
def test_iou_is_that_of_the_corners(first, second):
    """A known answer by another way: overlap along each axis."""
    shared = 1.0
    for axis in (0, 1):
        start = max(first[axis], second[axis])
        end = min(first[axis] + first[axis + 2], second[axis] + second[axis + 2])
        shared *= max(0.0, end - start)
    union = first[2] * first[3] + second[2] * second[3] - shared
    found = boxes.iou_xywh(np.array([first]), np.array([second])).item()
    assert found == pytest.approx(shared / union, abs=1e-9)


@given(box, st.integers(30, 300), st.integers(30, 300))
def test_a_box_inside_is_not_clipped(xywh, height, width):
    once = boxes.clip_xywh(xywh, height, width)
    x, y, w, h = once
    if x + w <= width and y + h <= height:
        assert boxes.clip_xywh(once, height, width) == pytest.approx(once, abs=1e-9)


@given(box, st.tuples(extent, extent), st.floats(0, 1))
def test_a_pulled_size_lies_between_and_keeps_the_centre(xywh, size, share):
    x, y, w, h = boxes.pull_size(xywh, size, share)
    assert (x + w / 2, y + h / 2) == pytest.approx(
        (xywh[0] + xywh[2] / 2, xywh[1] + xywh[3] / 2), abs=1e-6
    )
    for now, before, aim in zip((w, h), xywh[2:], size, strict=True):
        assert min(before, aim) - 1e-6 <= now <= max(before, aim) + 1e-6


@pytest.mark.parametrize(
    ("xywh", "clipped"),
    [
        pytest.param((-5, -7, 20, 30), (0, 0, 15, 23), id="cut at the upper left"),
        pytest.param((150, 80, 100, 90), (150, 80, 50, 20), id="cut at the lower right"),
        pytest.param((-50, -60, 20, 20), (0, 0, 10, 10), id="left and above"),
        pytest.param((300, 300, 20, 20), (190, 90, 10, 10), id="right and below"),
        pytest.param((20, 30, 4, 6), (20, 30, 10, 10), id="small"),
        pytest.param((195, 97, 3, 2), (190, 90, 10, 10), id="small, at the corner"),
        pytest.param((187, 85, 12, 14), (187, 85, 12, 14), id="inside"),
    ],
)
def test_clipping_of_an_image_of_200_x_100(xywh, clipped):
    assert boxes.clip_xywh(xywh, height=100, width=200) == clipped


def test_another_margin():
    assert boxes.clip_xywh((170, 30, 40, 50), 100, 200, margin=60) == (140, 30, 60, 60)


def test_a_box_without_size_is_pulled_from_a_millionth():
    assert boxes.pull_size((5, 5, 0, 0), (4, 9), 0.5) == pytest.approx(
        (4.999, 4.9985, 0.002, 0.003), abs=1e-9
    )


def test_a_size_is_width_and_height():
    with pytest.raises(ValueError, match="zip"):
        boxes.pull_size((5, 5, 2, 2), (4, 9, 1), 0.5)


def test_rounding_makes_no_overlap_above_one():
    # (0.3 + 0.1) - 0.3 is more than 0.1.
    same = np.array([[0.3, 0.3, 0.1, 0.1], [1e6 + 0.1, 7.7, 0.3, 0.7]])
    assert (boxes.iou_xywh(same, same) <= 1).all()
