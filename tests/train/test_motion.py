"""How far targets move, and how far search regions are shifted because of it."""

import numpy as np
import pytest

from lib.datasets.sequence import Dataset, Video
from lib.train.data.motion import fitting_jitter, steps_of


def video(boxes, visible=None) -> Video:
    frames = [None] * len(boxes)
    return Video("a", frames, np.asarray(boxes, float), visible)  # type: ignore[arg-type]


def dataset(*videos: Video) -> Dataset:
    own = {str(number): one for number, one in enumerate(videos)}
    return Dataset("own", "own", "DEFAULT", "lasot", "", tuple(own), own.__getitem__)


def moving(step: float, length: int = 50) -> Video:
    """A target of 10 by 40 pixels, so of side 20, that moves to the right."""
    return video([(step * i, 5, 10, 40) for i in range(length)])


def test_steps_are_in_sides_of_the_later_box():
    # The centre moves by (4, 6), and by (0, 0) while the side grows to 20.
    boxes = [(0, 0, 10, 10), (4, 6, 10, 10), (-1, 1, 20, 20)]
    assert steps_of(video(boxes)) == pytest.approx(np.array([[0.4, 0.6], [0, 0]]))


def test_steps_over_frames_without_the_target_do_not_count():
    boxes = [(0, 0, 10, 10), (1, 0, 10, 10), (0, 0, 0, 0), (90, 0, 10, 10), (92, 0, 10, 10)]
    expected = np.array([[0.1, 0], [0.2, 0]])
    assert steps_of(video(boxes)) == pytest.approx(expected)
    flagged = [(0, 0, 10, 10), (1, 0, 10, 10), (50, 0, 10, 10), *boxes[3:]]
    shown = np.array([True, True, False, True, True])
    assert steps_of(video(flagged, shown)) == pytest.approx(expected)


def test_the_jitter_covers_the_steps_and_an_error_both_ways():
    assert fitting_jitter(dataset(moving(0)), 3.0) == pytest.approx(0.5)
    # A quarter of the side each frame, in one of two clips.
    assert fitting_jitter(dataset(moving(5), moving(0)), 3.0) == pytest.approx(1.0)


def test_a_cut_counts_for_nothing_and_fast_targets_keep_the_configurations():
    boxes = moving(5, 400).ground_truth.copy()
    boxes[200:] += [5000, 0, 0, 0]
    assert fitting_jitter(dataset(video(boxes)), 3.0) == pytest.approx(1.0)
    assert fitting_jitter(dataset(moving(100)), 3.0) == 3.0


def test_without_two_frames_in_a_row_it_stays():
    assert fitting_jitter(dataset(video([(0, 0, 10, 10), (0, 0, 0, 0)] * 5)), 3.0) == 3.0
