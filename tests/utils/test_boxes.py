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
