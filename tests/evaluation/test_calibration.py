"""lib/evaluation/calibration.py: what is learned from, and that nothing judges itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.datasets.sequence import Video
from lib.evaluation import calibration
from lib.evaluation.calibration import Observed, balanced, fit, held_out, observe, pooled
from lib.tracker.calibration import Regression
from lib.tracker.evidence import FEATURES
from lib.utils.errors import DataError
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
        return [answer(number, box)]

    monkeypatch.setattr(calibration, "start_target", lambda *given: state_at(BOX))
    monkeypatch.setattr(calibration, "track_step", step)
    monkeypatch.setattr(calibration, "look_at", lambda *given: [])
    tracker = SimpleNamespace(engine=None, settings=None)
    found = observe(tracker, None, video)
    return found.evidence[:, 0].tolist(), found.good.tolist()


def state_at(box) -> SimpleNamespace:
    return SimpleNamespace(box=tuple(box))


def answer(evidence: float, box) -> SimpleNamespace:
    sight = SimpleNamespace(evidence=np.array([evidence, 0.0]))
    return SimpleNamespace(state=state_at(box), sight=sight)


def looked_at(monkeypatch, truth, visible=None) -> tuple[list, calibration.Observed]:
    """Frame number, state and places of each time places were looked at; boxes come one by one."""
    asked: list[tuple] = []
    frames = MemoryFrames("v", 1 + len(truth))
    flags = None if visible is None else np.array([True, *visible])
    video = Video("v", frames, np.array([BOX, *truth]), flags)
    numbers = iter(range(1, 99))

    def look(engine, settings, state, image, places, witness):
        (number,) = [i for i in range(len(frames)) if np.array_equal(frames.read(i), image)]
        asked.append((number, state, places))
        return [answer(number + place / 10, BOX) for place in range(len(places))]

    def step(engine, settings, states, images, witness):
        number = next(numbers)
        return [answer(number, (number, number, 10.0, 10.0))]

    monkeypatch.setattr(calibration, "start_target", lambda *given: state_at(BOX))
    monkeypatch.setattr(calibration, "track_step", step)
    monkeypatch.setattr(calibration, "look_at", look)
    found = observe(SimpleNamespace(engine=None, settings=None), None, video)
    return asked, found


def test_in_every_other_frame_two_places_are_looked_at(monkeypatch) -> None:
    asked, found = looked_at(monkeypatch, [BOX, BOX, BOX, HALF, LESS, LESS])
    assert [number for number, _, _ in asked] == [2, 4, 6]
    assert found.elsewhere[:, 0].tolist() == [2.0, 2.1, 4.0, 4.1, 6.0, 6.1]
    assert found.good_there.tolist() == [True, True, True, True, False, False]
    # As the target was before that frame.
    assert [state.box[0] for _, state, _ in asked] == [1, 3, 5]
    again, _ = looked_at(monkeypatch, [BOX, BOX, BOX, HALF, LESS, LESS])
    assert [places for *_, places in again] == [places for *_, places in asked]


def test_one_of_two_places_may_show_a_target_that_is_there(monkeypatch) -> None:
    visible = [True] * 40 + [False] * 40
    asked, _ = looked_at(monkeypatch, [BOX] * 40 + [UNKNOWN] * 40, visible)
    size = MemoryFrames("v", 1).read(0).shape[:2]
    near, far = [], []
    for number, state, places in asked:
        (x, y, w, h), other = places
        centres = np.array(
            [[x + w / 2, y + h / 2], [other[0] + other[2] / 2, other[1] + other[3] / 2]]
        )
        assert (centres >= 0).all() and (centres <= size[::-1]).all()
        assert other[2:] == state.box[2:]
        side = (BOX[2] * BOX[3]) ** 0.5
        offset = np.abs(centres[0] - (BOX[0] + BOX[2] / 2, BOX[1] + BOX[3] / 2)).max() / side
        (near if number <= 40 else far).append(offset)
        if number <= 40:
            assert w / h == pytest.approx(BOX[2] / BOX[3])
            assert abs(np.log(w / BOX[2])) <= 0.3
    assert max(near) <= 1.2 and np.std(near) > 0.1
    assert len(far) == 20


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
    evidence, there = rng.normal(size=(30 + seed, len(FEATURES))), rng.normal(size=(9, 15))
    good = rng.random(len(evidence)) < 1 / (1 + np.exp(-evidence[:, 0]))
    return Observed(evidence, good, there, there[:, 1] > 0, np.ones(len(good)), np.ones(9))


def test_several_videos_are_one() -> None:
    one, two = observed(1), observed(2)
    both = pooled([one, two])
    np.testing.assert_array_equal(both.evidence, np.vstack([one.evidence, two.evidence]))
    np.testing.assert_array_equal(both.good, [*one.good, *two.good])
    np.testing.assert_array_equal(both.elsewhere, np.vstack([one.elsewhere, two.elsewhere]))
    np.testing.assert_array_equal(both.good_there, [*one.good_there, *two.good_there])


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
        wanted.append(Regression.fit(evidence, good)(one.evidence))
    np.testing.assert_allclose(found, np.concatenate(wanted))


def test_each_data_set_counts_as_much_as_the_others() -> None:
    sets = [[observed(1), observed(2), observed(3)], [observed(4)]]
    found = balanced(sets)
    assert len(found) == 4
    assert pooled(found[:3]).counts.sum() == pytest.approx(1) == found[3].counts.sum()
    assert found[0].counts[0] == found[2].counts[0] == found[1].counts_there[0] < 0.02
    both = fit(found)
    few, many = sets[1][0], pooled(sets[0])
    # As if the frames of the smaller set were there as often as those of the larger one.
    times = len(many.good) / len(few.good)
    wanted = Regression.fit(
        np.vstack([many.evidence, few.evidence]),
        np.concatenate([many.good, few.good]),
        np.concatenate([np.ones(len(many.good)), np.full(len(few.good), times)]),
    )
    np.testing.assert_allclose(both.whole.weights, wanted.weights)


def test_one_video_cannot_be_held_out() -> None:
    with pytest.raises(DataError, match="two videos"):
        held_out([observed(0)])


def test_each_regression_knows_what_it_may_know() -> None:
    """Of a frame alone nothing that hangs on its place, and of sure frames not their looks."""
    videos = [observed(seed) for seed in range(30)]
    made, evidence = fit(videos, {"date": "today"}), pooled(videos).evidence
    assert made.record == {"date": "today"}
    other = evidence.copy()
    for i, name in enumerate(FEATURES):
        other[:, i] = evidence[::-1, i]
        moved = {
            part: not np.array_equal(getattr(made, part)(other), getattr(made, part)(evidence))
            for part in ("whole", "alone", "steady")
        }
        assert moved["whole"]
        assert moved["alone"] == (name not in ("shift", "recent_jump", "recent_entropy"))
        assert moved["steady"] == (name not in ("recent_colours", "recent_edges"))
        other[:, i] = evidence[:, i]


def test_places_are_judged_by_what_was_seen_there_too() -> None:
    rng = np.random.default_rng(4)
    tracked, there = (rng.normal(size=(500, len(FEATURES))) for _ in range(2))
    good = rng.random(500) < 1 / (1 + np.exp(-2 * tracked[:, 0]))
    good_there = rng.random(500) < 1 / (1 + np.exp(-2 * there[:, 1]))
    made = fit([Observed(tracked, good, there, good_there, np.ones(500), np.ones(500))])
    alone, whole = np.array(made.alone.weights), np.array(made.whole.weights)
    assert whole[0] > 1 and abs(whole[1]) < 0.3
    assert alone[:2].min() > 0.5 and abs(alone[2:]).max() < 0.3
