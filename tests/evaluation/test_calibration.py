"""lib/evaluation/calibration.py: what is learned from, and that nothing judges itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.datasets.sequence import Video
from lib.evaluation import calibration
from lib.evaluation.calibration import Observed, held_out, observe, pooled
from lib.tracker.certainty import Calibration
from tests.helpers.memory_set import MemoryFrames

BOX = (20.0, 30.0, 40.0, 50.0)
HALF = (20.0, 30.0, 40.0, 25.0)  # overlaps BOX by a half
LESS = (20.0, 30.0, 40.0, 24.9)
UNKNOWN = (np.nan,) * 4


def seen(monkeypatch, boxes, truth, visible=None, frames=None) -> tuple[list, list]:
    """Frame numbers that were kept, and whether their boxes were good; a tracker gave `boxes`."""
    video = Video(
        "v",
        MemoryFrames("v", frames or len(truth)),
        np.array([BOX, *truth]),
        None if visible is None else np.array([True, *visible]),
    )
    given = iter(enumerate(boxes, start=1))

    def step(engine, settings, states, images, witness):
        number, box = next(given)
        np.testing.assert_array_equal(images, [video.frames.read(number)])
        sight = SimpleNamespace(evidence=np.array([number]))
        return [SimpleNamespace(state=SimpleNamespace(box=box), sight=sight)]

    monkeypatch.setattr(calibration, "start_target", lambda *given: None)
    monkeypatch.setattr(calibration, "track_step", step)
    tracker = SimpleNamespace(engine=None, settings=None)
    found = observe(tracker, None, video)
    return found.evidence[:, 0].tolist(), found.good.tolist()


def test_half_of_the_target_is_good(monkeypatch) -> None:
    boxes, truth = [BOX, HALF, LESS, BOX], [BOX] * 4
    assert seen(monkeypatch, boxes, truth, frames=5) == ([1, 2, 3, 4], [True, True, False, True])


def test_frames_without_truth_are_left_out(monkeypatch) -> None:
    boxes, truth = [BOX] * 4, [BOX, UNKNOWN, (20.0, np.nan, 40.0, 50.0), BOX]
    assert seen(monkeypatch, boxes, truth, frames=5) == ([1, 4], [True, True])


def test_a_target_that_is_away_is_on_no_box(monkeypatch) -> None:
    boxes, truth = [BOX] * 4, [BOX, BOX, UNKNOWN, UNKNOWN]
    found = seen(monkeypatch, boxes, truth, [True, False, False, True], frames=5)
    assert found == ([1, 2, 3], [True, False, False])


@pytest.mark.parametrize(("frames", "truth"), [(3, 9), (9, 2)])
def test_the_shorter_one_of_frames_and_truth_counts(monkeypatch, frames, truth) -> None:
    flags = [True] * truth
    for visible in (None, flags):
        found = seen(monkeypatch, [BOX] * 9, [BOX] * truth, visible, frames)
        assert found == ([1, 2], [True, True])


def observed(seed: int) -> Observed:
    rng = np.random.default_rng(seed)
    evidence = rng.normal(size=(30 + seed, 2))
    return Observed(evidence, rng.random(len(evidence)) < 1 / (1 + np.exp(-evidence[:, 0])))


def test_several_videos_are_one() -> None:
    one, two = observed(1), observed(2)
    both = pooled([one, two])
    np.testing.assert_array_equal(both.evidence, np.vstack([one.evidence, two.evidence]))
    np.testing.assert_array_equal(both.good, [*one.good, *two.good])


@pytest.mark.parametrize(
    ("count", "left_out"),
    [
        pytest.param(2, [[0], [1]], id="two videos"),
        pytest.param(3, [[0], [1], [2]], id="three"),
        pytest.param(6, [[0, 5], [1], [2], [3], [4], [0, 5]], id="every fifth together"),
    ],
)
def test_nothing_judges_the_video_it_was_fitted_on(count, left_out) -> None:
    videos = [observed(seed) for seed in range(count)]
    found = held_out(videos)
    wanted = []
    for one, out in zip(videos, left_out, strict=True):
        rest = [video for i, video in enumerate(videos) if i not in out]
        evidence = np.vstack([video.evidence for video in rest])
        good = np.concatenate([video.good for video in rest])
        wanted.append(Calibration.fit(evidence, good)(one.evidence))
    np.testing.assert_allclose(found, np.concatenate(wanted))


def test_one_video_cannot_be_held_out() -> None:
    with pytest.raises(ValueError, match="two videos"):
        held_out([observed(0)])
