"""lib/train/data/transforms.py: what the parity kit does not cover."""

import numpy as np
import pytest

from lib.datasets.training.sample import BoxedFrame, FrameSample
from lib.train.data.sampler import UnusableSampleError
from lib.train.data.transforms import TrainingTransform, Variation, box_in_crop, jitter_box
from lib.utils.crop import crop_square
from tests.helpers.memory_set import SIDE, memory_config

IMAGE = np.random.default_rng(5).integers(1, 255, (90, 120, 3), np.uint8)
BOX = np.array([40.0, 30.0, 24.0, 18.0])


def draw_of(box=BOX, image=IMAGE, count=3):
    return FrameSample(
        tuple(BoxedFrame(image, box) for _ in range(count)), "SET video-1, frames 1, 2, 3"
    )


def variation(count=3, **changes):
    """Random numbers that leave everything as it is, but for `changes`."""
    nothing = {
        "grey": False,
        "mirrored": False,
        "normal": np.zeros((count, 2)),
        "uniform": np.full((count, 2), 0.5),
        "brightness": np.ones(count),
        "flips": np.zeros(count, bool),
    }
    return Variation(**{**nothing, **changes})


def apply(draw=None, data=None, **changes):
    return TrainingTransform(data or memory_config().data).apply(
        draw or draw_of(), variation(**changes), number=4
    )


def test_without_variation_it_is_the_crop_of_the_tracker():
    sample = apply()
    crop = crop_square(IMAGE, BOX, 4.0, SIDE)
    for pixels in (*sample.templates, sample.search):
        np.testing.assert_array_equal(pixels, crop.pixels)
    np.testing.assert_allclose(sample.box[:2] + sample.box[2:] / 2, 0.5)
    np.testing.assert_allclose(sample.box[2:], BOX[2:] * crop.resize_factor / (SIDE - 1), rtol=1e-6)
    assert (sample.number, sample.source) == (4, "SET video-1, frames 1, 2, 3")
    assert sample.template_boxes.shape == (2, 4)
    assert {sample.box.dtype, sample.template_boxes.dtype} == {np.dtype(np.float32)}


def test_the_crops_have_their_own_sizes():
    data = memory_config(
        SEARCH={"SIZE": 48, "FACTOR": 5.0}, TEMPLATE={"SIZE": 16, "FACTOR": 2.0}
    ).data
    sample = apply(data=data)
    np.testing.assert_array_equal(sample.search, crop_square(IMAGE, BOX, 5.0, 48).pixels)
    np.testing.assert_array_equal(sample.templates[1], crop_square(IMAGE, BOX, 2.0, 16).pixels)


def test_only_the_search_frame_is_jittered():
    sample = apply(normal=np.ones((3, 2)), uniform=np.zeros((3, 2)))
    np.testing.assert_array_equal(sample.templates[0], crop_square(IMAGE, BOX, 4.0, SIDE).pixels)
    around = jitter_box(BOX, np.ones(2), np.zeros(2), 3.5, 0.5)
    crop = crop_square(IMAGE, around, 4.0, SIDE)
    np.testing.assert_array_equal(sample.search, crop.pixels)
    np.testing.assert_array_equal(sample.box, box_in_crop(BOX, crop))


def test_grey_is_for_all_images():
    sample = apply(grey=True)
    for pixels in (*sample.templates, sample.search):
        assert (np.ptp(pixels, axis=2) == 0).all() and pixels.any()


def test_the_joint_mirror_is_that_of_the_reference():
    """The box goes to (W - 1) - x - w in the mirrored image, a pixel off what one might think."""
    sample = apply(mirrored=True)
    mirrored = np.ascontiguousarray(IMAGE[:, ::-1])
    box = np.array([119 - BOX[0] - BOX[2], *BOX[1:]])
    np.testing.assert_array_equal(sample.search, crop_square(mirrored, box, 4.0, SIDE).pixels)


def test_flips_and_brightness_are_of_one_image():
    plain = apply(uniform=np.full((3, 2), 0.6))
    changed = apply(
        uniform=np.full((3, 2), 0.6),
        flips=np.array([True, False, True]),
        brightness=np.array([1.0, 1.5, 1.0]),
    )
    np.testing.assert_array_equal(changed.templates[0], plain.templates[0][:, ::-1])
    np.testing.assert_array_equal(changed.search, plain.search[:, ::-1])
    x, y, w, h = plain.box
    np.testing.assert_allclose(changed.box, [1 - x - w, y, w, h], rtol=1e-6)
    want = np.rint(plain.templates[1] * 1.5).clip(0, 255)
    np.testing.assert_array_equal(changed.templates[1], want)
    np.testing.assert_array_equal(changed.template_boxes[1], plain.template_boxes[1])


def test_the_frames_are_left_as_they_were():
    before = IMAGE.copy()
    apply(grey=True, mirrored=True, brightness=np.full(3, 1.5), flips=np.ones(3, bool))
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize(
    ("box", "why"),
    [
        pytest.param([40, 30, 0, 18], "no area", id="flat"),
        pytest.param([40, 30, -4, -18], "no area", id="negative"),
        pytest.param([40, np.nan, 24, 18], "no area", id="NaN"),
        pytest.param([4000, 30, 24, 18], "outside the image", id="beside"),
        pytest.param([0, 0, 1e6, 1e6], "larger than", id="huge"),
    ],
)
def test_impossible_boxes_name_their_source(box, why):
    with pytest.raises(UnusableSampleError, match=f"SET video-1, frames 1, 2, 3: .*{why}"):
        apply(draw_of(np.array(box, float)))


def test_chances_are_those_of_the_configuration():
    data = memory_config(GRAY=0.25, FLIP=0.1, BRIGHTNESS=0.4).data
    transform, rng = TrainingTransform(data), np.random.default_rng(0)
    drawn = [transform.vary(rng, 3) for _ in range(4000)]
    assert 0.22 < np.mean([one.grey for one in drawn]) < 0.28
    assert 0.47 < np.mean([one.mirrored for one in drawn]) < 0.53
    assert 0.08 < np.mean([one.flips for one in drawn]) < 0.12
    brightness = np.stack([one.brightness for one in drawn])
    assert brightness.min() >= 0.6 and brightness.max() <= 1.4
    assert brightness.mean() == pytest.approx(1, abs=0.02)
    assert np.std(brightness) == pytest.approx(0.8 / np.sqrt(12), abs=0.01)
    normal = np.stack([one.normal for one in drawn])
    assert normal.std() == pytest.approx(1, abs=0.03) and normal.shape == (4000, 3, 2)
    uniform = np.stack([one.uniform for one in drawn])
    assert 0 <= uniform.min() and uniform.max() < 1


def test_jitter_without_range_keeps_the_box():
    box = jitter_box(BOX, np.ones(2), np.zeros(2), 0.0, 0.0)
    np.testing.assert_allclose(box, BOX)


@pytest.mark.parametrize(("power", "share"), [(1.0, 1.0), (2.0, 0.5), (3.0, 0.25)])
def test_shifts_of_a_power_have_the_same_range_and_sides(power: float, share: float) -> None:
    """Half of the range on the left, a quarter of it above; then the ends of the range."""
    side = np.sqrt(BOX[2] * BOX[3])
    at = [jitter_box(BOX, np.zeros(2), np.array(u), 4.0, 0.5, power) for u in ([0.25, 0.5], [0, 1])]
    middles = [box[:2] + box[2:] / 2 - (BOX[:2] + BOX[2:] / 2) for box in at]
    np.testing.assert_allclose(middles[0], [-side * share, 0], atol=1e-4)
    np.testing.assert_allclose(middles[1], [-2 * side, 2 * side], rtol=1e-5)
