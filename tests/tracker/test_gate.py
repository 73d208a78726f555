"""The gated update: only what is surely the target becomes a template."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lib.config.loader import load_config
from lib.config.paths import repository_root
from lib.tracker.appearance import patch_of
from lib.tracker.build import build_tracker, load_network
from lib.tracker.calibration import Calibration, Regression
from lib.tracker.certainty import Sight
from lib.tracker.engine.api import Template
from lib.tracker.evidence import FEATURES, Rival
from lib.tracker.gate import SURE, GateMemory, may_write, returns
from lib.tracker.seqtrack import SeqTrackTracker
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError
from tests.helpers.tiny import draw_sequence, tiny_config

WEIGHTS = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"
RNG = np.random.default_rng(7)
TARGET, OTHER = (RNG.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in "ab")
WHOLE = np.array([0.5, 0.5, 1, 1])
FIRST = Template(TARGET, (0.0, 0.0, 1.0, 1.0))
BOX = (20.0, 20.0, 20.0, 20.0)


def sight(
    certainty: float = 0.95, pixels: np.ndarray = TARGET, rival: float = 0.0, change: float = 0.0
) -> Sight:
    evidence = np.zeros(len(FEATURES))
    evidence[FEATURES.index("size_change")] = change
    seen = Rival(rival, patch_of(OTHER, WHOLE))
    return Sight(evidence, certainty, certainty, patch_of(pixels, WHOLE), rival=seen)


def memory(rejected: bool = False) -> GateMemory:
    return GateMemory(np.zeros((9, 9, 3), np.uint8), patch_of(OTHER, WHOLE) if rejected else None)


def test_a_sure_box_of_plausible_size_may_be_written() -> None:
    assert may_write(sight(), memory(), BOX, BOX, FIRST)
    assert may_write(sight(), memory(rejected=True), BOX, BOX, FIRST)


@pytest.mark.parametrize(
    ("seen", "rejected", "new"),
    [
        (sight(certainty=0.4), False, BOX),
        (sight(), False, (20.0, 20.0, 30.0, 30.0)),
        (sight(change=1.5), False, BOX),
        (sight(pixels=OTHER), True, BOX),
    ],
    ids=["not sure", "grows at once", "far from the first size", "looks like what was rejected"],
)
def test_what_may_be_something_else_is_not_written(seen, rejected, new) -> None:
    assert not may_write(seen, memory(rejected), BOX, new, FIRST)


@pytest.mark.parametrize(
    ("seen", "written"),
    [
        pytest.param(sight(certainty=SURE), True, id="just sure"),
        pytest.param(sight(certainty=SURE - 1e-6), False, id="just not sure"),
        pytest.param(sight(change=1.0), True, id="e times the first side"),
        pytest.param(sight(change=1.0 + 1e-6), False, id="more than that"),
    ],
)
def test_where_the_limits_of_a_frame_lie(seen, written) -> None:
    assert may_write(seen, memory(), BOX, BOX, FIRST) is written


@pytest.mark.parametrize(("width", "height"), [(0.3, 0.1), (-0.3, -0.1), (0.9, -0.5)])
def test_a_side_may_change_by_a_fifth(width: float, height: float) -> None:
    """The side is the geometric mean of width and height; 0.2 is its change, as a logarithm."""
    old = (20.0, 20.0, 10.0, 40.0)
    for share, written in ((0.999, True), (1.001, False)):
        w, h = 10 * np.exp(width * share), 40 * np.exp(height * share)
        assert may_write(sight(), memory(), old, (0.0, 0.0, w, h), FIRST) is written


def test_as_like_the_rejected_as_the_first_is_too_like() -> None:
    same = GateMemory(np.zeros((9, 9, 3), np.uint8), patch_of(TARGET, WHOLE))
    assert not may_write(sight(), same, BOX, BOX, FIRST)


def test_a_look_alike_has_a_fifth_of_the_probability() -> None:
    image = np.ones((9, 9, 3), np.uint8)
    for rival, certainty, kept in ((0.2, SURE, True), (0.199, SURE, False), (0.2, 0.699, False)):
        after = memory().after(image, sight(certainty, rival=rival))
        assert (after.rejected is not None) is kept and after.image is image
    nobody = replace(sight(), rival=None)
    assert memory().after(image, nobody).rejected is None


def test_the_last_distractor_is_kept() -> None:
    image = np.ones((9, 9, 3), np.uint8)
    none = memory().after(image, sight(rival=0.01))
    one = none.after(image, sight(rival=0.6))
    assert none.rejected is None and np.array_equal(one.rejected, patch_of(OTHER, WHOLE))
    assert one.after(image, sight(rival=0.01)).rejected is one.rejected
    # Who is not sure cannot tell which of two places is the target.
    assert none.after(image, sight(certainty=0.3, rival=0.6)).rejected is None


def test_tracking_back_must_come_to_the_old_box() -> None:
    assert returns((21.0, 20.0, 20.0, 20.0), BOX) and not returns((35.0, 20.0, 20.0, 20.0), BOX)
    # At an overlap of 0.6, and a little below.
    assert returns((20.0, 20.0, 12.0, 20.0), BOX) and not returns((20.0, 20.0, 11.99, 20.0), BOX)


def tracker(rule: str, sure: float, *more: str) -> SeqTrackTracker:
    cfg = load_config(
        "seqtrack_tiny",
        [
            f"TEST.UPDATE_RULE={rule}",
            "TEST.NUM_TEMPLATES=2",
            "TEST.UPDATE_INTERVALS.DEFAULT=1",
            "TEST.HOLD_BELOW=0",
            *more,
        ],
    )
    # Says the same of every box.
    fixed = said_by((0.0,) * len(FEATURES), sure)
    return SeqTrackTracker(load_network(cfg, WEIGHTS), cfg, calibration=fixed)


def said_by(weights: Sequence[float], bias: float) -> Calibration:
    count = len(FEATURES)
    part = Regression((0.0,) * count, (1.0,) * count, tuple(weights), float(bias))
    return Calibration(part, part, part)


def writes(made: SeqTrackTracker, frames, box) -> int:
    made.initialize(frames[0], {"init_bbox": box})
    return sum(made.track(frame)["template_updated"] for frame in frames[1:])


def test_the_interval_asks_nobody_and_the_gate_does() -> None:
    frames, boxes = draw_sequence(6)
    assert writes(tracker("interval", -9), frames, boxes[0]) == 5
    assert writes(tracker("gated", -9), frames, boxes[0]) == 0
    assert writes(tracker("gated", 9), frames, boxes[0]) > 0


@pytest.mark.parametrize(
    ("sure", "lost"), [(9, "false"), (-9, "true")], ids=["all is written", "all is lost"]
)
def test_many_gated_targets_in_one_step_equal_one_at_a_time(sure, lost) -> None:
    made = tracker("gated", sure, f"TEST.LOST.ACTIVE={lost}")
    videos = [draw_sequence(7, width=96 + 16 * k, seed=k) for k in range(2)]
    alone = []
    for frames, boxes in videos:
        made.initialize(frames[0], {"init_bbox": boxes[0]})
        alone.append([made.track(frame) for frame in frames[1:]])
    states = [made.start(frames[0], boxes[0])[0] for frames, boxes in videos]
    for i in range(1, 7):
        answers = made.step(states, [frames[i] for frames, _ in videos])
        states = [state for state, _ in answers]
        for k in range(2):
            found, expected = answers[k][1], alone[k][i - 1]
            np.testing.assert_allclose(found["target_bbox"], expected["target_bbox"], atol=1e-3)
            assert found.get("state") == expected.get("state")
    assert (answers[0][1].get("state") == "lost") == (lost == "true")


def test_the_newest_template_is_asked_in_doubt_and_the_surer_answer_counts(monkeypatch) -> None:
    """A network that was trained with one template never gets two at a time."""
    frames, boxes = draw_sequence(3)
    made = tracker("gated", 0)
    by_centre = [0.1 * (name == "log_centre") for name in FEATURES]
    made.witness.calibration = said_by(by_centre, 0)
    state, _ = made.start(frames[0], boxes[0])
    other, _ = made.start(frames[1], boxes[0] + 12)
    first, newest = state.templates[0], other.templates[0]
    asked: list[list[tuple]] = []
    generate = made.engine.generate

    def noted(rows, crops):
        asked.append(list(rows))
        return generate(rows, crops)

    monkeypatch.setattr(made.engine, "generate", noted)

    def answer(*templates):
        ((_, found),) = made.step([replace(state, templates=templates)], [frames[2]])
        return found

    alone = [answer(first, first), answer(newest, newest)]
    assert [len(rows) for rows in asked] == [1, 1]
    both = answer(first, newest)
    assert asked[2:] == [[(first, first)], [(newest, newest)]]
    assert both["certainty"] == max(one["certainty"] for one in alone) < SURE
    assert alone[0]["certainty"] != alone[1]["certainty"]
    made.witness.calibration = said_by(by_centre, 9)
    asked.clear()
    answer(first, newest)
    assert asked[0] == [(first, first)]
    assert (newest, newest) not in [row for rows in asked for row in rows]


def test_without_a_calibration_nobody_knows_what_is_sure() -> None:
    cfg = tiny_config(TEST={"UPDATE_RULE": "gated"})
    with pytest.raises(ConfigError, match="seqtrack calibrate"):
        build_tracker(TrackerSpec("seqtrack", "tiny", cfg))


def test_a_state_is_told_only_where_it_is_asked_for() -> None:
    frames, boxes = draw_sequence(3)
    made = tracker("interval", 9)
    assert "state" not in made.initialize(frames[0], {"init_bbox": boxes[0]})
    assert "state" not in made.track(frames[1])
    cfg = load_config("seqtrack_tiny", ["TEST.LOST.ACTIVE=true"])
    watching = SeqTrackTracker(made.engine, cfg, calibration=made.witness.calibration)
    assert watching.initialize(frames[0], {"init_bbox": boxes[0]})["state"] == "tracked"
    assert watching.track(frames[1])["state"] == "tracked"
    never = said_by((0.0,) * len(FEATURES), -9)
    doubting = SeqTrackTracker(made.engine, cfg, calibration=never)
    doubting.initialize(frames[0], {"init_bbox": boxes[0]})
    answers = [doubting.track(frames[1]) for _ in range(6)]
    assert answers[-1]["state"] == "lost" and answers[-1]["certainty"] < 0.01
    # What is half hidden is best followed from where it is: boxes are those without a state.
    plainly = SeqTrackTracker(made.engine, load_config("seqtrack_tiny"))
    plainly.initialize(frames[0], {"init_bbox": boxes[0]})
    plain = [plainly.track(frames[1])["target_bbox"] for _ in range(6)]
    np.testing.assert_allclose([one["target_bbox"] for one in answers], plain, atol=1e-3)
