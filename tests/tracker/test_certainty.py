"""lib/tracker/certainty: evidence of a frame, and the calibration that lies beside the weights."""

import json
import math

import numpy as np
import pytest

from lib.tracker.certainty import (
    FEATURES,
    Calibration,
    Recent,
    alike,
    calibration_path,
    distribution_evidence,
    patch_of,
    rival_of,
    template_patch,
)
from lib.tracker.engine.api import Template
from lib.utils.errors import CheckpointError


def peaks(*places: tuple[int, float], bins: int = 64) -> np.ndarray:
    """A distribution of narrow peaks."""
    values = np.full(bins, 1e-4)
    for place, height in places:
        values[place] = height
    return values


def evidence_of(values: np.ndarray, window: np.ndarray | None = None) -> dict[str, float]:
    return dict(zip(FEATURES, distribution_evidence(values, (0, 1), window), strict=False))


def test_a_sharp_distribution_is_sure_and_a_flat_one_is_not() -> None:
    sharp = evidence_of(np.stack([peaks((30, 0.9))] * 4))
    flat = evidence_of(np.full((4, 64), 1 / 64))
    assert sharp["log_centre"] > flat["log_centre"]
    assert sharp["entropy_centre"] < 0.2 and flat["entropy_centre"] == pytest.approx(1, abs=1e-6)


def test_a_second_place_is_seen_only_where_it_is_far() -> None:
    near, far = peaks((30, 0.6), (33, 0.3)), peaks((30, 0.6), (50, 0.3))
    rest = [peaks((30, 0.9))] * 3
    assert evidence_of(np.stack([near, *rest]))["rival"] < 0.01
    assert evidence_of(np.stack([far, *rest]))["rival"] == pytest.approx(0.5, abs=0.01)


def test_the_pull_of_the_window_is_how_far_it_moved_the_answer() -> None:
    window = np.ones((4, 64))
    window[:2] = np.hanning(64)
    free = np.stack([peaks((32, 0.3), (60, 0.6))] * 4)
    assert evidence_of(free * window, window)["window_pull"] == pytest.approx(28 / 64)
    assert evidence_of(free)["window_pull"] == 0


def test_the_evidence_is_that_of_its_definition() -> None:
    """By another way: one row after the other, in plain numbers."""
    values = np.random.default_rng(3).random((4, 16)) * [[1], [2], [0.5], [3]]
    for centre in ((0, 1), (2, 3)):
        found = dict(zip(FEATURES, distribution_evidence(values, centre, None), strict=False))
        rows: dict[str, list[float]] = {"log": [], "entropy": [], "skew": []}
        for row in values.tolist():
            shares = [value / sum(row) for value in row]
            rows["log"].append(math.log(max(row)))
            rows["entropy"].append(-sum(p * math.log(p) for p in shares) / math.log(16))
            mean = sum(place * p for place, p in enumerate(shares))
            rows["skew"].append(abs(mean - row.index(max(row))) / 16)
        assert found["skew"] == pytest.approx(sum(rows["skew"]) / 4)
        for word in ("log", "entropy"):
            by_row = rows[word]
            for part in (0, 1):
                places = [i for i in range(4) if (i in centre) != bool(part)]
                wanted = sum(by_row[i] for i in places) / 2
                assert found[f"{word}_{('centre', 'size')[part]}"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("at", "other", "seen"),
    [(30, 38, 0), (30, 39, 0.5), (30, 22, 0), (30, 21, 0.5), (3, 0, 0), (60, 63, 0), (9, 0, 0.5)],
)
def test_another_place_is_farther_than_an_eighth_of_the_bins(at, other, seen) -> None:
    row = np.zeros(64)
    row[at], row[other] = 0.6, 0.3
    values = np.stack([peaks((30, 0.9)) * 0.01, row, row, row])
    assert evidence_of(values)["rival"] == pytest.approx(seen, abs=0.001)
    crop, box = np.zeros((64, 64, 3), np.uint8), np.full(4, 0.5)
    assert rival_of(values, (0, 1), crop, box).share == pytest.approx(seen, abs=0.02)


@pytest.mark.parametrize(("factor", "pull"), [(1e-3, 0), (1.2e-3, 25 / 64)])
def test_what_the_window_hides_altogether_was_not_moved(factor, pull) -> None:
    window = np.ones((4, 64))
    window[0, 5] = factor
    values = np.stack([peaks((30, 0.6), (5, 8e-4))] * 4)
    assert evidence_of(values, window)["window_pull"] == pytest.approx(pull)


def test_the_pixels_of_a_patch_lie_where_they_should() -> None:
    """On a ramp, a pixel says its own place: centres of pixels meet centres of pixels."""
    rows, columns = np.mgrid[:48, :48]
    crop = np.stack([4 * columns, 4 * rows, 0 * rows], axis=2).astype(np.uint8)
    whole = patch_of(crop, np.array([0.5, 0.5, 1, 1]))
    np.testing.assert_array_equal(whole[5, :, 0], 8 * np.arange(24) + 2)
    np.testing.assert_array_equal(whole[:, 5, 1], 8 * np.arange(24) + 2)
    # From 8 to 32 and from 24 to 36: a pixel, and half a pixel.
    part = patch_of(crop, np.array([20, 30, 24, 12]) / 48)
    np.testing.assert_array_equal(part[5, :, 0], 32 + 4 * np.arange(24))
    np.testing.assert_array_equal(part[:, 5, 1], 95 + 2 * np.arange(24))
    template = Template(crop, (8 / 48, 24 / 48, 24 / 48, 12 / 48))
    np.testing.assert_array_equal(template_patch(template), part)


def test_a_patch_shows_the_box_and_nothing_else() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[16:32, 8:40] = 200
    patch = patch_of(crop, np.array([24 / 64, 24 / 64, 0.5, 0.25]))
    assert patch.shape == (24, 24, 3) and patch[2:-2, 2:-2].min() == 200
    beside = patch_of(crop, np.array([52 / 64, 52 / 64, 0.25, 0.25]))
    assert beside.max() == 0


def test_patches_are_alike_by_their_colours_whatever_their_place() -> None:
    first = np.full((24, 24, 3), 30, np.float32)
    first[:, :12] = (250, 20, 20)
    other = np.full((24, 24, 3), (20, 200, 20), np.float32)
    assert alike(first, first) == alike(first, first[::-1, ::-1]) == pytest.approx(1)
    assert alike(first, other) == 0
    other[:12] = first[:12]
    assert alike(first, other) == pytest.approx(2**-0.5)


def test_four_levels_of_each_colour_are_told_apart() -> None:
    def grey(level: int) -> np.ndarray:
        return np.full((24, 24, 3), level, np.uint8)

    for low, high in ((0, 63), (64, 127), (128, 191), (192, 255)):
        assert alike(grey(low), grey(high)) == pytest.approx(1)
    for level in (63, 127, 191):
        assert alike(grey(level), grey(level + 1)) == 0


def test_the_rival_is_shown_where_the_network_saw_it() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[24:40, 40:64] = 90
    values = np.stack([peaks((10, 0.6), (52, 0.3)), *[peaks((32, 0.9))] * 3])
    rival = rival_of(values, (0, 1), crop, np.array([10 / 63, 0.5, 0.25, 0.2]))
    assert rival.share == pytest.approx(0.5) and rival.patch.mean() > 80


def test_a_rival_above_or_below_is_shown_there() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[40:, 24:40] = 90
    values = np.stack([*[peaks((32, 0.9))] * 3, peaks((10, 0.6), (52, 0.4))])
    rival = rival_of(values, (2, 3), crop, np.array([0.5, 10 / 63, 0.2, 0.25]))
    # The axes of the centre, wherever it stands among the tokens.
    assert rival.share == pytest.approx(2 / 3)
    wanted = patch_of(crop, np.array([0.5, 52 / 63, 0.2, 0.25]))
    assert wanted.max() > 80
    np.testing.assert_array_equal(rival.patch, wanted)


def fitted() -> tuple[Calibration, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(4000, len(FEATURES))) * 3 + 1
    truth = 1 / (1 + np.exp(-(evidence[:, 0] - 0.5 * evidence[:, 3])))
    good = rng.random(4000) < truth
    return Calibration.fit(evidence, good, {"date": "today"}), evidence, truth


def test_a_fit_finds_the_probabilities_that_made_the_data() -> None:
    made, evidence, truth = fitted()
    assert np.abs(made(evidence) - truth).mean() < 0.02


def test_a_fit_is_the_likeliest_but_for_its_ridge() -> None:
    """At the maximum the slope is 0: Newton's method can be wrong in no other way."""
    _, evidence, truth = fitted()
    good = np.random.default_rng(1).random(len(truth)) < truth
    # Values far out count as five deviations, and one that never changes as nothing.
    evidence[0, 0], evidence[1, 1], evidence[:, 2] = 900.0, -900.0, 7.0
    made = Calibration.fit(evidence, good)
    assert made.means == pytest.approx(evidence.mean(axis=0))
    assert made.scales[2] == 1e-3 and made.weights[2] == pytest.approx(0)
    z = ((evidence - made.means) / made.scales).clip(-5, 5)
    wrong = good - 1 / (1 + np.exp(-(z @ np.array(made.weights) + made.bias)))
    assert wrong.sum() == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(
        z.T @ wrong, 1e-3 * len(z) * np.array(made.weights), rtol=1e-6, atol=1e-6
    )


def test_evidence_far_out_counts_as_five_deviations() -> None:
    count = len(FEATURES)
    made = Calibration((1.0,) * count, (2.0,) * count, (1.0,) + (0.0,) * (count - 1), 0.5)
    for value, logit in ((3.0, 1.5), (99.0, 5.5), (-99.0, -4.5), (1.0, 0.5), (11.0, 5.5)):
        evidence = np.full(count, 50.0)
        evidence[0] = value
        assert float(made(evidence)) == pytest.approx(1 / (1 + math.exp(-logit)))


def test_small_scales_are_scales(tmp_path) -> None:
    path, count = tmp_path / "x.json", len(FEATURES)
    made = Calibration((0.0,) * count, (1e-3,) * count, (1.0,) * count, 0.0)
    made.save(path)
    assert Calibration.load(path) == made


def test_a_calibration_comes_back_from_its_file(tmp_path) -> None:
    made, evidence, _ = fitted()
    path = calibration_path(tmp_path / "SEQTRACK.pth.tar")
    assert path.name == "SEQTRACK.pth.tar.calibration.json"
    made.save(path)
    again = Calibration.load(path)
    assert np.array_equal(again(evidence), made(evidence)) and again.record["date"] == "today"


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
    ],
    ids=["other evidence", "nan", "too few", "infinite", "nan bias", "no scale", "no bias"],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, broken) -> None:
    path = tmp_path / "x.json"
    fitted()[0].save(path)
    path.write_text(json.dumps(broken(json.loads(path.read_text()))))
    with pytest.raises(CheckpointError, match=r"x\.json.*seqtrack calibrate"):
        Calibration.load(path)


def test_boxes_that_are_all_good_calibrate_nothing() -> None:
    with pytest.raises(ValueError, match="on the target and boxes off it"):
        Calibration.fit(np.zeros((3, len(FEATURES))), np.ones(3, bool))
    with pytest.raises(ValueError, match="on the target and boxes off it"):
        Calibration.fit(np.zeros((3, len(FEATURES))), np.zeros(3, bool))


def test_a_calibration_from_before_the_last_evidence_goes_on_as_it_was_fitted(tmp_path) -> None:
    count = len(FEATURES) - 2
    tree = Calibration((0.5,) * count, (2.0,) * count, (1.5,) * count, -1.0).tree()
    path = tmp_path / "x.json"
    path.write_text(json.dumps(tree | {"features": FEATURES[:-2]}), encoding="utf-8")
    made = Calibration.load(path)
    evidence = np.linspace(-1, 1, len(FEATURES))
    z = (evidence[:-2] - 0.5) / 2.0
    assert made(evidence) == pytest.approx(1 / (1 + np.exp(1.0 - 1.5 * z.sum())))
    assert made(evidence) == made(np.array([*evidence[:-2], 9.0, 9.0]))


def test_a_jump_is_remembered_for_a_while_and_the_spread_for_less() -> None:
    now = Recent()
    now = now.after(0.1, 0.2)
    assert (now.jump, now.entropy) == (0.1, 0.2)
    now = now.after(1.5, 0.8)
    assert now.jump == 1.5 and now.entropy == pytest.approx(0.38)
    for _ in range(34):
        now = now.after(0.0, 0.2)
    assert now.jump == pytest.approx(0.75, abs=0.01)
    assert now.entropy == pytest.approx(0.2, abs=1e-4)
    assert now.evidence() == (pytest.approx(np.log(now.jump + 0.02)), now.entropy)
