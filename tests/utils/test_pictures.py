"""Pictures of all kinds that people have: their pixels, one range for a clip's grey, stacks."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import (
    ImageFiles,
    NumberedFiles,
    StackPages,
    announce_range,
    folder_frames,
)
from lib.datasets.storage.pack import open_pack
from lib.datasets.storage.pack_crop import CropRule
from lib.datasets.storage.pack_write import Packing
from lib.datasets.text.ground_truth import list_images
from lib.datasets.training.open import open_training_set
from lib.datasets.training.set import IndexedSet
from lib.evaluation.sequence import run_sequence
from lib.tracker.baselines.static_box import StaticBox
from lib.train.data.sampler import VideoSource
from lib.utils.errors import DataError
from lib.utils.grey_range import GreyRange
from lib.utils.image_io import count_pictures, decode_rgb, read_rgb
from lib.video.open import open_clip
from tests.helpers.dataset_files import boxes_text, write_text
from tests.helpers.picture_files import (
    colours,
    encoded,
    png_16,
    stack,
    thermal,
    with_orientation,
    write_clip,
)

LOSSLESS = [".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".ppm", ".TIF", ".WebP", ".j2k"]


# --- One picture ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_colours_are_those_of_the_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(colours(), suffix))
    np.testing.assert_array_equal(read_rgb(path), colours())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("L", "LA", "P", "1", "RGBA")),
        *(("TIFF", mode) for mode in ("L", "P", "1", "CMYK")),
        *(("JPEG", mode) for mode in ("L", "CMYK")),
        *(("BMP", mode) for mode in ("L", "P", "1")),
        *(("PPM", mode) for mode in ("L", "1")),
        ("GIF", "P"),
        ("WEBP", "RGBA"),
    ],
)
def test_kinds_of_colours_are_those_of_another_decoder(kind: str, mode: str) -> None:
    """Grey, palettes, one bit, CMYK and transparency, as Pillow converts them."""
    picture = Image.fromarray(colours()).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, kind, **({"lossless": True} if kind == "WEBP" else {}))
    wanted = np.asarray(Image.open(io.BytesIO(stream.getvalue())).convert("RGB")).astype(int)
    assert np.abs(decode_rgb(stream.getvalue(), "a") - wanted).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_transparency_is_ignored(suffix: str) -> None:
    """As in the frames of benchmarks ever since: what lies behind is nobody's guess."""
    alpha = np.zeros((48, 64, 1), np.uint8)
    image = np.concatenate([colours(), alpha], axis=2)
    stream = io.BytesIO()
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(image).save(stream, suffix[1:], **options)
    np.testing.assert_array_equal(decode_rgb(stream.getvalue(), "a"), colours())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(kind: str) -> None:
    """As photo viewers show it: the camera was turned to the right (6)."""
    turned = decode_rgb(with_orientation(colours(), kind, 6), "a")
    assert turned.shape == (64, 48, 3)
    straight = decode_rgb(with_orientation(colours(), kind, 1), "a")
    np.testing.assert_array_equal(turned, np.rot90(straight, -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp", ".ppm"])
def test_the_smallest_picture(suffix: str) -> None:
    image = np.full((1, 1, 3), 90, np.uint8)
    np.testing.assert_array_equal(decode_rgb(encoded(image, suffix), "a"), image)


def test_a_huge_picture_is_named_with_the_limit() -> None:
    with pytest.raises(DataError, match=r"a\.png: more pixels than OpenCV reads \(2\^20 each way"):
        decode_rgb(png_16(np.zeros((1, 1), np.uint16), claims=(60000, 60000)), "a.png")


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".jp2", ".ppm", ".gif"])
def test_cut_files_are_refused(tmp_path: Path, suffix: str) -> None:
    data = encoded(colours(), suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.\w+: damaged or not an image"):
        read_rgb(path)


# --- Grey of more than 8 bits -----------------------------------------------------------------


@pytest.mark.parametrize("bits", [12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
def test_thermal_pictures_use_the_whole_range(tmp_path: Path, bits: int, suffix: str) -> None:
    """By the upper byte alone, ground and target of 12 bits were 3 grey levels apart."""
    unit = 2 ** (bits - 12)
    frames = write_clip(tmp_path, suffix, [thermal(i, 2000 * unit, 2600 * unit) for i in range(3)])
    image = frames.read(0)
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert int(image[15, 15, 0]) - int(image[40, 50, 0]) > 150


def test_one_range_for_the_clip_in_any_order(tmp_path: Path, caplog) -> None:
    """A target that warms up becomes brighter; a worker that begins later sees the same."""
    images = [thermal(i, 7000, 9000 + 50 * i) for i in range(4)]
    frames = write_clip(tmp_path, ".png", images)
    forward = [frames.read(i) for i in range(4)]
    targets = [int(image[15, 15, 0]) for image in forward]
    assert targets == sorted(set(targets))
    assert np.ptp([int(image[40, 50, 0]) for image in forward]) <= 12  # the noise of the ground
    other = pickle.loads(pickle.dumps(ImageFiles(frames.folder, frames.names)))
    for i in (3, 1, 0, 2):
        np.testing.assert_array_equal(other.read(i), forward[i])
    announce_range(other)
    (line,) = (record.message for record in caplog.records)
    assert "0001.png: grey of more than 8 bits; values of 66" in line


def test_a_dead_pixel_does_not_count() -> None:
    image = thermal(0, 7000, 9000)
    clean = GreyRange.of(image)
    image[3, 50], image[30, 3] = 0, 65535
    assert GreyRange.of(image) == clean


@pytest.mark.parametrize(("level", "shown"), [(200 * 257, 200), (2048, 128), (8191, 127), (0, 0)])
def test_a_picture_of_one_value_keeps_its_share_of_the_bits(level: int, shown: int) -> None:
    data = encoded(np.full((8, 9), level, np.uint16), ".png")
    assert abs(decode_rgb(data, "a").astype(int) - shown).max() <= 1


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32])
def test_other_numbers_are_scaled_too(tmp_path: Path, kind: type) -> None:
    """Degrees Celsius, say; no number is black."""
    image = ((thermal(0, 7000, 9000) - 7000.0) / 100 - 10).astype(kind)
    if kind is not np.int32:
        image[0, 0] = np.nan
    path = tmp_path / "a.tif"
    if kind is np.float64:
        path.write_bytes(encoded(image, ".tif"))
    else:
        Image.fromarray(image).save(path)
    shown = read_rgb(path)
    assert int(shown[15, 15, 0]) - int(shown[40, 50, 0]) > 150
    assert shown[0, 0, 0] == 0 or kind is np.int32


def test_colours_of_floating_point_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(encoded(colours().astype(np.float32), ".tif"))
    with pytest.raises(DataError, match=r"a\.tif: colours of float32"):
        read_rgb(path)


def test_grey_of_16_bits_with_transparency_is_grey() -> None:
    image = thermal(0, 7000, 9000)
    opaque = np.dstack([image, np.full_like(image, 65535)])
    np.testing.assert_array_equal(decode_rgb(png_16(opaque), "a"), decode_rgb(png_16(image), "a"))


def test_colours_of_16_bits_stay_as_they_are() -> None:
    image = colours().astype(np.uint16) * 257
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(decode_rgb(data, "a"), colours())


def test_the_range_reaches_archives_and_training(tmp_path: Path, caplog) -> None:
    """The same pixels from a folder, an archive, a data set and the samples of a training."""
    images = [thermal(i, 7000, 9000 + 10 * i) for i in range(22)]
    frames = write_clip(tmp_path / "v" / "frames" / "cat", ".png", images)
    write_text(tmp_path / "v" / "anno" / "cat.txt", boxes_text(22))
    wanted = [frames.read(i) for i in range(22)]
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        for path in sorted((tmp_path / "v").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "v"))
    paths = resolve_paths(env={})
    for place in ("v", "v.zip"):
        sequence = open_dataset(str(tmp_path / place), paths).load("cat")
        np.testing.assert_array_equal(sequence.frames.read(21), wanted[21])
    caplog.clear()
    opened = open_training_set(str(tmp_path / "v"), paths, tmp_path / "cache")
    assert len(caplog.records) == 1 and "grey of more than 8 bits" in caplog.text
    assert isinstance(opened.load(0).frames, NumberedFiles)
    for encoded_images in (False, True):
        draw = VideoSource(opened, 2, "order", 5, encoded_images).draw(
            np.random.default_rng(0), 0.0
        )
        numbers = [int(word) for word in draw.source.rpartition("frames ")[2].split(",")]
        for number, sighting in zip(numbers, draw.sightings, strict=True):
            image = sighting.image
            pixels = image if isinstance(image, np.ndarray) else image.decode(1)[0]
            np.testing.assert_array_equal(pixels, wanted[number])
    assert len(caplog.records) == 1  # not one for each sample


# --- Folders ----------------------------------------------------------------------------------


def test_mixed_suffixes_are_read_in_natural_order(tmp_path: Path) -> None:
    for number, suffix in enumerate([".png", ".PNG", ".tif", ".webp", ".ppm"], start=8):
        (tmp_path / f"{number}{suffix}").write_bytes(
            encoded(np.full((8, 8, 3), number, np.uint8), suffix.lower())
        )
    names = list_images(tmp_path)
    assert names == ("8.png", "9.PNG", "10.tif", "11.webp", "12.ppm")
    levels = [int(ImageFiles(tmp_path, names).read(i).mean()) for i in range(5)]
    assert levels == [8, 9, 10, 11, 12]


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    for name in ("1.png", "2.heic", "3.HEIC", "4.dng", "notes.txt"):
        (tmp_path / name).write_bytes(encoded(colours(), ".png"))
    told: list[str] = []
    assert list_images(tmp_path, told.append) == ("1.png",)
    line = f"{tmp_path}: 2 .heic and 1 .dng are not read; convert them, to PNG for example"
    assert told == [line]
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match=r"no images \(looked for .*; 2 \.heic and 1 \.dng are not"):
        list_images(tmp_path)


def test_a_frame_in_two_formats_is_refused(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "2.tif"):
        (tmp_path / name).write_bytes(encoded(colours(), ".png"))
    with pytest.raises(DataError, match=r"2\.(jpg|tif) and 2\.(jpg|tif) are one frame twice"):
        list_images(tmp_path)


def test_images_in_a_folder_that_is_no_layout_are_pointed_out(tmp_path: Path) -> None:
    write_clip(tmp_path / "cat" / "rgb", ".png", [thermal(0, 7000, 9000)])
    write_text(tmp_path / "cat" / "groundtruth.txt", boxes_text(1))
    dataset = open_dataset(str(tmp_path), resolve_paths(env={}))
    with pytest.raises(DataError, match="there are some in rgb/, which is no layout: rename it"):
        dataset.load("cat")


# --- Stacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}])
def test_pages_of_a_stack_are_frames(tmp_path: Path, options: dict) -> None:
    pages = [colours() // (i + 1) for i in range(12)]
    stack(tmp_path / "cat" / "clip.tif", pages, **options)
    write_text(tmp_path / "cat" / "groundtruth.txt", boxes_text(12))
    assert count_pictures(tmp_path / "cat" / "clip.tif") == 12
    sequence = open_dataset(str(tmp_path), resolve_paths(env={})).load("cat")
    frames = pickle.loads(pickle.dumps(sequence.frames))
    assert len(frames) == len(sequence.ground_truth) == 12
    for index in (11, 0, 5):
        np.testing.assert_array_equal(frames.read(index), pages[index])
    assert frames.describe(11).endswith("clip.tif page 12")


def test_pages_of_a_thermal_stack_share_a_range(tmp_path: Path) -> None:
    stack(tmp_path / "clip.tif", [thermal(i, 7000, 9000 + 100 * i) for i in range(3)])
    frames = folder_frames(tmp_path, ("clip.tif",))
    targets = [int(frames.read(i)[15, 15, 0]) for i in (2, 1, 0)]
    assert targets == sorted(set(targets), reverse=True)


def test_thumbnails_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.tif"
    stack(path, [colours(), colours()[::2, ::2]], reduced=1)
    assert count_pictures(path) == 1
    assert isinstance(folder_frames(tmp_path, ("clip.tif",)), ImageFiles)


def test_files_of_several_pages_among_others_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("1.tif", "2.tif"):
        stack(tmp_path / name, [colours(), colours() // 2])
    frames = folder_frames(tmp_path, ("1.tif", "2.tif"))
    np.testing.assert_array_equal(frames.read(1), colours())
    assert "1.tif has 2 pages; of every file" in caplog.text


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _circle(data: bytes) -> bytes:
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    after = first + 2 + 12 * count
    return data[:after] + data[4:8] + data[after + 4 :]


@pytest.mark.parametrize(("damage", "said"), [(_cut, "cut short"), (_circle, "in a circle")])
def test_a_damaged_stack_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "clip.tif"
    stack(path, [colours()] * 3)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"clip\.tif: the TIFF file is .*{said}"):
        StackPages(path)


def test_an_animation_in_a_folder_says_what_to_do(tmp_path: Path) -> None:
    pages = [Image.fromarray(colours() // (i + 1)) for i in range(5)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"a\.gif: an animation of 5 pictures; unpack it"):
        folder_frames(tmp_path, ("a.gif",))


def test_a_stack_is_a_clip(tmp_path: Path) -> None:
    pages = [colours() // (i + 1) for i in range(5)]
    stack(tmp_path / "only" / "clip.tif", pages)
    for place in (tmp_path / "only" / "clip.tif", tmp_path / "only"):
        clip = open_clip(place, 10.0)
        assert clip.length == 5
        frames = list(clip.frames())
        assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
        np.testing.assert_array_equal(frames[4].image, pages[4])


def test_an_animation_is_a_clip_or_says_what_to_do(tmp_path: Path) -> None:
    pages = [Image.fromarray(colours() // (i + 1)) for i in range(5)]
    for name in ("a.gif", "a.png", "a.webp"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], duration=80)
    for name in ("a.gif", "a.png"):
        times = [frame.time for frame in open_clip(tmp_path / name).frames()]
        assert times == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    with pytest.raises(DataError, match=r"a\.webp: an animation of 5 pictures, .*unpack it"):
        open_clip(tmp_path / "a.webp")


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".jp2", ".pgm", ".gif"])
def test_a_single_picture_of_any_kind_is_no_clip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(colours()[..., 0] if suffix == ".pgm" else colours(), suffix))
    with pytest.raises(DataError, match="is a single image; give its folder"):
        open_clip(path)


def test_tracking_a_thermal_clip_says_the_range(tmp_path: Path, caplog) -> None:
    """In one line, whether a clip is tracked or a folder of sequences is tested."""
    frames = write_clip(tmp_path / "v" / "cat", ".png", [thermal(i, 7000, 9000) for i in range(3)])
    list(open_clip(frames.folder).frames())
    assert len(caplog.records) == 1
    write_text(frames.folder / "groundtruth.txt", "10,10,12,10\n")
    sequence = open_dataset(str(tmp_path / "v"), resolve_paths(env={})).load("cat")
    run_sequence(StaticBox(), sequence)
    first, second = (record.getMessage() for record in caplog.records)
    assert first == second and "become 0 to 255 in the whole clip" in first


def test_packing_crops_of_a_thermal_clip_keeps_its_range(tmp_path: Path) -> None:
    """The first frame, which gives the range, is cut in a pack as all others are."""
    images = [thermal(i, 7000, 9000 + 10 * i) for i in range(4)]
    frames = write_clip(tmp_path / "v" / "cat", ".png", images)
    write_text(tmp_path / "v" / "cat" / "groundtruth.txt", "10,10,12,10\n" * 4)
    opened = open_training_set(str(tmp_path / "v"), resolve_paths(env={}), tmp_path / "cache")
    assert isinstance(opened, IndexedSet)
    for reach in (1.5, 50.0):  # a part of each frame, and all of it
        packing = Packing(opened, tmp_path / f"pack{reach}", 100, CropRule(reach))
        packing.begin()
        packing.run(1, lambda _: None)
        packing.finish()
        packed = open_pack(tmp_path / f"pack{reach}", "v").load(0)
        for i in range(4):
            x, y = packed.boxes[i][:2].astype(int)
            part = packed.frames.read(i)[y : y + 10, x : x + 12].astype(int)
            assert abs(part - frames.read(i)[10:20, 10:22]).max() <= 12  # JPEG
