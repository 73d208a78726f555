"""DATA.SCALED_DECODE: frames decoded as small as their crops allow; nearly the same samples."""

import math

import cv2
import numpy as np
import pytest

from lib.config.schema import Config
from lib.datasets.training.sample import BoxedFrame, EncodedImage, FrameSample
from lib.train.data.sampler import build_sampler
from lib.train.data.transforms import TrainingTransform, largest_shrink
from lib.utils import image_io
from lib.utils.errors import DataError
from lib.utils.image_io import decode_rgb, decode_shrunk
from tests.helpers.dataset_files import numbered, paths_of, write_frames, write_text
from tests.helpers.memory_set import SIDE, memory_config

SIZE = (301, 215)  # sides that neither 2 nor 4 nor 8 divides


def encoded(image, suffix=".jpg"):
    return cv2.imencode(suffix, image)[1].tobytes()


def smooth(size=SIZE):
    """A picture without fine detail."""
    coarse = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)


@pytest.fixture(params=["simplejpeg", "opencv"])
def decoder(request, monkeypatch):
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(image_io, "_fast_decoder", lambda: None)


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_shrunk_picture_lies_where_the_whole_one_does(decoder, shrink):
    data = encoded(smooth())
    small, by = decode_shrunk(data, "a.jpg", shrink)
    width, height = (math.ceil(side / shrink) for side in SIZE)
    assert (small.shape, by) == ((height, width, 3), shrink)
    # Means of whole squares; the last ones are cut off by the border.
    rows, columns = SIZE[1] // shrink, SIZE[0] // shrink
    whole = decode_rgb(data, "a.jpg")[: rows * shrink, : columns * shrink].astype(float)
    means = whole.reshape(rows, shrink, columns, shrink, 3).mean((1, 3))
    assert np.abs(small[:rows, :columns] - means).mean() < 1.0


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_both_decoders_give_the_same_pixels(monkeypatch, shrink):
    pytest.importorskip("simplejpeg")
    data = encoded(np.random.default_rng(0).integers(0, 256, (121, 95, 3), np.uint8))
    fast, _ = decode_shrunk(data, "a.jpg", shrink)
    monkeypatch.setattr(image_io, "_fast_decoder", lambda: None)
    np.testing.assert_array_equal(decode_shrunk(data, "a.jpg", shrink)[0], fast)


def test_what_is_decoded_whole(decoder):
    jpeg = encoded(smooth())
    turned = jpeg[:2] + b"\xff\xe1\x00\x0cExif\0\0MM\0*" + jpeg[2:]
    for data in (encoded(smooth(), ".png"), turned):
        image, by = decode_shrunk(data, "a", 4)
        assert by == 1
        np.testing.assert_array_equal(image, decode_rgb(data, "a"))


def test_broken_files_are_refused_as_ever(decoder):
    data = encoded(smooth())
    for bad, why in ((data[:-900], "cut short"), (b"\xff\xd8\xff\xda\0\x08\xff\xd9", "damaged")):
        with pytest.raises(DataError, match=rf"a\.jpg: .*{why}"):
            decode_shrunk(bad, "a.jpg", 2)


@pytest.mark.parametrize(
    ("side", "normal", "shrink"),
    [
        (15.9, 0.0, 1),  # the crop is a little less than twice what it becomes
        (16.0, 0.0, 2),
        (31.9, 0.0, 2),
        (32.0, 0.0, 4),
        (500.0, 0.0, 8),  # there is nothing smaller
        (16.0, -0.1, 1),  # jittered to a smaller one
        (16.0, 1.5, 4),  # and to one of 2.1 times the size
        (0.0, 0.0, 1),
        (np.nan, 0.0, 1),
    ],
)
def test_the_decoder_gives_no_fewer_pixels_than_the_crop_has(side, normal, shrink):
    rule = memory_config(SEARCH={"SIZE": SIDE, "FACTOR": 4.0, "SCALE_JITTER": 0.5}).data.search
    box = np.array([10.0, 10.0, side, side])
    assert largest_shrink(box, np.full(2, normal), rule) == shrink


def bright_square(rng):
    """A frame with a target of 48 pixels and its box, away from the borders."""
    image = np.full((*SIZE[::-1], 3), 20, np.uint8)
    x, y = rng.integers(90, 140), rng.integers(70, 100)
    image[y : y + 48, x : x + 48] = 240
    return image, np.array([x, y, 48.0, 48.0])


def off_the_box(sample):
    """From the box to the bright square in the search crop, `(2,)` in pixels of the crop."""
    weights = sample.search[..., 0].astype(float) - 20
    weights[weights < 60] = 0
    y, x = np.indices(weights.shape)
    seen = np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()
    return seen - (sample.box[:2] + sample.box[2:] / 2) * (SIDE - 1)


def test_boxes_lie_on_the_target_as_in_whole_frames():
    """A crop begins at a whole pixel of the smaller frame: that may be either way, not one way."""
    search = {"SIZE": SIDE, "CENTER_JITTER": 0.5, "SCALE_JITTER": 0.0}
    data = memory_config(1, SEARCH=search, BRIGHTNESS=0.0, GRAY=0.0).data
    transform, rng = TrainingTransform(data), np.random.default_rng(3)
    gaps = []
    for _ in range(60):
        image, box = bright_square(rng)
        variation = transform.vary(rng, 2)
        file = EncodedImage(encoded(image), "a.jpg")
        small = FrameSample((BoxedFrame(file, box),) * 2, "a")
        assert [frame.shrink for frame in transform.frames(small, variation)] == [4, 4]
        whole = FrameSample((BoxedFrame(decode_rgb(file.data, "a"), box),) * 2, "a")
        a, b = (transform.apply(draw, variation) for draw in (whole, small))
        gaps.append((off_the_box(a), off_the_box(b)))
        assert np.abs(a.box - b.box).max() < 0.02
    whole_gaps, small_gaps = np.swapaxes(gaps, 0, 1)
    # Half a pixel of the small frame would be 0.33 pixels of the crop.
    assert np.abs(np.mean(small_gaps - whole_gaps, 0)).max() < 0.08
    assert small_gaps.std() < 1.2 * whole_gaps.std()


def test_a_file_is_decoded_once_for_the_crop_that_needs_most(monkeypatch):
    calls = []

    def decode(self, shrink):
        calls.append(shrink)
        return decode_shrunk(self.data, self.name, shrink)

    monkeypatch.setattr(EncodedImage, "decode", decode)
    transform = TrainingTransform(memory_config(SEARCH={"SIZE": SIDE, "SCALE_JITTER": 0.5}).data)
    file = EncodedImage(encoded(smooth()), "a.jpg")
    draw = FrameSample((BoxedFrame(file, np.array([80.0, 60.0, 40.0, 40.0])),) * 3, "a")
    variation = transform.vary(np.random.default_rng(0), 3)
    variation.normal[2] = -1.0  # the search crop is smaller than the templates' crops
    frames = transform.frames(draw, variation)
    assert calls == [2] and {frame.shrink for frame in frames} == {2}
    assert all(frame.image is frames[0].image for frame in frames)


def user_folder(folder):
    write_frames(folder / "video-0", numbered(24), size=(640, 480))
    write_text(folder / "video-0" / "groundtruth.txt", "200,150,160,120\n" * 24)
    return folder


def sampler_of(tmp_path, part="train", **data):
    sets = {"DATASETS_NAME": [str(tmp_path / "mine")], "DATASETS_RATIO": [1.0]}
    cfg = Config.model_validate({"DATA": {part.upper(): sets, **data}})
    return build_sampler(cfg, paths_of(tmp_path), 3, part, cache_dir=tmp_path / "cache")


def test_the_setting_changes_the_decoding_of_the_training_only(tmp_path):
    user_folder(tmp_path / "mine")
    rng = np.random.default_rng(0)
    images = {
        (part, scaled): sampler_of(tmp_path, part, SCALED_DECODE=scaled)
        .sources[0]
        .draw(rng, 0.0)
        .sightings[0]
        .image
        for part in ("train", "val")
        for scaled in (False, True)
    }
    kinds = {key: type(image) for key, image in images.items()}
    assert kinds.pop(("train", True)) is EncodedImage
    assert set(kinds.values()) == {np.ndarray}


def test_samples_are_of_the_same_frames_and_places(tmp_path):
    user_folder(tmp_path / "mine")
    usual, scaled = (sampler_of(tmp_path, SCALED_DECODE=on) for on in (False, True))
    for number in range(8):
        a, b = usual.sample(1, number), scaled.sample(1, number)
        assert a.source == b.source
        assert np.abs(a.box - b.box).max() < 0.01


def test_a_broken_file_costs_a_redraw_and_is_told(tmp_path):
    folder = user_folder(tmp_path / "mine") / "video-0"
    broken = sorted(folder.glob("*.jpg"))[:8]
    for file in broken[:4]:
        file.write_bytes(file.read_bytes()[:-200])
    for file in broken[4:]:
        file.unlink()
        file.mkdir()
    sampler = sampler_of(tmp_path, SCALED_DECODE=True)
    told = [text for number in range(12) for text in sampler.sample(1, number).broken]
    assert any("cut short" in text for text in told) and any("cannot be read" in t for t in told)
    assert all(any(text.startswith(f"{file}: ") for file in broken) for text in told)
