"""lib/tracker/lost: the state with its hysteresis, and where a lost target is looked for."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.config.loader import load_config
from lib.config.paths import repository_root
from lib.config.schema.model import LostTarget
from lib.tracker.build import build_tracker
from lib.tracker.lost import Presence, judge, sure_of, where_to_look
from lib.tracker.spec import TrackerSpec
from lib.utils.boxes import Box

WEIGHTS = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"

RULE = LostTarget(ACTIVE=True)
BOX: Box = (100.0, 80.0, 40.0, 30.0)
SIZE = (240, 320)


def after(now: Presence, *certainties: float, box: Box = BOX, likeness: float = 1.0) -> Presence:
    for certainty in certainties:
        now, _ = judge(now, RULE, box, certainty, likeness)
    return now


def test_one_bad_frame_changes_nothing() -> None:
    assert after(sure_of(BOX), 0.0).state == "tracked"


def test_doubt_comes_before_loss_and_both_take_time() -> None:
    now, states = sure_of(BOX), []
    for _ in range(6):
        now = after(now, 0.0)
        states.append(now.state)
    assert states.index("uncertain") < states.index("lost")


def test_a_level_between_the_two_thresholds_keeps_the_state() -> None:
    """Hysteresis: what made it uncertain must be more than undone."""
    between = (RULE.unsure + RULE.sure) / 2
    tracked = Presence("tracked", between, BOX)
    assert after(tracked, between).state == "tracked"
    assert after(replace(tracked, state="uncertain"), between).state == "uncertain"
    assert after(replace(tracked, state="uncertain"), 0.9, 0.9).state == "tracked"


def test_a_lost_box_goes_back_to_where_it_was_sure() -> None:
    now = sure_of(BOX)
    for step in range(1, 8):
        now, box = judge(now, RULE, (BOX[0] + 9 * step, *BOX[1:]), 0.0, 1.0)
    assert now.state == "lost" and box == BOX


def test_only_a_sure_look_that_looks_like_the_first_template_takes_it_back() -> None:
    lost = Presence("lost", 0.1, BOX)
    there: Box = (150.0, 90.0, 40.0, 30.0)
    for certainty, likeness in ((0.9, RULE.alike - 0.1), (RULE.unsure - 0.1, 1.0)):
        now, box = judge(lost, RULE, there, certainty, likeness)
        assert now.state == "lost" and box == BOX
    now, box = judge(lost, RULE, there, 0.9, 1.0)
    assert now.state == "tracked" and box == there


def test_a_place_that_is_not_unsure_is_followed_until_the_level_has_risen() -> None:
    """A target that was called lost too soon is not left for looks elsewhere."""
    now, box = Presence("lost", 0.1, BOX, looks=4, candidate=BOX), BOX
    between = (RULE.unsure + RULE.back) / 2
    for step in range(1, 20):
        place = (BOX[0] + step, *BOX[1:])
        now, box = judge(now, RULE, place, between, 1.0)
        if now.state != "lost":
            break
        assert now.candidate == place and box == BOX
    assert now.state == "uncertain" and box == place and 1 < step < 8
    followed = Presence("lost", 0.3, BOX, looks=4, candidate=BOX)
    worse, _ = judge(followed, RULE, BOX, RULE.unsure - 0.01, 1.0)
    unlike, _ = judge(followed, RULE, BOX, between, RULE.alike - 0.01)
    assert worse.candidate is None is unlike.candidate


def test_what_looks_like_something_else_is_lost_however_sure_the_network_is() -> None:
    now = sure_of(BOX)
    for _ in range(8):
        now, _ = judge(now, RULE, BOX, 0.95, RULE.unlike - 0.01)
    assert now.state == "lost"


def test_what_becomes_unlike_by_and_by_is_the_same_in_another_light() -> None:
    """As at dusk: the colours go, and no single frame differs much from the one before."""
    now = sure_of(BOX)
    for likeness in np.geomspace(0.9, RULE.unlike / 3, 30):
        now, _ = judge(now, RULE, BOX, 0.9, float(likeness))
        assert now.state == "tracked"
    gone = after(now, *[0.0] * 6, likeness=0.2)
    assert gone.state == "lost" and gone.usual < RULE.alike
    assert after(gone, 0.9, likeness=gone.usual - 0.01).state == "lost"
    assert after(gone, 0.9, likeness=gone.usual + 0.01).state == "tracked"


def test_a_wide_look_is_never_believed_but_followed_by_a_close_one() -> None:
    wide = Presence("lost", 0.1, BOX, looks=2)
    found: Box = (200.0, 100.0, 80.0, 60.0)
    now, box = judge(wide, RULE, found, 1.0, 1.0)
    assert now.state == "lost" and box == BOX
    place, factor = where_to_look(now, RULE, 4.0, SIZE)
    assert factor == 4.0 and place == (220.0, 115.0, 40.0, 30.0)
    back, box = judge(now, RULE, (221.0, 116.0, 40.0, 30.0), 0.9, 0.9)
    assert back.state == "tracked" and box == (221.0, 116.0, 40.0, 30.0)


def test_looks_widen_step_by_step_and_then_cover_the_picture() -> None:
    small: Box = (100.0, 80.0, 12.0, 12.0)
    looks = [
        where_to_look(Presence("lost", 0.0, small, looks=n), RULE, 4.0, SIZE)
        for n in range(0, 200, 2)
    ]
    factors = [factor for _, factor in looks]
    assert factors[0] == 4.0 and factors[2] == pytest.approx(8.0) == max(factors)
    assert factors[:3] == sorted(factors[:3])
    seen = np.zeros(SIZE, bool)
    for (x, y, w, h), factor in looks:
        half = factor * np.sqrt(w * h) / 2
        cx, cy = x + w / 2, y + h / 2
        seen[max(0, int(cy - half)) : int(cy + half), max(0, int(cx - half)) : int(cx + half)] = 1
    assert seen.mean() > 0.99


def leaving(length: int, gone: range) -> tuple[list[np.ndarray], Box]:
    """Frames of a red and yellow board on coarse noise, which is away for some of them."""
    ground = cv2.resize(
        np.random.default_rng(5).integers(0, 130, (15, 20, 3), dtype=np.uint8), (320, 240)
    )
    board = np.kron(np.indices((4, 5)).sum(axis=0) % 2, np.ones((10, 10), int))
    frames = []
    for number in range(length):
        frame = ground.copy()
        if number not in gone:
            x = 60 + 2 * min(number, 20)
            frame[90:130, x : x + 50] = np.where(board[..., None], (220, 30, 40), (250, 220, 40))
        frames.append(frame)
    return frames, (60.0, 90.0, 50.0, 40.0)


def test_the_shipped_model_says_when_its_target_is_gone_and_takes_it_back() -> None:
    gone = range(15, 40)
    frames, box = leaving(60, gone)
    cfg = load_config("seqtrack_tiny", ["TEST.LOST.ACTIVE=true"])
    tracker = build_tracker(TrackerSpec("seqtrack", cfg.name, cfg, WEIGHTS))
    tracker.initialize(frames[0], {"init_bbox": list(box)})
    answers = [tracker.track(frame) for frame in frames[1:]]
    states = ["tracked", *(answer["state"] for answer in answers)]
    assert set(states[:15]) == {"tracked"} == set(states[50:])
    assert [states[i] for i in gone].count("lost") >= 15
    doubt = [answer["certainty"] for answer in answers if answer["state"] == "lost"]
    assert max(doubt) < cfg.test.lost.unsure
    assert abs(answers[-1]["target_bbox"][0] - 100) < 10
