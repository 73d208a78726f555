"""lib/tracker/lost: the state with its hysteresis, and where a lost target is looked for."""

from dataclasses import replace

import cv2
import numpy as np

from lib.config.loader import load_config
from lib.config.paths import repository_root
from lib.config.schema.model import LostTarget
from lib.tracker.build import build_tracker
from lib.tracker.lost import Look, Presence, compare, judge, places_to_look, sure_of
from lib.tracker.spec import TrackerSpec
from lib.utils.boxes import Box, iou_xywh

WEIGHTS = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"

RULE = LostTarget(ACTIVE=True)
BOX: Box = (100.0, 80.0, 40.0, 30.0)
SIZE = (240, 320)


def look(certainty: float, box: Box = BOX) -> Look:
    return Look(box, certainty, certainty)


def after(now: Presence, *certainties: float, box: Box = BOX) -> Presence:
    for certainty in certainties:
        now = judge(now, RULE, look(certainty, box))
    return now


def test_one_bad_frame_changes_nothing() -> None:
    now = after(sure_of(BOX), 0.0)
    assert now.state == "tracked" and not places_to_look(now, RULE, 4.0, SIZE)


def test_doubt_comes_before_loss_and_both_take_time() -> None:
    now, states = sure_of(BOX), []
    for _ in range(6):
        now = after(now, 0.0)
        states.append(now.state)
    assert states.index("uncertain") < states.index("lost")


def test_a_level_between_the_two_thresholds_keeps_the_state() -> None:
    """Hysteresis: what made it uncertain, or lost, must be more than undone."""
    between = (RULE.unsure + RULE.sure) / 2
    tracked = Presence("tracked", between, BOX)
    assert after(tracked, between).state == "tracked"
    assert after(replace(tracked, state="uncertain"), between).state == "uncertain"
    assert after(replace(tracked, state="uncertain"), 0.9, 0.9).state == "tracked"
    below = (RULE.below + RULE.unsure) / 2
    lost = Presence("lost", below, BOX)
    assert after(lost, below).state == "lost"
    assert after(replace(lost, state="uncertain"), below).state == "uncertain"
    assert after(lost, 0.7).state == "uncertain"
    assert after(lost, 1.0, 1.0).state == "tracked"


def in_doubt(support: Look | None = None) -> Presence:
    """A target that was tracked for long, and is uncertain now."""
    now = after(sure_of(BOX), *[0.97] * 40)
    while now.state == "tracked":
        now = judge(now, RULE, support or look(0.1))
    return now


def test_a_target_is_looked_for_from_the_first_doubt_until_long_after_the_last() -> None:
    now, rounds = in_doubt(), 0
    assert now.state == "uncertain" and now.sure_box == BOX
    while places_to_look(now, RULE, 4.0, SIZE):
        assert len(places_to_look(now, RULE, 4.0, SIZE)) == RULE.looks
        now, rounds = after(now, 0.97), rounds + 1
    assert now.state == "tracked" and RULE.watch <= rounds < RULE.watch + 6


def test_looks_begin_where_it_was_sure_and_cover_the_picture() -> None:
    small: Box = (100.0, 80.0, 12.0, 12.0)
    now = Presence("lost", 0.0, small, watch=RULE.watch)
    seen, far = np.zeros(SIZE, bool), []
    for number in range(1, 80):
        places = places_to_look(replace(now, looks=number), RULE, 4.0, SIZE)
        assert number > 1 or places[0] == small
        far.append(np.hypot(*(np.array(places)[:, :2] - small[:2]).T).mean())
        for x, y, w, h in places:
            half = 2 * np.sqrt(w * h)
            cx, cy = x + w / 2, y + h / 2
            rows = slice(max(0, int(cy - half)), int(cy + half))
            seen[rows, max(0, int(cx - half)) : int(cx + half)] = True
    assert seen.mean() > 0.99
    assert far[:29] == sorted(far[:29])


def test_many_small_cells_are_not_slow_to_sort_out_and_few_large_ones_are_not_repeated() -> None:
    tiny = Presence("lost", 0.0, (5.0, 5.0, 8.0, 8.0), watch=1, looks=5000)
    assert len(places_to_look(tiny, RULE, 4.0, (2160, 3840))) == RULE.looks
    huge = Presence("lost", 0.0, (0.0, 0.0, 300.0, 220.0), watch=1, looks=7)
    assert len(places_to_look(huge, RULE, 4.0, SIZE)) == 2


THERE: Box = (220.0, 115.0, 40.0, 30.0)


def found(now: Presence, other: Look, own: Look, frames: int) -> int | None:
    """The frame in which a place elsewhere, seen in every one, is taken for the target."""
    for number in range(1, frames + 1):
        now = judge(now, RULE, own)
        now, which = compare(now, RULE, own.box, [look(0.01, (5.0, 5.0, 9.0, 9.0)), other])
        if which is not None:
            assert which == 1 and now.state == "tracked" and now.sure_box == other.box
            assert now.watch == RULE.watch and now.candidate is None
            return number
    return None


def test_a_place_is_taken_when_more_speaks_for_it_again_and_again() -> None:
    assert found(in_doubt(), look(0.97, THERE), look(0.02), 10) == RULE.confirm


def test_a_look_alike_is_not_taken_for_a_target_that_is_seen() -> None:
    """Both are there: more speaks for the target, whatever was doubted before."""
    alike = look(0.8, THERE)
    assert found(in_doubt(), alike, look(0.97), RULE.watch) is None


def test_a_look_alike_for_which_less_speaks_than_usual_is_not_taken_for_one_that_is_away() -> None:
    assert found(in_doubt(), look(0.6, THERE), look(0.02), RULE.watch) is None


def test_a_target_that_comes_back_is_taken_from_the_look_alike_that_is_followed() -> None:
    """The network is sure of the look-alike, but surer of the target."""
    now = in_doubt()
    for _ in range(10):
        now = judge(now, RULE, look(0.8, (20.0, 20.0, 40.0, 30.0)))
    assert now.state == "tracked" and now.watch
    followed = look(0.8, (20.0, 20.0, 40.0, 30.0))
    assert found(now, look(0.98, THERE), followed, 10) == RULE.confirm


def test_places_in_turn_are_no_place_seen_again() -> None:
    now = in_doubt()
    for number in range(20):
        now = judge(now, RULE, look(0.02))
        box = THERE if number % 2 else (20.0, 160.0, 40.0, 30.0)
        now, which = compare(now, RULE, BOX, [look(0.97, box)])
        assert which is None


def test_a_look_that_finds_the_box_that_is_followed_is_no_other_place() -> None:
    near = (BOX[0] + 3, BOX[1] - 2, BOX[2], BOX[3])
    assert found(in_doubt(), look(0.99, near), look(0.5), 20) is None


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
    assert np.median(doubt) < cfg.test.lost.unsure
    assert abs(answers[-1]["target_bbox"][0] - 100) < 10


def test_the_shipped_model_finds_a_target_that_comes_back_far_away() -> None:
    """Outside of the search region, which without a state is all that is looked at."""
    frames, box = leaving(30, range(15, 30))
    board = frames[0][90:130, 60:110].copy()
    ground = frames[20]
    for step in range(25):
        frame = ground.copy()
        frame[170:210, 255 - step : 305 - step] = board
        frames.append(frame)
    found = {}
    for active in ("true", "false"):
        cfg = load_config("seqtrack_nano", [f"TEST.LOST.ACTIVE={active}"])
        weights = WEIGHTS.parents[1] / "seqtrack_nano" / WEIGHTS.name
        tracker = build_tracker(TrackerSpec("seqtrack", cfg.name, cfg, weights))
        tracker.initialize(frames[0], {"init_bbox": list(box)})
        found[active] = [tracker.track(frame) for frame in frames[1:]]
    truth = np.array([[231.0, 170.0, 50.0, 40.0]])
    with_state, without = (
        float(iou_xywh(np.array([found[one][-1]["target_bbox"]]), truth)[0])
        for one in ("true", "false")
    )
    assert with_state > 0.6 and without == 0
    assert found["true"][-1]["state"] == "tracked"
