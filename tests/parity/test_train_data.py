"""Jitter, training crop and the whole augmentation equal the reference's, with its draws."""

import dataclasses
import zlib

import cv2
import numpy as np
import pytest
import torch

from lib.config.schema import Config
from lib.datasets.training.sample import BoxedFrame, FrameSample, UnusableSampleError
from lib.models.pixels import normalise
from lib.train.data.transforms import TrainingTransform, Variation, box_in_crop, jitter_box
from lib.utils.crop import crop_square

from .conftest import kit_cases, recipe
from .test_crops_and_boxes import RECORDED_OPENCV

PATTERN = "train_data*.json"
CROP = 64  # side of the recorded pipeline's crops


@pytest.mark.parametrize("case", kit_cases(PATTERN, "jitter"))
def test_jitter(case):
    _, want = case
    box, normal, uniform = (np.array(want[key]) for key in ("box", "normal", "uniform"))
    ours = jitter_box(box, normal, uniform, want["center_jitter"], want["scale_jitter"])
    np.testing.assert_allclose(ours, want["out"], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("case", kit_cases(PATTERN, "center_crop"))
def test_crop_around_a_jittered_box(case):
    content, want = case
    image = recipe.image(*content["image"], content["seed"])
    crop = crop_square(image, want["extract"], want["factor"], want["out"])
    assert crop.resize_factor == pytest.approx(want["resize_factor"], rel=1e-12)
    np.testing.assert_allclose(box_in_crop(np.array(want["gt"]), crop), want["box"], atol=1e-5)
    np.testing.assert_allclose(crop.pixels.mean((0, 1)), want["crop_mean"], atol=0.05)
    if cv2.__version__.startswith(RECORDED_OPENCV):
        assert zlib.crc32(crop.pixels.tobytes()) == want["crc32"]


def recorded(content, want):
    """The recorded frames, and the random numbers that the reference was forced to use."""
    images = [recipe.image(*content["image"], seed) for seed in want["image_seeds"]]
    boxes = np.array(want["boxes"], np.float64)
    draw = FrameSample(tuple(map(BoxedFrame, images, boxes)), "recorded")
    variation = Variation(
        grey=want["gray"],
        mirrored=want["joint_flip"],
        normal=np.array(want["normal"]),
        uniform=np.array(want["uniform"]),
        brightness=np.array(want["brightness_each"]),
        flips=np.array(want["flip_each"]),
    )
    crop = {"SIZE": CROP}
    data = {"SEARCH": crop, "TEMPLATE": {**crop, "NUMBER": len(images) - 1}}
    cfg = Config.model_validate({"DATA": data, "TEST": {"SEARCH_SIZE": CROP}})
    return draw, variation, cfg.data


def normalised(pixels, data):
    """`(H, W, 3)` normalised as the network sees it."""
    return normalise(torch.from_numpy(pixels), data.mean, data.std).movedim(0, -1).numpy()


def sees_nothing(want, i, data):
    """Whether crop `i` is black all over: it was cut beside the image."""
    black = normalised(np.zeros((1, 1, 3), np.uint8), data)
    return np.allclose(want["mean"][i], black, atol=1e-4)


@pytest.mark.parametrize("case", kit_cases(PATTERN, "pipeline"))
def test_whole_pipeline(case):
    """A search region beside the image is rejected, where the reference trained on black."""
    draw, variation, data = recorded(*case)
    _, want = case
    transform = TrainingTransform(data)
    count = len(draw.sightings)
    if not want["valid"]:
        with pytest.raises(UnusableSampleError):
            transform.apply(draw, variation)
        return
    if sees_nothing(want, count - 1, data):
        with pytest.raises(UnusableSampleError, match="cannot crop around the box"):
            transform.apply(draw, variation)
        # The templates are as good as any: look at them with another search frame.
        draw = FrameSample((*draw.sightings[:-1], draw.sightings[0]), draw.source)
        variation = dataclasses.replace(variation, uniform=np.full((count, 2), 0.5))
        count -= 1
    sample = transform.apply(draw, variation)
    boxes = [*sample.template_boxes, sample.box][:count]
    crops = [*sample.templates, sample.search][:count]
    np.testing.assert_allclose(boxes, want["anno"][:count], atol=1e-5)
    for i, crop in enumerate(crops):
        ours = normalised(crop, data)
        np.testing.assert_allclose(ours.mean((0, 1)), want["mean"][i], atol=2e-2)
        assert ours.std() == pytest.approx(want["std"][i], abs=2e-2)
        for y, x, *rgb in want["pixels"][i]:
            np.testing.assert_allclose(ours[y, x], rgb, atol=2e-2)
