"""MODEL.HISTORY in training: which boxes before a sample brings, and that they are learned from."""

import numpy as np
import pytest
import torch

from lib.config.schema.training import HistorySampling
from lib.datasets.training.sample import BoxedFrame, FrameSample
from lib.train.data.history import (
    PastNoise,
    boxes_before,
    past_boxes,
    tracked_boxes,
    with_motion,
)
from lib.train.data.sampler import VideoSource
from lib.train.data.transforms import TrainingTransform
from lib.utils.crop import box_in_crop, crop_square
from lib.utils.errors import DataError
from tests.helpers.memory_set import MemorySet, square
from tests.helpers.training_setup import losses, make_batch, make_objective, training_config

BOX = np.array([100.0, 80.0, 40.0, 30.0])
QUIET = PastNoise(np.zeros((3, 4)), 3)


def earlier():
    """Boxes that move by (6, 4) a frame and grow by a tenth, up to the one before `BOX`."""
    ago = np.arange(3, 0, -1)[:, None]
    sizes = BOX[2:] / 1.1**ago
    centres = BOX[:2] + BOX[2:] / 2 - ago * [6, 4]
    return np.concatenate([centres - sizes / 2, sizes], axis=1)


def test_frames_before_are_those_of_the_video():
    boxes = np.arange(24.0).reshape(6, 4)
    visible = np.array([1, 1, 0, 1, 1, 1], bool)
    found = boxes_before(boxes, visible, 3, 5)
    assert np.isnan(found[[0, 1, 4]]).all(), "no frame, or a target that is not seen"
    np.testing.assert_array_equal(found[2:4], boxes[:2])


def test_boxes_of_a_tracker_stand_for_the_true_ones(tmp_path):
    true = np.tile(BOX, (4, 1))
    found = true + np.outer([1, 2, 200, 3], [1, 0, 0, 0])
    np.savetxt(tmp_path / "clip.txt", found, delimiter="\t")
    expected = found.copy()
    expected[2] = BOX  # it had lost the target
    np.testing.assert_array_equal(tracked_boxes(tmp_path, "clip", true), expected)
    with pytest.raises(DataError, match=r"clip.txt has 4 rows, and the video 3 frames"):
        tracked_boxes(tmp_path, "clip", true[:3])


def test_a_video_brings_the_boxes_before_its_search_frame(tmp_path):
    clips = MemorySet([[1] * 40])
    np.savetxt(tmp_path / "video-0.txt", [square(i) + np.array([3, 0, 0, 0]) for i in range(40)])
    for folder, shift in ((None, 0), (tmp_path, 3)):
        source = VideoSource(clips, 1, "order", 10, history=2, tracked=folder)
        for seed in range(5):
            draw = source.draw(np.random.default_rng(seed), 0.0)
            before = draw.sightings[-1].box - [[2 - shift, 0, 0, 0], [1 - shift, 0, 0, 0]]
            # It moves by a pixel in every frame; the first one has none before it.
            known = np.isfinite(draw.before)
            np.testing.assert_allclose(draw.before[known], before[known])
            assert known.any()


def test_the_newest_box_is_the_one_that_the_crop_is_cut_around():
    around = np.array([90.0, 70.0, 80.0, 60.0])
    loud = PastNoise(np.full((3, 4), 2.0), 3)
    for noise in (QUIET, loud):
        np.testing.assert_allclose(past_boxes(earlier(), around, noise, 0.1)[-1], around)
    found = past_boxes(earlier(), earlier()[-1], QUIET, 0.1)
    np.testing.assert_allclose(found, earlier(), atol=1e-9)
    assert np.abs(past_boxes(earlier(), earlier()[-1], loud, 0.1)[:2] - earlier()[:2]).min() > 1


def test_boxes_that_are_not_known_are_the_oldest():
    found = past_boxes(earlier(), BOX, PastNoise(np.zeros((3, 4)), 1), 0.1)
    assert np.isnan(found[:2]).all() and np.isfinite(found[2]).all()


def test_a_made_up_motion_is_steady():
    draw = FrameSample((BoxedFrame(np.zeros((8, 8, 3), np.uint8), BOX),) * 2, "pair")
    moved = with_motion(np.random.default_rng(0), draw, HistorySampling(), 4).before
    centres = (
        np.concatenate([moved, BOX[None]])[:, :2] + np.concatenate([moved, BOX[None]])[:, 2:] / 2
    )
    ways = np.diff(centres, axis=0)
    np.testing.assert_allclose(ways, ways[:1].repeat(4, axis=0))
    assert np.abs(ways).max() > 0.1


def sample(seed, before, flip=0.0):
    cfg = training_config(HISTORY=3)
    data = cfg.data.model_copy(update={"flip": flip, "history": HistorySampling(JITTER=0, DROP=0)})
    transform = TrainingTransform(data, 3)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    draw = FrameSample((BoxedFrame(image, BOX),) * 3, "here", before=before)
    rng = np.random.default_rng(seed)
    return transform.apply(draw, transform.vary(rng, 3))


def test_a_sample_shows_its_past_in_its_search_region():
    """In the crop the newest box is in the middle, and the ways between boxes are kept, mirrored
    where the crop is."""
    for seed in range(6):
        made = sample(seed, earlier(), flip=0.5)
        newest = made.history[-1]
        np.testing.assert_allclose(newest[:2] + newest[2:] / 2, 0.5, atol=0.02)
        centres = made.history[:, :2] + made.history[:, 2:] / 2
        ways = np.diff(centres, axis=0)
        np.testing.assert_allclose(ways[0], ways[1], atol=1e-5)
        # 6 to 4, in either direction along x.
        np.testing.assert_allclose(np.abs(ways[:, 0] / ways[:, 1]), 1.5, atol=1e-3)
        assert (ways[:, 1] > 0).all()


def test_without_a_frame_before_there_is_no_past():
    gone = earlier()
    gone[-1] = np.nan
    made = sample(0, gone)
    assert np.isnan(made.history).all() and np.isfinite(made.box).all()


def test_box_in_crop_takes_many():
    image = np.zeros((240, 320, 3), np.uint8)
    crop = crop_square(image, BOX.tolist(), 4.0, 64)
    many = box_in_crop(earlier(), crop)
    np.testing.assert_array_equal(many[1], box_in_crop(earlier()[1], crop))


def test_a_step_learns_from_the_past():
    """Where the box before is the answer, it can be read there; without it, it cannot."""
    cfg = training_config(HISTORY=1)
    objective = make_objective(cfg)
    batch = make_batch(cfg, size=8)
    batch.search[:] = 0  # nothing is to be seen
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        total = losses(objective, batch)["total"]
        total.backward()
        optimizer.step()
    learned = float(losses(objective, batch)["ce"])
    batch.history[:] = float("nan")
    assert learned < 0.5 * float(losses(objective, batch)["ce"])
    weight = objective.network.decoder.embedding.position_embeddings.weight
    assert weight.shape[0] == 9 and weight.grad[:4].abs().sum() > 0
