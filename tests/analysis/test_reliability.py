"""lib/analysis/reliability: against figures worked out by hand."""

import numpy as np
import pytest

from lib.analysis.reliability import average_precision, calibration_error, reliability


def test_a_certainty_that_is_right_has_no_error() -> None:
    certainty = np.repeat([0.25, 0.75], 4)
    good = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    assert calibration_error(certainty, good) == pytest.approx(0)
    assert calibration_error(1 - certainty, good) == pytest.approx(0.5)


def test_every_frame_is_in_one_row() -> None:
    # One of ten: 0.095 and 0 are in the first.
    certainty = np.array([0.0, 0.095, 0.55, 1.0])
    rows = reliability(certainty, np.array([False, True, True, True]))
    assert [row.frames for row in rows] == [2, 1, 1]
    assert rows[0].certainty == pytest.approx(0.0475) and rows[0].share_good == 0.5


def test_average_precision_of_a_perfect_a_useless_and_an_inverted_score() -> None:
    positive = np.array([True, True, False, False])
    assert average_precision(np.array([4.0, 3, 2, 1]), positive) == 1
    # All equal: there is one threshold, and its precision is chance.
    assert average_precision(np.ones(4), positive) == 0.5
    assert average_precision(np.array([1.0, 2, 3, 4]), positive) == pytest.approx(5 / 12)
    assert np.isnan(average_precision(np.ones(2), np.zeros(2, bool)))
