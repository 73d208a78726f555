"""lib/tracker/evidence: what speaks for a box, of one frame and of those before it."""

import math

import numpy as np
import pytest

from lib.tracker.appearance import Appearance, patch_of
from lib.tracker.evidence import FEATURES, Recent, distribution_evidence, rival_of


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


SPOTTED, PLAIN = (
    Appearance.of(patch)
    for patch in (
        np.random.default_rng(2).integers(0, 255, (24, 24, 3), dtype=np.uint8),
        np.full((24, 24, 3), 90, np.uint8),
    )
)


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
    jump, entropy, *_ = now.evidence(SPOTTED, SPOTTED)
    assert (jump, entropy) == (pytest.approx(np.log(now.jump + 0.02)), now.entropy)


def test_looks_are_those_of_the_template_until_a_frame_is_sure() -> None:
    now = Recent(looks=None).after(0.1, 0.2)
    *_, colours, edges = now.evidence(SPOTTED, SPOTTED)
    assert (colours, edges) == (pytest.approx(1), pytest.approx(1))
    *_, colours, edges = now.evidence(SPOTTED, PLAIN)
    assert colours < 0.2 and edges == 0


def test_looks_follow_the_sure_frames_bit_by_bit() -> None:
    now, alike = Recent(), []
    for _ in range(60):
        now = now.having_seen(SPOTTED, PLAIN)
        alike.append(now.evidence(SPOTTED, PLAIN)[2])
    assert alike == sorted(alike) and alike[0] < 0.5 < alike[19] and alike[-1] > 0.9
