"""Boxes on pictures."""

import numpy as np
import pytest

from lib.utils.drawing import TRUTH_COLOUR, draw_box


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_box_is_where_it_should_be(line):
    picture = np.zeros((60, 80, 3), np.uint8)
    draw_box(picture, [10.4, 20.0, 30.4, 15.6], TRUTH_COLOUR, line)
    for x, y in ((10, 20), (41, 20), (10, 36), (41, 36), (25, 20), (41, 30)):
        assert tuple(picture[y, x]) == TRUTH_COLOUR, (x, y)
    assert not picture[28, 25].any() and not picture[50].any()


@pytest.mark.parametrize(
    ("box", "drawn"),
    [
        pytest.param([np.nan, 1, 2, 3], False, id="nan"),
        pytest.param([1, 2, np.inf, 3], False, id="infinite"),
        pytest.param([-1e12, 30, 2e12, 1e12], True, id="beyond OpenCV's numbers"),
        pytest.param([500, 500, 20, 20], False, id="outside"),
    ],
)
def test_wild_boxes_harm_nothing(box, drawn):
    picture = np.zeros((60, 80, 3), np.uint8)
    draw_box(picture, np.array(box, float), TRUTH_COLOUR)
    assert picture.any() == drawn
