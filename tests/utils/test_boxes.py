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
