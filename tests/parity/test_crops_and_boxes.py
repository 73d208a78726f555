"""Crops, preprocessing, clipping and mapping back equal the reference's."""

import math
import zlib

import cv2
import numpy as np
import pytest
import torch

from lib.models.pixels import IMAGE_MEAN, IMAGE_STD, normalise
from lib.utils.boxes import clip_xywh
from lib.utils.crop import crop_side, crop_square, cut_square, map_box_back
from lib.utils.errors import DataError

from .conftest import kit_cases, recipe

# The recorded checksums hold for this OpenCV only; pixels are within one grey level elsewhere.
RECORDED_OPENCV = "5.0.0"


def picture(content):
    height, width = content["image"]
    return recipe.image(height, width, content["seed"])


@pytest.mark.parametrize("case", kit_cases("crops*.json", "test_crops"))
def test_resized_crop(case):
    content, want = case
    crop = crop_square(picture(content), want["box"], want["factor"], want["out"])
    assert crop_side(want["box"], want["factor"]) == want["crop_size"]
    assert crop.resize_factor == pytest.approx(want["resize_factor"], rel=1e-12)
    assert crop.pixels.shape == (want["out"], want["out"], 3)
    np.testing.assert_allclose(crop.pixels.mean((0, 1)), want["mean"], atol=0.05)
    assert crop.pixels.std() == pytest.approx(want["std"], abs=0.05)
    assert np.mean((crop.pixels == 0).all(-1)) == pytest.approx(want["zero_fraction"], abs=1e-3)
    for y, x, *rgb in want["pixels"]:
        assert np.abs(crop.pixels[y, x].astype(int) - rgb).max() <= 1
    if cv2.__version__.startswith(RECORDED_OPENCV):
        assert zlib.crc32(crop.pixels.tobytes()) == want["crc32"]


@pytest.mark.parametrize("case", kit_cases("crops*.json", "unresized"))
def test_square_before_resizing(case):
    content, want = case
    square = cut_square(picture(content), want["box"], 4.0)
    assert list(square.shape) == want["shape"]
    assert int(square.sum()) == want["sum"]
    assert zlib.crc32(square.tobytes()) == want["crc32"]


def touches(box, width, height):
    """Whether the square around `box` shows a pixel; the image's last ones turn black in it."""
    x, y, w, h = box
    side = math.ceil(math.sqrt(w * h) * 4.0)
    spans = ((x + w / 2 - side / 2, width), (y + h / 2 - side / 2, height))
    for start, length in ((round(edge), length) for edge, length in spans):
        end = min(start + side, length - 1 if start + side >= length else length)
        if max(start, 0) >= end:
            return False
    return True


@pytest.mark.parametrize("case", kit_cases("crops*.json", "degenerate"))
def test_impossible_box(case):
    """The reference's content is undefined outside the image; ours is an error, never a crash."""
    content, want = case
    image = picture(content)
    height, width = image.shape[:2]
    if want["result"] == "error" or not touches(want["box"], width, height):
        with pytest.raises(DataError, match="cannot crop around the box"):
            crop_square(image, want["box"], 4.0, 64)
    else:
        assert list(crop_square(image, want["box"], 4.0, 64).pixels.shape) == want["shape"]


@pytest.mark.parametrize("case", kit_cases("crops*.json"))
def test_preprocessing(case):
    content, _ = case
    want = content["preprocess"]
    assert (list(IMAGE_MEAN), list(IMAGE_STD)) == (want["mean_constant"], want["std_constant"])
    crop = crop_square(picture(content), want["box"], 4.0, want["out"])
    batch = normalise(torch.from_numpy(crop.pixels)[None])
    assert (list(batch.shape), str(batch.dtype)) == (want["shape"], want["dtype"])
    np.testing.assert_allclose(batch.mean((0, 2, 3)), want["mean"], atol=2e-2)
    np.testing.assert_allclose(batch[0, :, 0, 0], want["pixel_0_0"], atol=2e-2)
    np.testing.assert_allclose(batch[0, :, 31, 31], want["pixel_31_31"], atol=2e-2)


@pytest.mark.parametrize("case", kit_cases("boxes*.json", "clip"))
def test_clip(case):
    _, want = case
    ours = clip_xywh(want["box"], want["H"], want["W"], want["margin"])
    np.testing.assert_allclose(ours, want["out"], rtol=1e-12)


@pytest.mark.parametrize("case", kit_cases("boxes*.json", "map_back"))
def test_map_back(case):
    _, want = case
    ours = map_box_back(
        want["pred_cxcywh"], want["state"], want["resize_factor"], want["search_size"]
    )
    np.testing.assert_allclose(ours, want["out"], rtol=1e-10, atol=1e-10)
