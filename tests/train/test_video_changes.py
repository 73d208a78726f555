"""lib/train/data/video_changes.py: what is added to the crops of video."""

import numpy as np

from lib.datasets.training.sample import BoxedFrame
from lib.train.data.transforms import TrainingSample
from lib.train.data.video_changes import changed, with_distractors

SIDE = 96
TARGET = np.array([0.4, 0.4, 0.2, 0.25], np.float32)


def sample():
    search = np.full((SIDE, SIDE, 3), 100, np.uint8)
    search[:20] = 0
    return TrainingSample(
        templates=np.full((1, 48, 48, 3), 120, np.uint8),
        search=search,
        template_boxes=np.array([[0.25, 0.25, 0.5, 0.5]], np.float32),
        box=TARGET,
        number=0,
        source="",
    )


def test_distractors_leave_the_target_and_what_is_outside_of_the_frame():
    other = BoxedFrame(np.full((60, 80, 3), 250, np.uint8), np.array([20.0, 10.0, 30.0, 40.0]))
    x, y, w, h = (TARGET * SIDE).round().astype(int)
    pasted = 0
    for seed in range(40):
        before = sample()
        after = with_distractors(np.random.default_rng(seed), before, other)
        moved = (after.search != 100).any(axis=2)
        pasted += bool(moved[20:].any())
        # Two of them may cover a fifth each, and a pixel at their edge.
        assert moved[y : y + h, x : x + w].mean() < 0.5
        assert not after.search[:20].any()
        assert (before.search[20:] == 100).all()
    assert pasted > 30


def test_a_distractor_without_area_is_left_out():
    other = BoxedFrame(np.zeros((60, 80, 3), np.uint8), np.array([20.0, 10.0, 0.0, 40.0]))
    after = with_distractors(np.random.default_rng(0), sample(), other)
    assert np.array_equal(after.search, sample().search)


def test_changes_keep_the_black_around_the_frame_and_the_box():
    after = [changed(np.random.default_rng(seed), sample()) for seed in range(20)]
    assert not any(one.search[:20].any() for one in after)
    assert all(np.array_equal(one.box, TARGET) for one in after)
    assert len({one.search.tobytes() for one in after}) > 15
