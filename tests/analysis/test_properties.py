"""What must hold for the scores of any boxes: bounds, symmetries, known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.analysis.conventions import OPE_CONVENTIONS
from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import OPE_METRICS, score_dataset, score_sequence

ROWS = 6
SIDE = st.floats(1, 300, width=32)
PLACE = st.floats(-100, 500, width=32)
BOX = st.tuples(PLACE, PLACE, SIDE, SIDE)
BOXES = st.lists(BOX, min_size=ROWS, max_size=ROWS).map(lambda rows: np.array(rows, float))
POSITIVE = BOXES.map(lambda rows: np.abs(rows) + 1)
# Chosen at random, no number of them lies on a threshold.
ANY = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).uniform(1, 100, (2, ROWS, 4))
)
# Divided by the valid frames, shares may exceed 1.
OPE = st.sampled_from(sorted(name for name in OPE_CONVENTIONS if "exclude" not in name))
SIZE = (400, 300)


def tracked(truth: np.ndarray, found: np.ndarray, name: str = "a") -> TrackedSequence:
    cover = np.full(len(truth), 8)
    return TrackedSequence(name, truth, found, np.ones(len(truth), bool), cover, SIZE)


@given(truth=BOXES, found=BOXES, convention=OPE)
def test_curves_are_shares_that_go_one_way(truth, found, convention) -> None:
    score = score_sequence(tracked(truth, found), "otb", convention)
    for name, line in score.lines.items():
        steps = np.diff(line)
        assert ((line >= 0) & (line <= 1)).all()
        assert (steps <= 0).all() if name == "success" else (steps >= 0).all()
    assert set(score.fractions()) == {key for row in OPE_METRICS.values() for key in row.headlines}


@given(truth=POSITIVE, convention=OPE)
def test_a_perfect_tracker(truth, convention) -> None:
    shares = score_sequence(tracked(truth, truth), "otb", convention).fractions()
    # Whether an overlap of 1 is above 1 is a matter of rounding.
    assert 20 / 21 - 1e-9 <= shares["AUC"] <= 1
    assert shares["OP50"] == shares["OP75"] == shares["Precision"] == shares["NormPrecision"] == 1


@given(truth=BOXES, found=BOXES)
def test_overlap_does_not_care_who_is_the_truth(truth, found) -> None:
    found[0] = truth[0]
    there, back = (
        score_sequence(tracked(a, b), "otb", "seqtrack_lib_test").success
        for a, b in ((truth, found), (found, truth))
    )
    np.testing.assert_array_equal(there, back)


@given(truth=BOXES, found=BOXES, shift=st.integers(-64, 64))
def test_scores_do_not_care_where_the_picture_is(truth, found, shift) -> None:
    """Whole pixels from whole boxes: nothing is rounded on the way."""
    truth, found = (np.maximum(boxes.round(), [-100, -100, 1, 1]) for boxes in (truth, found))
    moved = np.array([shift, shift, 0, 0])
    plain = score_sequence(tracked(truth, found), "lasot", "seqtrack_lib_test")
    other = score_sequence(tracked(truth + moved, found + moved), "lasot", "seqtrack_lib_test")
    for name in OPE_METRICS:
        np.testing.assert_array_equal(plain.lines[name], other.lines[name])


@given(pair=ANY, factor=st.floats(0.1, 10))
def test_shares_of_the_target_do_not_care_for_the_scale(pair, factor) -> None:
    plain, other = (
        score_sequence(tracked(*(pair * f)), "lasot", "seqtrack_lib_test") for f in (1.0, factor)
    )
    # At 1 it is a matter of rounding, of which a perfect box has some.
    np.testing.assert_array_equal(plain.success[:-1], other.success[:-1])
    np.testing.assert_array_equal(plain.norm_precision, other.norm_precision)


@given(truth=BOXES, found=BOXES)
def test_got10k_lies_between_its_frames(truth, found) -> None:
    score = score_sequence(tracked(truth, found), "got10k_val")
    assert 0 <= score.sr75 <= score.sr50 <= 1 and 0 <= score.ao <= 1
    assert score.frames == ROWS - 1 and (np.diff(score.success) <= 0).all()
    # The mean is the area below the curve, but for the width of a step.
    assert score.ao == pytest.approx(score.success.mean(), abs=0.01)


@given(first=BOXES, second=BOXES)
def test_two_sequences_score_between_both(first, second) -> None:
    truth = np.tile([10.0, 10.0, 50.0, 40.0], (ROWS, 1))
    rows = [tracked(truth, first, "a"), tracked(truth, second, "b")]
    for kind in ("otb", "got10k_val"):
        total = score_dataset(rows, kind).total.percentages()
        parts = [score_sequence(row, kind).percentages() for row in rows]
        for key, value in total.items():
            low, high = sorted(part[key] for part in parts)
            assert low - 1e-9 <= value <= high + 1e-9
