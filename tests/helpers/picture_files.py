"""Makers of pictures of the kinds that cameras and microscopes write."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lib.datasets.sequence import ImageFiles

_ORIENTATION = 274
_SUBFILE_TYPE = 254


def colours() -> np.ndarray:
    """A picture (48, 64, 3) uint8 RGB in which all sides and channels differ."""
    y, x = np.mgrid[:48, :64]
    return np.dstack([x * 3, y * 5, np.where(x + y < 50, 200, 30)]).astype(np.uint8)


def thermal(index: int, ground: int, target: int) -> np.ndarray:
    """Grey (48, 64) uint16: noise of 1/100 round `ground`, and a target at (10, 10, 12, 10)."""
    noise = np.random.default_rng(index).integers(-ground // 100, ground // 100, (48, 64))
    image = (ground + noise).astype(np.uint16)
    image[10:20, 10:22] = target
    return image


def encoded(image: np.ndarray, suffix: str) -> bytes:
    """An image file of RGB or grey, without loss where the format can."""
    options = {".webp": [cv2.IMWRITE_WEBP_QUALITY, 101], ".jp2": [], ".j2k": []}
    bgr = image[..., ::-1] if image.ndim == 3 else image
    suffix = suffix.lower()
    name = ".jp2" if suffix == ".j2k" else suffix
    done, data = cv2.imencode(name, np.ascontiguousarray(bgr), options.get(suffix, []))
    assert done
    return data.tobytes()


def write_clip(folder: Path, suffix: str, images: Sequence[np.ndarray]) -> ImageFiles:
    """The images as 0001.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(f"{i + 1:04d}{suffix}" for i in range(len(images)))
    for name, image in zip(names, images, strict=True):
        (folder / name).write_bytes(encoded(image, suffix))
    return ImageFiles(folder, names)


def with_orientation(image: np.ndarray, kind: str, orientation: int) -> bytes:
    """A file whose tag says how the camera was held."""
    stream, picture = io.BytesIO(), Image.fromarray(image)
    if kind == "TIFF":
        picture.save(stream, kind, tiffinfo={_ORIENTATION: orientation})
    else:
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        picture.save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def png_16(image: np.ndarray, claims: tuple[int, int] | None = None) -> bytes:
    """A PNG of grey (H, W), or grey and transparency (H, W, 2), in 16 bits.

    Args:
        image: uint16.
        claims: another width and height for the header.
    """
    height, width = image.shape[:2]
    kind = 4 if image.ndim == 3 else 0
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = struct.pack(">2I5B", *(claims or (width, height)), 16, kind, 0, 0, 0)
    blocks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in blocks
    )


def stack(path: Path, pages: Sequence[np.ndarray], reduced: int | None = None, **options) -> None:
    """A TIFF file with a page for each image.

    Args:
        path: of the file.
        pages: the images.
        reduced: number of the page that says that it is a thumbnail.
        options: of Pillow.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(page) for page in pages]
    if reduced is not None:
        pictures[reduced].encoderinfo = {"tiffinfo": {_SUBFILE_TYPE: 1}}
    pictures[0].save(path, "TIFF", save_all=True, append_images=pictures[1:], **options)
