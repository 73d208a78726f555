"""lib/tracker/certainty: evidence of a frame, and the calibration that lies beside the weights."""

import json

import numpy as np
import pytest

from lib.tracker.certainty import (
    FEATURES,
    Calibration,
    alike,
    calibration_path,
    distribution_evidence,
    patch_of,
    rival_of,
)
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


def test_the_rival_is_shown_where_the_network_saw_it() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[24:40, 40:64] = 90
    values = np.stack([peaks((10, 0.6), (52, 0.3)), *[peaks((32, 0.9))] * 3])
    rival = rival_of(values, (0, 1), crop, np.array([10 / 63, 0.5, 0.25, 0.2]))
    assert rival.share == pytest.approx(0.5) and rival.patch.mean() > 80


def fitted() -> tuple[Calibration, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(4000, len(FEATURES))) * 3 + 1
    truth = 1 / (1 + np.exp(-(evidence[:, 0] - 0.5 * evidence[:, 3])))
    good = rng.random(4000) < truth
    return Calibration.fit(evidence, good, {"date": "today"}), evidence, truth


def test_a_fit_finds_the_probabilities_that_made_the_data() -> None:
    made, evidence, truth = fitted()
    assert np.abs(made(evidence) - truth).mean() < 0.02


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
        lambda tree: tree | {"scales": [0.0] * len(FEATURES)},
        lambda tree: {key: value for key, value in tree.items() if key != "bias"},
    ],
    ids=["other evidence", "nan", "no scale", "no bias"],
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
