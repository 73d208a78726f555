"""Frames from files: the right pixels, or why not."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils import image_io
from lib.utils.errors import DataError
from lib.utils.image_io import read_labels, read_rgb, write_rgb


def noisy(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray, suffix: str = ".jpg", *parameters: int) -> bytes:
    return cv2.imencode(suffix, image, list(parameters))[1].tobytes()


def with_header_block(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """`jpeg` with an application block (EXIF and the like) right behind its start."""
    block = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    return jpeg[:2] + block + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PNG"])
def test_lossless_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"häuser 東京{suffix}"
    image = noisy()
    write_rgb(path, image)
    read = read_rgb(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, image)
    np.testing.assert_array_equal(read_rgb(str(path)), image)


def test_order_is_red_green_blue(tmp_path: Path) -> None:
    path = tmp_path / "red.jpg"
    write_rgb(path, np.full((16, 16, 3), (250, 20, 10), np.uint8))
    assert np.abs(read_rgb(path)[8, 8].astype(int) - (250, 20, 10)).max() <= 3


def test_equals_opencv_on_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(noisy()))
    np.testing.assert_array_equal(read_rgb(path), cv2.imread(str(path))[:, :, ::-1])


SAMPLINGS = [name for name in dir(cv2) if name.startswith("IMWRITE_JPEG_SAMPLING_FACTOR_")]


@pytest.mark.parametrize("progressive", [0, 1], ids=["baseline", "progressive"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_fast_decoder_gives_the_same_pixels(tmp_path: Path, sampling: str, progressive) -> None:
    """In every sampling of the colours, for sides that fill no block: bit by bit."""
    pytest.importorskip("simplejpeg")
    parameters = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, sampling))
    parameters += (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    for height, width in ((1, 1), (17, 3), (121, 95)):
        image = cv2.resize(noisy(), (width, height), interpolation=cv2.INTER_CUBIC)
        data = encoded(image, ".jpg", *parameters)
        fast = image_io._decoded_fast(data)
        assert fast is not None
        np.testing.assert_array_equal(
            fast, cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1]
        )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            with_header_block(encoded(noisy()), 0xE1, b"Exif\0\0MM\0*"), id="may be turned"
        ),
        pytest.param(encoded(noisy())[:-700], id="cut short"),
        pytest.param(encoded(noisy(), ".png"), id="no JPEG"),
        pytest.param(b"\xff\xd8\xff\xda\x00\x08" + b"\xff\xd9" * 9, id="damaged"),
    ],
)
def test_what_is_left_to_opencv(data: bytes) -> None:
    pytest.importorskip("simplejpeg")
    assert image_io._decoded_fast(data) is None


def test_without_the_fast_decoder_all_is_the_same(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(noisy()))
    usual = read_rgb(path)
    monkeypatch.setattr(image_io, "_fast_decoder", lambda: None)
    np.testing.assert_array_equal(read_rgb(path), usual)


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(np.full((8, 9), 200, np.uint8), id="grey"),
        pytest.param(np.full((8, 9, 4), 200, np.uint8), id="transparent"),
        pytest.param(np.full((8, 9, 3), 200 * 257, np.uint16), id="16 bit"),
    ],
)
def test_becomes_three_bytes_a_pixel(tmp_path: Path, stored: np.ndarray) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(stored, ".png"))
    image = read_rgb(path)
    assert image.shape == (8, 9, 3)
    assert image.dtype == np.uint8
    assert (image == 200).all()


def test_rotation_tag_is_applied_as_opencv_does(tmp_path: Path) -> None:
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + tag + b"\0\0\0\0"
    path = tmp_path / "portrait.jpg"
    path.write_bytes(with_header_block(encoded(noisy(48, 64)), 0xE1, exif))
    image = read_rgb(path)
    assert image.shape == (64, 48, 3)
    np.testing.assert_array_equal(image, cv2.imread(str(path))[:, :, ::-1])


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: image not found"):
        read_rgb(tmp_path / "none.jpg")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg: the image file is empty"):
        read_rgb(path)
    path.write_bytes(b"<html>quota exceeded</html>" * 20)
    with pytest.raises(DataError, match=r"a\.jpg: damaged or not an image"):
        read_rgb(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_rgb(tmp_path)


# From "only the header is left" to "a handful of bytes is missing".
@pytest.mark.parametrize("kept", [0.001, 0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize(
    "parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)], ids=["baseline", "progressive"]
)
def test_cut_jpeg_is_refused(tmp_path: Path, kept: float, parameters: tuple[int, ...]) -> None:
    data = encoded(noisy(240, 320), ".jpg", *parameters)
    path = tmp_path / "00000042.jpg"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError, match=r"00000042\.jpg: the JPEG file is cut short"):
        read_rgb(path)


def test_cut_jpeg_with_a_whole_preview_is_refused(tmp_path: Path) -> None:
    preview = encoded(noisy(16, 16))
    assert preview.endswith(b"\xff\xd9")
    data = with_header_block(encoded(noisy(240, 320)), 0xE2, preview)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert read_rgb(path).shape == (240, 320, 3)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cut short"):
        read_rgb(path)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"\0" * 5000, id="padding of a block device"),
        pytest.param(b"\xff\xda\x00\x11" * 50, id="bytes that look like another picture"),
    ],
)
def test_bytes_after_the_end_are_no_alarm(tmp_path: Path, tail: bytes) -> None:
    data = encoded(noisy())
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    whole = read_rgb(path)
    path.write_bytes(data + tail)
    np.testing.assert_array_equal(read_rgb(path), whole)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_cut_lossless_files_are_refused(tmp_path: Path, suffix: str) -> None:
    data = encoded(noisy(), suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="damaged or not an image"):
        read_rgb(path)


@pytest.mark.parametrize(
    ("stored", "values"),
    [
        pytest.param(np.array([[0, 7, 255]], np.uint8), [0, 7, 255], id="8 bits"),
        pytest.param(np.array([[1, 255, 256]], np.uint16), [1, 255, 256], id="16 bits"),
        pytest.param(
            np.array([[[3, 2, 1], [0, 1, 0]]], np.uint8), [0x010203, 0x000100], id="colours"
        ),
        pytest.param(
            np.array([[[0, 0, 1, 9], [0, 0, 1, 255]]], np.uint8), [0x010000] * 2, id="transparent"
        ),
    ],
)
def test_label_maps_keep_their_values(tmp_path: Path, stored: np.ndarray, values: list) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(stored, ".png"))
    labels = read_labels(path)
    assert labels.dtype == np.int32 and labels.tolist() == [values]


def test_colours_of_16_bits_are_no_label_map(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(np.zeros((4, 4, 3), np.uint16), ".png"))
    with pytest.raises(DataError, match=r"a\.png: not a label map but .* uint16"):
        read_labels(tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(1, 65501, 3), (0, 5, 3)], ids=["too wide", "empty"])
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, shape: tuple[int, ...]) -> None:
    said = rf"a\.jpg: an image of {shape[1]} x {shape[0]} pixels cannot be written"
    with pytest.raises(DataError, match=said):
        write_rgb(tmp_path / "a.jpg", np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'\.webm' is none of \.bmp"):
        write_rgb(tmp_path / "a.webm", noisy())
    write_rgb(tmp_path / "new" / "a.png", noisy())
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "a.png"]
