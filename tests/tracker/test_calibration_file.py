"""lib/tracker/calibration: the fit, and its file beside the weights."""

import json
import math

import numpy as np
import pytest

from lib.tracker.calibration import (
    OF_LOOKS,
    OF_PLACE,
    Calibration,
    Regression,
    calibration_path,
)
from lib.tracker.evidence import FEATURES
from lib.utils.errors import CheckpointError, DataError


def fitted() -> tuple[Calibration, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(4000, len(FEATURES))) * 3 + 1
    truth = 1 / (1 + np.exp(-(evidence[:, 0] - 0.5 * evidence[:, 3])))
    good = rng.random(4000) < truth
    parts = (Regression.fit(evidence, good, without=out) for out in ((), OF_PLACE, OF_LOOKS))
    return Calibration(*parts, {"date": "today"}), evidence, truth


def flat(count: int, weight: float = 0.0, bias: float = 0.0, scale: float = 1.0) -> Regression:
    return Regression((0.0,) * count, (scale,) * count, (weight,) * count, bias)


def test_a_fit_finds_the_probabilities_that_made_the_data() -> None:
    made, evidence, truth = fitted()
    assert np.abs(made.whole(evidence) - truth).mean() < 0.02


def test_a_fit_is_the_likeliest_but_for_its_ridge() -> None:
    """At the maximum the slope is 0: Newton's method can be wrong in no other way."""
    _, evidence, truth = fitted()
    good = np.random.default_rng(1).random(len(truth)) < truth
    # Values far out count as five deviations, and one that never changes as nothing.
    evidence[0, 0], evidence[1, 1], evidence[:, 2] = 900.0, -900.0, 7.0
    made = Regression.fit(evidence, good)
    assert made.means == pytest.approx(evidence.mean(axis=0))
    assert made.scales[2] == 1e-3 and made.weights[2] == pytest.approx(0)
    z = ((evidence - made.means) / made.scales).clip(-5, 5)
    wrong = good - 1 / (1 + np.exp(-(z @ np.array(made.weights) + made.bias)))
    assert wrong.sum() == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(
        z.T @ wrong, 1e-3 * len(z) * np.array(made.weights), rtol=1e-6, atol=1e-6
    )


def test_a_row_that_counts_twice_is_as_two_rows() -> None:
    _, evidence, truth = fitted()
    evidence, good = evidence[:300], np.random.default_rng(1).random(300) < truth[:300]
    twice = np.concatenate([np.arange(300), np.arange(100)])
    counted = Regression.fit(evidence, good, np.where(np.arange(300) < 100, 2.0, 1.0))
    repeated = Regression.fit(evidence[twice], good[twice])
    np.testing.assert_allclose(counted.means, repeated.means)
    np.testing.assert_allclose(counted.scales, repeated.scales)
    # But for the ridge, which is a share of the number of rows.
    np.testing.assert_allclose(counted.weights, repeated.weights, atol=0.01)


def test_evidence_far_out_counts_as_five_deviations() -> None:
    count = len(FEATURES)
    made = Regression((1.0,) * count, (2.0,) * count, (1.0,) + (0.0,) * (count - 1), 0.5)
    for value, logit in ((3.0, 1.5), (99.0, 5.5), (-99.0, -4.5), (1.0, 0.5), (11.0, 5.5)):
        evidence = np.full(count, 50.0)
        evidence[0] = value
        assert float(made(evidence)) == pytest.approx(1 / (1 + math.exp(-logit)))


def test_small_scales_are_scales(tmp_path) -> None:
    path, count = tmp_path / "x.json", len(FEATURES)
    part = flat(count, weight=1.0, scale=1e-3)
    made = Calibration(part, part, part)
    made.save(path)
    assert Calibration.load(path) == made


def test_a_calibration_comes_back_from_its_file(tmp_path) -> None:
    made, _, _ = fitted()
    path = calibration_path(tmp_path / "SEQTRACK.pth.tar")
    assert path.name == "SEQTRACK.pth.tar.calibration.json"
    made.save(path)
    again = Calibration.load(path)
    assert again == made and again.record["date"] == "today"
    assert again.alone != again.whole != again.steady


@pytest.mark.parametrize(
    "broken",
    [
        lambda tree: tree | {"features": ["log_centre"]},
        lambda tree: tree | {"weights": [float("nan")] * len(FEATURES)},
        lambda tree: tree | {"weights": [1.0] * (len(FEATURES) - 1)},
        lambda tree: tree | {"means": [float("inf")] * len(FEATURES)},
        lambda tree: tree | {"bias": float("nan")},
        lambda tree: tree | {"scales": [0.0] * len(FEATURES)},
        lambda tree: {key: value for key, value in tree.items() if key != "bias"},
        lambda tree: {key: value for key, value in tree.items() if key != "alone"},
        lambda tree: tree | {"alone": None},
        lambda tree: tree | {"steady": tree["steady"] | {"bias": float("nan")}},
    ],
    ids="other_evidence nan too_few infinite nan_bias no_scale no_bias no_part empty_part "
    "nan_in_a_part".split(),
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, broken) -> None:
    path = tmp_path / "x.json"
    fitted()[0].save(path)
    path.write_text(json.dumps(broken(json.loads(path.read_text()))))
    with pytest.raises(CheckpointError, match=r"x\.json.*seqtrack calibrate"):
        Calibration.load(path)


def test_boxes_that_are_all_good_calibrate_nothing() -> None:
    with pytest.raises(DataError, match="on the target and boxes off it"):
        Regression.fit(np.zeros((3, len(FEATURES))), np.ones(3, bool))
    with pytest.raises(DataError, match="on the target and boxes off it"):
        Regression.fit(np.zeros((3, len(FEATURES))), np.zeros(3, bool))


@pytest.mark.parametrize("newer", [2, 4])
def test_a_calibration_from_before_the_last_evidence_goes_on_as_it_was_fitted(
    tmp_path, newer
) -> None:
    count = len(FEATURES) - newer
    tree = {"features": FEATURES[:count], "means": [0.5] * count, "scales": [2.0] * count}
    tree |= {"weights": [1.5] * count, "bias": -1.0, "record": {"date": "before"}}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    made = Calibration.load(path)
    evidence = np.linspace(-1, 1, len(FEATURES))
    z = (evidence[:count] - 0.5) / 2.0
    assert made.whole(evidence) == pytest.approx(1 / (1 + np.exp(1.0 - 1.5 * z.sum())))
    assert made.whole(evidence) == made.whole(np.array([*evidence[:count], *[9.0] * newer]))
    assert made.steady == made.whole and made.record == {"date": "before"}
    place = [FEATURES.index(name) for name in ("shift", "recent_jump", "recent_entropy")]
    z = np.delete(z, [i for i in place if i < count])
    assert made.alone(evidence) == pytest.approx(1 / (1 + np.exp(1.0 - 1.5 * z.sum())))
