"""Scoring rules, one special case at a time; the recorded numbers are in tests/metrics."""

from typing import Any

import numpy as np
import pytest

from lib.analysis import metrics
from lib.analysis.conventions import (
    KINDS,
    OPE_CONVENTIONS,
    check_kind,
    convention_named,
    default_convention,
)
from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import OpeScore, OverlapScore, score_dataset, score_sequence
from lib.utils.errors import DataError, ResultsError, SeqTrackError

BOX = (20.0, 30.0, 40.0, 50.0)
FAR = (500.0, 600.0, 40.0, 50.0)
EMPTY = (0.0, 0.0, 0.0, 0.0)
NAN = (np.nan,) * 4


def track(truth: list, predicted: list, name: str = "s", **known: Any) -> TrackedSequence:
    return TrackedSequence(
        name,
        np.array(truth, dtype=np.float64).reshape(-1, 4),
        np.array(predicted, dtype=np.float64).reshape(-1, 4),
        results_file="out/s.txt",
        annotation="data/s/groundtruth.txt",
        **known,
    )


def ope(tracked: TrackedSequence, kind: str = "otb", convention: str | None = None) -> OpeScore:
    score = score_sequence(tracked, kind, convention)
    assert isinstance(score, OpeScore)
    return score


def overlaps(tracked: TrackedSequence, convention: str | None = None) -> OverlapScore:
    score = score_sequence(tracked, "got10k_val", convention)
    assert isinstance(score, OverlapScore)
    return score


def test_thresholds_are_those_of_the_established_code() -> None:
    assert metrics.OVERLAP_THRESHOLDS[3] == 0.15000000000000002
    assert metrics.OVERLAP_THRESHOLDS[15] == 0.7500000000000001
    np.testing.assert_allclose(metrics.OVERLAP_THRESHOLDS, np.linspace(0, 1, 21), atol=1e-12)
    assert len(metrics.CENTER_THRESHOLDS) == len(metrics.NORMALISED_THRESHOLDS) == 51


def test_perfect_tracker_scores_20_of_21() -> None:
    assert ope(track([BOX] * 3, [BOX] * 3)).percentages() == pytest.approx(
        {"AUC": 100 * 20 / 21, "OP50": 100, "OP75": 100, "Precision": 100, "NormPrecision": 100}
    )


@pytest.mark.parametrize("convention", OPE_CONVENTIONS)
def test_first_prediction_is_replaced_and_counts(convention: str) -> None:
    tracked = track([BOX] * 4, [FAR, BOX, FAR, FAR], visible=np.ones(4))
    assert ope(tracked, "lasot", convention).fractions()["OP50"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("boxes", "hits"),
    [
        pytest.param([BOX, EMPTY, EMPTY, BOX], 4, id="a chain repeats the last box"),
        pytest.param([EMPTY, EMPTY, BOX, BOX], 3, id="repair runs before the first box is given"),
        pytest.param([BOX, FAR, EMPTY, BOX], 2, id="a wrong box is repeated too"),
        pytest.param([BOX, (20, 30, 40, 0), BOX, BOX], 4, id="height 0 is enough"),
    ],
)
def test_boxes_without_area_repeat_the_previous_one(boxes: list, hits: int) -> None:
    assert ope(track([BOX] * 4, boxes)).fractions()["OP50"] == hits / 4


def test_empty_box_is_kept_where_the_truth_is_nan() -> None:
    # Frame 1 is not repaired, so frame 2 repeats its empty box and misses.
    tracked = track([BOX, NAN, BOX, BOX], [BOX, EMPTY, EMPTY, BOX])
    assert ope(tracked, "uav").fractions()["OP50"] == 2 / 4


@pytest.mark.parametrize(
    ("kind", "precision", "normalised"),
    [
        # 2 of 4 frames are tracked; the other 2 are absent.
        pytest.param("lasot", 0.5, 0.5, id="lasot: absent frames are misses"),
        pytest.param("uav", 1.0, 1.0, id="uav: absent frames are hits of both precisions"),
        pytest.param("avist", 0.5, 1.0, id="others: hits of the normalised precision only"),
    ],
)
def test_absent_frames(kind: str, precision: float, normalised: float) -> None:
    tracked = track([BOX] * 4, [BOX, BOX, FAR, FAR], visible=np.array([1, 1, 0, 0]))
    score = ope(tracked, kind)
    assert (
        score.fractions()["OP50"],
        score.fractions()["Precision"],
        score.fractions()["NormPrecision"],
    ) == (0.5, precision, normalised)


def test_trek150_leaves_frames_without_the_target_out() -> None:
    gone = (-1, -1, -1, -1)
    tracked = track([BOX, BOX, gone, gone, BOX], [FAR, BOX, BOX, FAR, FAR])
    score = ope(tracked, "trek150", default_convention("trek150")).fractions()
    # Of three frames that show it, the first is given and the second is right.
    for name in ("OP50", "Precision", "NormPrecision"):
        assert score[name] == pytest.approx(2 / 3), name
    with pytest.raises(ResultsError, match=r"2 rows for 3 frames; TREK-150's protocol refuses"):
        ope(track([BOX] * 3, [BOX] * 2), "trek150", default_convention("trek150"))


def test_dividing_by_valid_frames_can_exceed_all() -> None:
    tracked = track([BOX, BOX, BOX, NAN], [BOX] * 4)
    score = ope(tracked, "uav", "seqtrack_exclude_invalid_frames")
    assert score.fractions()["Precision"] == pytest.approx(4 / 3)
    assert score.fractions()["OP50"] == 1


def test_pytracking_also_wants_a_positive_corner() -> None:
    tracked = track([BOX, (0, 30, 40, 50)], [BOX, (0, 30, 40, 50)])
    assert ope(tracked).fractions()["OP50"] == 1
    assert ope(tracked, convention="pytracking").fractions()["OP50"] == 0.5


def test_missing_rows_are_empty_boxes_that_may_still_be_near() -> None:
    near_origin = (0.5, 0.5, 8.0, 8.0)
    score = ope(track([BOX, near_origin], [BOX]))
    assert score.fractions()["OP50"] == 0.5
    assert score.fractions()["Precision"] == 1  # the empty box has its centre at (-0.5, -0.5)


def test_surplus_rows_are_cut() -> None:
    assert ope(track([BOX] * 2, [BOX, BOX, FAR]), "otb").fractions()["OP50"] == 1


def test_matlab_port_counts_visible_frames_without_truth_as_precise() -> None:
    tracked = track([BOX, EMPTY], [BOX, FAR], visible=np.ones(2))
    assert ope(tracked, "lasot", "lasot_matlab_port").fractions()["Precision"] == 1
    assert ope(tracked, "lasot").fractions()["Precision"] == 0.5


def test_matlab_port_repairs_what_others_refuse() -> None:
    tracked = track([BOX] * 3, [BOX, NAN, (1, 1, -2, 5)], visible=np.ones(3))
    assert ope(tracked, "lasot", "lasot_matlab_port").fractions()["OP50"] == 1


def test_matlab_port_leaves_lost_sequences_out_of_the_mean() -> None:
    good = track([BOX] * 2, [BOX] * 2, "good", visible=np.array([1, 1]))
    # The first frame of a sequence always overlaps, so only an absent target scores nothing.
    lost = track([BOX] * 2, [FAR] * 2, "lost", visible=np.array([0, 0]))
    ours = score_dataset([good, lost], "lasot").total.percentages()
    theirs = score_dataset([good, lost], "lasot", "lasot_matlab_port").total.percentages()
    assert (ours["OP50"], theirs["OP50"]) == (50, 100)


def test_otb_toolkit_repeats_the_last_box_and_calls_empty_truth_precise() -> None:
    short = track([BOX] * 4, [BOX, BOX])
    assert ope(short, "otb", "otb_matlab").fractions()["OP50"] == 1
    assert ope(short).fractions()["OP50"] == 0.5
    broken = track([BOX] * 4, [BOX, NAN, (1, 1, -2, 5), BOX])
    assert ope(broken, "otb", "otb_matlab").fractions()["OP50"] == 1
    empty = track([BOX, EMPTY], [BOX, FAR])
    assert ope(empty, "otb", "otb_matlab").fractions()["Precision"] == 1
    assert ope(empty, "otb", "pytracking").fractions()["Precision"] == 0.5


def test_port_of_the_otb_toolkit_rounds_errors_of_the_centre() -> None:
    tracked = track([BOX] * 2, [BOX, (40.00004, 30, 40, 50)])
    assert ope(tracked, "otb", "otb_python_port").fractions()["Precision"] == 1
    assert ope(tracked, "otb", "otb_matlab").fractions()["Precision"] == 0.5


def test_both_masks_with_both_divisors() -> None:
    tracked = track([BOX, BOX, (0, 30, 40, 50), EMPTY], [BOX, BOX, FAR, FAR])
    by_size = ope(tracked, convention="seqtrack_exclude_invalid_frames")
    by_all = ope(tracked, convention="pytracking_exclude_invalid_frames")
    assert by_size.fractions()["OP50"] == pytest.approx(2 / 3)
    assert by_all.fractions()["OP50"] == 1


def test_got10k_toolkit_shortens_the_truth_and_drops_nan() -> None:
    tracked = track([BOX, NAN, BOX, BOX], [BOX, BOX, BOX])
    assert ope(tracked, "uav", "got10k_toolkit_OPE_uav").fractions()["OP50"] == 1
    assert ope(tracked, "uav", "got10k_toolkit_OPE_otb").fractions()["OP50"] == pytest.approx(2 / 3)


def test_got10k_toolkit_divides_by_one_pixel_at_least() -> None:
    tracked = track([BOX, (20, 30, 0.25, 0.25)], [BOX, (20.1, 30, 0.25, 0.25)])
    assert ope(tracked, convention="got10k_toolkit_OPE_otb").fractions()["NormPrecision"] == 1
    assert ope(tracked).fractions()["NormPrecision"] == 0.5


def test_data_set_score_is_the_mean_over_sequences() -> None:
    short = track([BOX] * 2, [BOX] * 2, "short")
    long = track([BOX] * 8, [BOX] + [FAR] * 7, "long")
    score = score_dataset([short, long], "otb")
    assert score.total.percentages()["OP50"] == pytest.approx(100 * (1 + 1 / 8) / 2)
    assert score.sequences["long"].percentages()["OP50"] == pytest.approx(100 / 8)


def test_got10k_pools_frames_and_leaves_out_the_first() -> None:
    known: dict[str, Any] = {"resolution": (1000, 1000)}
    short = track([BOX] * 3, [FAR, BOX, BOX], "short", cover=np.full(3, 8), **known)
    long = track([BOX] * 7, [BOX] + [FAR] * 6, "long", cover=np.full(7, 8), **known)
    score = score_dataset([short, long], "got10k_val")
    assert score.convention == "cover_bound"
    assert score.total.percentages()["AO"] == pytest.approx(100 * 2 / 8)


def test_got10k_leaves_out_hidden_frames() -> None:
    tracked = track([BOX] * 4, [BOX, BOX, FAR, FAR], cover=np.array([8, 1, 0, 0]))
    assert overlaps(tracked, "cover").ao == pytest.approx(1)
    assert overlaps(tracked, "no_cover_no_bound").ao == pytest.approx(1 / 3)
    assert overlaps(tracked, "got10k_toolkit").ao == pytest.approx(1)


def test_got10k_sequence_without_counted_frames_does_not_count() -> None:
    hidden = track([BOX] * 2, [BOX] * 2, "hidden", cover=np.zeros(2))
    seen = track([BOX] * 2, [BOX] * 2, "seen", cover=np.full(2, 8))
    score = score_dataset([hidden, seen], "got10k_val", "cover")
    assert np.isnan(score.sequences["hidden"].percentages()["AO"])
    assert score.total.percentages()["AO"] == pytest.approx(100)
    assert np.isnan(score_dataset([hidden], "got10k_val", "cover").total.percentages()["AO"])


LENGTHS: dict[str, Any] = {"cover": np.full(2, 8), "resolution": (640, 480)}


@pytest.mark.parametrize(
    ("tracked", "kind", "error", "message"),
    [
        pytest.param(
            track([BOX] * 2, [BOX, NAN]),
            "otb",
            ResultsError,
            "out/s.txt:2: not four finite",
            id="nan",
        ),
        pytest.param(
            track([BOX] * 2, [BOX, (1, 2, 3, -4)]),
            "otb",
            ResultsError,
            "out/s.txt:2: negative size 3 x -4",
            id="negative size",
        ),
        pytest.param(
            track([BOX, NAN], [BOX] * 2),
            "nfs",
            DataError,
            "data/s/groundtruth.txt:2: NaN in the ground truth",
            id="nan in the truth",
        ),
        pytest.param(
            track([BOX, (np.nan, 1, 2, 3)], [BOX] * 2),
            "uav",
            DataError,
            "data/s/groundtruth.txt:2: NaN beside",
            id="half a truth",
        ),
        pytest.param(
            track([BOX] * 2, [BOX], visible=np.ones(2)),
            "lasot",
            ResultsError,
            "out/s.txt: 1 rows for 2 frames",
            id="short for lasot",
        ),
        pytest.param(
            track([BOX] * 2, [BOX] * 2), "lasot", DataError, "needs visibility flags", id="no flags"
        ),
        pytest.param(
            track([BOX] * 2, [BOX], **LENGTHS),
            "got10k_val",
            ResultsError,
            "out/s.txt: 1 rows for 2 frames",
            id="short for got10k",
        ),
        pytest.param(
            track([BOX] * 2, [BOX] * 3, **LENGTHS),
            "got10k_val",
            ResultsError,
            "out/s.txt: 3 rows for 2 frames",
            id="long for got10k",
        ),
        pytest.param(
            track([BOX] * 2, [BOX] * 2, resolution=(9, 9)),
            "got10k_val",
            DataError,
            "needs its cover flags",
            id="no cover flags",
        ),
        pytest.param(
            track([BOX] * 2, [BOX] * 2, cover=np.full(2, 8)),
            "got10k_val",
            DataError,
            "needs the size of its images",
            id="no image size",
        ),
    ],
)
def test_what_a_protocol_refuses(
    tracked: TrackedSequence, kind: str, error: type[SeqTrackError], message: str
) -> None:
    with pytest.raises(error) as caught:
        score_sequence(tracked, kind)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_valid_frame_to_divide_by() -> None:
    with pytest.raises(DataError, match="no frame has a valid ground truth"):
        score_sequence(track([EMPTY], [BOX]), "otb", "seqtrack_exclude_invalid_frames")
    with pytest.raises(DataError, match="no frame has a ground truth"):
        score_sequence(track([NAN], [BOX]), "uav", "got10k_toolkit_OPE_uav")
    with pytest.raises(DataError, match="no sequence"):
        score_dataset([], "otb")


@pytest.mark.parametrize(
    ("truth", "predicted", "known"),
    [
        pytest.param(np.zeros((0, 4)), np.zeros((1, 4)), {}, id="no frames"),
        pytest.param(np.zeros(4), np.zeros((1, 4)), {}, id="truth is one flat row"),
        pytest.param(np.zeros((2, 4)), np.zeros((2, 8)), {}, id="results are polygons"),
        pytest.param(np.zeros((2, 4)), np.zeros((2, 4)), {"visible": np.ones(3)}, id="flags"),
    ],
)
def test_arrays_of_other_shapes_are_refused(
    truth: np.ndarray, predicted: np.ndarray, known: dict[str, Any]
) -> None:
    with pytest.raises(SeqTrackError, match=r"expected|flags for"):
        TrackedSequence("s", truth, predicted, **known)


def test_wrong_names_get_a_hint() -> None:
    with pytest.raises(SeqTrackError, match="did you mean 'pytracking'"):
        convention_named("pytrackin")
    with pytest.raises(DataError, match="did you mean 'lasot'"):
        check_kind("lasott")
    with pytest.raises(DataError, match="unknown scoring protocol"):
        score_sequence(track([BOX], [BOX]), "nothing")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("lasot", "got10k_val")])
def test_every_kind_scores_by_default(kind: str) -> None:
    assert ope(track([BOX] * 2, [BOX] * 2), kind).fractions()["OP50"] == 1
