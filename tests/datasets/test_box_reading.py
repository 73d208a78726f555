"""What boxes look like that are not x, y, w, h in pixels."""

import numpy as np
import pytest

from lib.datasets.text.box_reading import likely_reading, likely_reading_against

SIZE = (160, 120)


def path(frames: int = 30) -> np.ndarray:
    """A target that moves from the left to the right of the picture, xywh."""
    steps = np.linspace(0, 1, frames)
    return np.column_stack([10 + 100 * steps, 40 + 30 * steps, 24 + 6 * steps, 20 + 4 * steps])


def as_corners(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def as_centres(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]])


def as_shares(boxes: np.ndarray) -> np.ndarray:
    return boxes / np.tile(SIZE, 2)


def over_the_border() -> np.ndarray:
    """A quarter of the rows are half outside, as of a target that leaves the picture."""
    boxes = path(40)
    boxes[-10:, 0] = 150
    return boxes


def whole_picture() -> np.ndarray:
    return np.tile([0.0, 0.0, 161.0, 121.0], (5, 1))


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param(path(), id="inside"),
        pytest.param(path(1), id="one-row"),
        pytest.param(over_the_border(), id="some-over-the-border"),
        pytest.param(whole_picture(), id="as-large-as-the-picture"),
        pytest.param(np.full((3, 4), np.nan), id="all-absent"),
        pytest.param(np.full((3, 4), -1.0), id="all-minus-one"),
        pytest.param(np.tile([80.0, 60.0, 2.0, 1.0], (5, 1)), id="tiny-but-pixels"),
    ],
)
def test_boxes_in_pixels_give_no_reading(boxes: np.ndarray) -> None:
    assert likely_reading(boxes, SIZE) is None


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        pytest.param(
            as_corners(path()),
            "in 13 of 30 rows the box leaves the picture (160 x 120); are these corners "
            "(x1, y1, x2, y2), or labels of pictures of another size?",
            id="corners",
        ),
        pytest.param(as_corners(path())[-1:], "in 1 of 1 rows", id="one-row-of-corners"),
        pytest.param(as_corners(path())[:21], "in 4 of 21 rows", id="few-rows-but-all-fit"),
        pytest.param(
            as_centres(np.tile([125.0, 80.0, 34.0, 38.0], (4, 1))), "centre, width", id="centres"
        ),
        pytest.param(as_shares(path()), "shares of the picture (0 to 1)", id="shares"),
        pytest.param(as_shares(as_corners(path())), "shares of the", id="shares-as-corners"),
        pytest.param(4 * path(), "pictures of another size", id="another-size"),
        pytest.param(
            np.vstack([as_corners(path()), np.full((40, 4), -1.0), np.full((9, 4), np.nan)]),
            "in 13 of 30 rows",
            id="absent-rows-do-not-count",
        ),
    ],
)
def test_other_boxes_are_named(boxes: np.ndarray, words: str) -> None:
    assert words in (likely_reading(boxes, SIZE) or "nothing")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(as_corners, "as corners (x1, y1, x2, y2) they overlap the truth by 1.00"),
        pytest.param(as_centres, "as centre, width and height (cx, cy, w, h) they overlap"),
        pytest.param(as_shares, "shares of the picture (0 to 1)"),
    ],
)
def test_results_in_another_form_are_named_beside_the_truth(write, words: str) -> None:
    assert words in (likely_reading_against(write(path()), path()) or "nothing")


def test_results_in_pixels_give_no_reading_beside_the_truth() -> None:
    truth = path()
    lost = np.where(np.arange(30)[:, None] < 10, truth, [120.0, 5.0, 30.0, 20.0])
    for boxes in (truth, truth + np.array([5, -4, 3, 2]), lost, np.full((30, 4), np.nan)):
        assert likely_reading_against(boxes, truth) is None
    assert likely_reading_against(truth, np.full((30, 4), np.nan)) is None
