"""Windows, crops, template boxes, masks mapped back, and the glue around VOT's masks."""

import json
import zlib

import numpy as np
import pytest

from lib.masks.alpha_refine.geometry import Window, box_in_window
from lib.masks.alpha_refine.stage import THRESHOLD
from lib.masks.base import fit_mask, mask_bounds

from .conftest import kit_file

SIDE = 384
GEOMETRY = np.load(file) if (file := kit_file("geometry.npz")) else {"boxes": ()}
GLUE = json.loads(file.read_text()) if (file := kit_file("vot_mask_glue.json")) else ()


@pytest.fixture(scope="module")
def image():
    rows, columns = GEOMETRY["size_hw"]
    y, x = np.mgrid[0:rows, 0:columns]
    channels = (3 * x + 2 * y, 5 * x + 11 * y, 7 * x + 4 * y)
    return np.stack([channel % 256 for channel in channels], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def probabilities():
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    return (0.5 + 0.5 * np.sin(x / 23) * np.cos(y / 31)).astype(np.float32)


def number(i):
    return f"box{i}" + "".join(f" {value:g}" for value in GEOMETRY["boxes"][i])


@pytest.mark.parametrize("i", range(len(GEOMETRY["boxes"])), ids=number)
def test_box(i, image, probabilities):
    box = GEOMETRY["boxes"][i]
    window = Window.around(box)
    assert window.scale(SIDE)[::-1] == tuple(GEOMETRY["scale_hw"][i])
    crop = window.cut(image, SIDE)
    if zlib.crc32(crop.tobytes()) != GEOMETRY["crop_crc"][i]:  # another OpenCV may round otherwise
        difference = crop[::24, ::24].astype(int) - GEOMETRY["crop_row"][i]
        assert np.abs(difference).max() <= 1
        assert np.abs(crop.mean(axis=(0, 1)) - GEOMETRY["crop_mean"][i]).max() < 0.1
    in_window = box_in_window(box.astype(np.float32), window, SIDE)
    assert np.abs(in_window - GEOMETRY["ref_box"][i]).max() <= 1e-4
    full = window.map_back(probabilities, *image.shape[:2])
    assert full.sum() == pytest.approx(GEOMETRY["full_sum"][i], rel=1e-6, abs=1e-6)
    bits = np.unpackbits(np.packbits(full > THRESHOLD) ^ GEOMETRY["bits"][i])
    assert bits.sum() <= 2


@pytest.mark.parametrize("i", range(len(GLUE)), ids=lambda i: f"mask{i}")
def test_glue(i):
    mask = np.array(GLUE[i]["mask"])
    width, height = GLUE[i]["out_wh"]
    full = fit_mask(mask, height, width)
    assert full.tolist() == GLUE[i]["full"]
    assert full.dtype == np.uint8 and full.flags.c_contiguous
    bounds = mask_bounds(mask)
    assert bounds.tolist() == GLUE[i]["rect_of_mask"] and bounds.dtype == np.float32
