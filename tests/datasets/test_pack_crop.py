"""lib/datasets/storage/pack_crop.py: what is kept of a frame is all that samples ask for."""

import math
import re

import numpy as np
import pytest

from lib.commands.entry import run
from lib.config.loader import load_config
from lib.config.paths import resolve_paths
from lib.datasets.storage.pack import open_pack
from lib.datasets.storage.pack_crop import CropRule, KeptRegion, cut, reach_of, region_of
from lib.datasets.training.open import open_training_set
from lib.datasets.training.sample import BoxedFrame, FrameSample
from lib.train.data.transforms import TrainingTransform, Variation
from tests.helpers.training_files import FRAMES, LASOT_NAMES, box_of, write_lasot_train

DATA = load_config("seqtrack_b256").data
SIGMAS = 2.0


def rule_of(sigmas: float = SIGMAS, shrink: int = 0) -> CropRule:
    search = DATA.search
    reach = reach_of(search.factor, search.center_jitter, search.scale_jitter, sigmas)
    return CropRule(reach, shrink)


def variation(rng: np.random.Generator, sigmas: float) -> Variation:
    """A sample's chance, as far out as `sigmas` allows."""
    normal = np.zeros((2, 2))
    # The log of the side is the mean of two: both ends of what is followed, and all between.
    normal[1] = rng.uniform(-1, 1) * sigmas * math.sqrt(0.5)
    uniform = np.stack([np.full(2, 0.5), rng.choice([0.0, 0.999, 0.3], 2)])
    mirrored, grey = bool(rng.integers(2)), bool(rng.integers(2))
    return Variation(grey, mirrored, normal, uniform, np.ones(2), np.zeros(2, bool))


def sample(image, box, chance):
    sighting = BoxedFrame(image, np.asarray(box, np.float64))
    return TrainingTransform(DATA).apply(FrameSample((sighting, sighting), "test"), chance)


@pytest.mark.parametrize("seed", range(40))
def test_samples_of_the_part_are_those_of_the_frame(seed):
    """Cut without loss: to the byte, mirrored or not, at the borders and away from them."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(260, 420, 2)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    w, h = rng.integers(6, 14, 2)
    x, y = rng.integers(-4, width - 4), rng.integers(-4, height - 4)
    box = np.array([x, y, w, h], np.float64)
    region = region_of(box, width, height, rule_of())
    part = cut(image, region)
    assert part.shape[0] <= height and part.size < image.size
    chance = variation(rng, SIGMAS)
    one, other = sample(image, box, chance), sample(part, region.move(box), chance)
    assert one.search.tobytes() == other.search.tobytes()
    assert one.templates.tobytes() == other.templates.tobytes()
    np.testing.assert_allclose(one.box, other.box, atol=1e-5)


def test_beyond_the_promised_reach_there_is_black():
    rng = np.random.default_rng(0)
    image = rng.integers(1, 256, (400, 400, 3), dtype=np.uint8)
    box = np.array([190.0, 190, 10, 10])
    region = region_of(box, 400, 400, rule_of(0.5))
    far = Variation(False, False, np.full((2, 2), 3.0), np.full((2, 2), 0.5), np.ones(2),
                    np.zeros(2, bool))  # fmt: skip
    one, other = (sample(i, b, far) for i, b in ((image, box), (cut(image, region),
                                                                region.move(box))))  # fmt: skip
    assert (other.search == 0).mean() > 0.5 > (one.search == 0).mean()
    np.testing.assert_allclose(one.box, other.box, atol=1e-5)


def test_large_targets_are_stored_smaller():
    image = np.zeros((720, 1280, 3), np.uint8)
    box = np.array([400.0, 200, 256, 256])
    region = region_of(box, 1280, 720, rule_of(shrink=128))
    assert cut(image, region).shape == (360, 640, 3)
    np.testing.assert_allclose(region.move(box), [200, 100, 128, 128])
    small = region_of(np.array([400.0, 200, 100, 100]), 1280, 720, rule_of(shrink=128))
    assert (small.stored_width, small.stored_height) == (small.width, small.height)


@pytest.mark.parametrize("box", [(-500, -500, 10, 10), (5000, 5000, 10, 10), (0, 0, 3000, 3000)])
def test_targets_outside_leave_a_part(box):
    region = region_of(np.array(box, np.float64), 100, 80, rule_of())
    assert min(region.width, region.height) >= 1
    assert cut(np.zeros((80, 100, 3), np.uint8), region).size
    assert KeptRegion.parse(region.text) == region


def test_a_cropped_pack(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lasot_train(tmp_path / "data" / "lasot")
    words = ["LASOT", "--out", "pack", "--data_dir", "data", "--save_dir", "save", "--crop"]
    words += ["--sigmas", "0", "--set", "DATA.SEARCH.FACTOR=1", "DATA.SEARCH.CENTER_JITTER=0.2"]
    words += ["DATA.TEMPLATE.FACTOR=1.5", "--shrink", "15"]
    assert run("lib.commands.pack_dataset", words) == 0
    assert "3 sequences" in capsys.readouterr().out
    folder = open_training_set("LASOT", resolve_paths("data", "save", env={}))
    packed = open_pack(tmp_path / "pack", "LASOT")
    assert [packed.load(i).name for i in range(3)] == list(LASOT_NAMES)
    for index in range(3):
        whole, part = folder.load(index), packed.load(index)
        np.testing.assert_array_equal(whole.visible, part.visible)
        for i in np.flatnonzero(whole.visible):
            image, box = part.frames.read(i), part.boxes[i]
            assert image.size < whole.frames.read(i).size
            # The red target is where the box says, at a side of 15 pixels.
            assert math.sqrt(box[2] * box[3]) == pytest.approx(15, rel=0.05)
            x, y = (box[:2] + box[2:] / 2).astype(int)
            assert image[y, x, 0] > 190 and image[y, x, 1:].max() < 60
        assert not packed.places[index * FRAMES + 3]["size"]
    assert box_of(0)[2] == 22
    total = sum(file.stat().st_size for file in (tmp_path / "pack").glob("*.zip"))
    there = sum(f.stat().st_size for f in (tmp_path / "data").rglob("*.jpg"))
    assert total < 0.75 * there
    assert run("lib.commands.pack_dataset", ["pack", "--verify"]) == 0
    assert re.search(r"69 frames read, 9 left out", capsys.readouterr().out)


def test_frames_that_are_needed_whole_stay_as_they_are(tmp_path, capsys):
    """Coding them again would lose something and save nothing."""
    write_lasot_train(tmp_path / "data" / "lasot")
    words = ["LASOT", "--out", str(tmp_path / "pack"), "--data_dir", str(tmp_path / "data")]
    assert run("lib.commands.pack_dataset", [*words, "--save_dir", str(tmp_path), "--crop"]) == 0
    packed = open_pack(tmp_path / "pack", "LASOT").load(1)
    folder = tmp_path / "data" / "lasot" / "bear" / "bear-1" / "img"
    assert packed.frames.read_bytes(6) == (folder / "00000007.jpg").read_bytes()
    np.testing.assert_array_equal(packed.boxes[6], box_of(6))
