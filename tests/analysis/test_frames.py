"""lib/analysis/frames.py: what is measured per frame, worked out by hand."""

import numpy as np
import pytest

from lib.analysis.frames import (
    TrackedSequence,
    bounded_normalised_distance,
    center_distance,
    centers,
    fill_forward,
    first_row,
    fit_length,
    join,
    normalised_distance,
    pixel_overlap,
    rows_not_finite,
    rows_with_nan,
)
from lib.datasets.sequence import Video
from lib.utils.errors import DataError, ResultsError
from tests.helpers.memory_set import MemoryFrames

TRUTH = np.array([[10.0, 20, 40, 20]])
ROWS = np.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    ("box", "overlap"),
    [
        pytest.param((10, 20, 40, 20), 1, id="the same"),
        pytest.param((30, 20, 40, 20), 1 / 3, id="half beside it"),
        pytest.param((10, 25, 40, 20), 3 / 5, id="a quarter below it"),
        pytest.param((-10, 10, 40, 20), 1 / 7, id="a quarter at the corner"),
        pytest.param((20, 25, 20, 10), 1 / 4, id="within"),
        pytest.param((50, 20, 40, 20), 0, id="touching"),
        pytest.param((49, 20, 40, 20), 1 / 79, id="a column in common"),
        pytest.param((90, 90, 40, 20), 0, id="apart both ways"),
    ],
)
def test_overlap_in_pixels(box, overlap) -> None:
    assert pixel_overlap(np.array([box], float), TRUTH).tolist() == pytest.approx([overlap])


def test_no_union_and_no_truth_have_no_overlap() -> None:
    nothing, unknown = np.zeros((1, 4)), np.full((1, 4), np.nan)
    assert np.isnan(pixel_overlap(nothing, nothing)).all()
    assert np.isnan(pixel_overlap(TRUTH, unknown)).all()


def test_distances_of_centres() -> None:
    # The last pixel of 40 from 10 on is 49, so the centre is 29.5.
    assert centers(TRUTH).tolist() == [[29.5, 29.5]]
    other = np.array([[14.0, 17.0, 40.0, 20.0]])
    assert center_distance(other, TRUTH).tolist() == [5]
    # 4 of 40 pixels along, 3 of 20 down.
    by_size = (0.1**2 + 0.15**2) ** 0.5
    assert normalised_distance(other, TRUTH).tolist() == pytest.approx([by_size])
    assert bounded_normalised_distance(other, TRUTH).tolist() == pytest.approx([by_size])


def test_a_size_below_one_pixel_counts_as_one_for_got10k_only() -> None:
    tiny, other = np.array([[0.0, 0, 0.5, 2]]), np.array([[3.0, 8, 0.5, 2]])
    assert bounded_normalised_distance(other, tiny).tolist() == [5]
    assert normalised_distance(other, tiny).tolist() == pytest.approx([(6**2 + 4**2) ** 0.5])
    none = np.array([[0.0, 0, 0, 0]])
    assert normalised_distance(other, none).tolist() == [np.inf]


def test_rows_that_hold_no_number() -> None:
    boxes = np.array([[1.0, 2, 3, 4], [np.nan, 2, 3, 4], [1, 2, 3, -np.inf], [np.nan] * 4])
    assert rows_with_nan(boxes).tolist() == [False, True, False, True]
    assert rows_not_finite(boxes).tolist() == [False, True, True, True]
    assert first_row(rows_with_nan(boxes)) == 2 and first_row(rows_not_finite(boxes[2:])) == 1


def test_a_bad_row_is_the_last_good_one() -> None:
    boxes = np.arange(20.0).reshape(5, 4)
    filled = fill_forward(boxes, np.array([True, False, True, True, False]))
    assert filled.tolist() == boxes[[0, 1, 1, 1, 4]].tolist()


def test_a_length_is_cut_or_padded() -> None:
    assert fit_length(ROWS, 2).tolist() == ROWS[:2].tolist()
    assert fit_length(ROWS, 3).tolist() == ROWS.tolist()
    assert fit_length(ROWS, 5).tolist() == [*ROWS.tolist(), [0] * 4, [0] * 4]


@pytest.mark.parametrize("with_size", [True, False])
def test_what_is_known_of_a_video_goes_with_its_boxes(with_size) -> None:
    visible, cover = np.array([True, False, True]), np.array([8, 0, 3])
    video = Video("v", MemoryFrames("v", 3), ROWS, visible, cover, "v/groundtruth.txt")
    found = join(video, ROWS[:2], with_size, "out/v.txt")
    assert found.ground_truth is ROWS and found.predicted.tolist() == ROWS[:2].tolist()
    assert found.visible is visible and found.cover is cover
    assert found.resolution == ((120, 90) if with_size else None)
    assert (found.name, found.source, found.truth_source) == ("v", "out/v.txt", video.annotation)


@pytest.mark.parametrize(
    ("truth", "predicted", "known", "why"),
    [
        (np.zeros((0, 4)), ROWS, {}, r"ground truth of s: ground truth is \(0, 4\)"),
        (np.zeros((3, 5)), ROWS, {}, r"ground truth is \(3, 5\), expected \(N, 4\)"),
        (np.zeros(4), ROWS, {}, r"ground truth is \(4,\)"),
        (ROWS, np.zeros((3, 5)), {}, r"results of s: results are \(3, 5\), expected \(M, 4\)"),
        (ROWS, ROWS, {"visible": np.ones(2)}, "2 visibility flags for 3 frames"),
        (ROWS, ROWS, {"cover": np.ones(4)}, "4 cover flags for 3 frames"),
        (ROWS, ROWS, {"cover": np.ones((3, 1))}, "3 cover flags for 3 frames"),
    ],
)
def test_arrays_of_another_shape_are_refused(truth, predicted, known, why) -> None:
    with pytest.raises((DataError, ResultsError), match=why):
        TrackedSequence("s", truth, predicted, **known)
