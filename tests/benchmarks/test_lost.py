"""benchmarks/lost.py: what a false alarm is, and what counts as found again."""

import numpy as np

from benchmarks.lost import Followed, _alarms, absence, occlusion
from lib.synthetic.video.absences import ABSENCE_SUITES


def followed(present: str, good: str, lost: str, truth: np.ndarray | None = None) -> Followed:
    """A sequence from a letter for each frame, x for yes."""
    flags = [np.array([letter == "x" for letter in text]) for text in (present, good, lost)]
    boxes = np.tile([0.0, 0.0, 10.0, 10.0], (len(present), 1)) if truth is None else truth
    return Followed("a", flags[0], flags[1] * 0.8, 1.0 - flags[2], flags[2], boxes, 50.0)


def test_lost_is_a_false_alarm_on_the_target_and_where_it_began_there():
    there = "x" * 12
    began_on_it = followed(there, "xxx....x....", "...xxxxx....")
    assert began_on_it.false_alarms.tolist() == [False] * 3 + [True] * 5 + [False] * 4
    began_off_it = followed(there, "xx.....x....", "...xxxxx....")
    assert np.flatnonzero(began_off_it.false_alarms).tolist() == [7]
    said = _alarms("here", [began_on_it, began_off_it])
    assert "25.00 % of 24 frames (2 sequences); called lost at all 41.67 %" in said


def test_a_box_on_the_place_of_a_target_that_is_away_is_no_good_box():
    away = followed("xx....xx", "xxxxxxxx", "...xxx..")
    assert np.flatnonzero(away.false_alarms).tolist() == []


def test_found_again_and_elsewhere():
    truth = np.tile([0.0, 0.0, 10.0, 10.0], (80, 1))
    truth[44:, 0] = 6.0
    text = "x" * 5 + "." * 3 + "x" * 32 + "." * 4 + "x" * 36
    one = followed(text, "x" * 44 + "." * 36, "." * 80, truth)
    assert one.returns() == [(True, 0.0), (False, 0.6)]
    assert followed(text[:60], "x" * 60, "." * 60).returns() == [(True, 0.0)]


def test_generated_occlusions_hide_all_of_the_target():
    video = occlusion(301)
    hidden = ~np.asarray(video.visible, bool)
    assert len(video) == 150 and hidden.sum() >= 6


def test_further_absences_are_of_no_suite():
    video = absence(403)
    assert video.name not in ABSENCE_SUITES["synthetic_absence"][1]
    assert len(video) == 120 and not np.asarray(video.visible, bool).all()
