"""Video files as people have them, written by PyAV; every picture shows its own number."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

TICKS = Fraction(1, 1000)
RED, BLUE, GREEN = (230, 40, 30), (30, 40, 230), (20, 200, 40)


def numbered(count: int, width: int = 96, height: int = 64, first: int = 0) -> list[np.ndarray]:
    """RGB pictures; `number_in` reads the number, 0..255, from eight fields in the middle.

    The upper left quarter is red, the upper right one green, the lower half blue.
    """
    images = []
    for number in range(first, first + count):
        image = np.empty((height, width, 3), np.uint8)
        image[:] = BLUE
        image[: height // 2, : width // 2] = RED
        image[: height // 2, width // 2 :] = GREEN
        for field, bit in zip(_fields(image), f"{number:08b}", strict=True):
            field[:] = 255 * int(bit)
        images.append(image)
    return images


def number_in(image: np.ndarray) -> int:
    """The number of a picture made by `numbered`."""
    return int("".join("01"[int(field.mean() > 127)] for field in _fields(image)), 2)


def _fields(image: np.ndarray) -> list[np.ndarray]:
    """Two rows of four fields about the middle of a picture."""
    height, width = image.shape[:2]
    rows = [round(height * (0.25 + 0.25 * i)) for i in range(3)]
    columns = [round(width * (0.25 + 0.125 * i)) for i in range(5)]
    return [
        image[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        for i in range(2)
        for j in range(4)
    ]


def write_av(
    path: Path,
    images: Sequence[np.ndarray],
    codec: str = "libx264",
    *,
    rate: int = 25,
    pix_fmt: str = "yuv420p",
    times: Iterable[float] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    colorspace: int | None = None,
) -> Path:
    """A video file of RGB (or grey) pictures.

    Args:
        path: its suffix chooses the container.
        images: the pictures.
        codec: an encoder of FFmpeg.
        rate: frames per second, where `times` does not say otherwise.
        pix_fmt: of the encoder.
        times: seconds of the pictures.
        options: of the encoder.
        container_options: of the container.
        colorspace: number of the matrix, which is tagged too.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times is not None:
            stream.time_base = stream.codec_context.time_base = TICKS
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        for picture in _pictures(images, times, pix_fmt, colorspace):
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _pictures(
    images: Sequence[np.ndarray],
    times: Iterable[float] | None,
    pix_fmt: str,
    colorspace: int | None,
) -> Iterable[Any]:
    given = list(times) if times is not None else [None] * len(images)
    for image, time in zip(images, given, strict=True):
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        if colorspace is not None:
            picture = picture.reformat(format=pix_fmt, dst_colorspace=colorspace)
            picture.colorspace = colorspace
        if time is not None:
            picture.pts, picture.time_base = round(time / TICKS), TICKS
        yield picture


def read_av(path: Path) -> list[tuple[float, np.ndarray]]:
    """Times in seconds and RGB pictures of a video file, by PyAV alone."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
        return [(float(p.pts * p.time_base), p.to_ndarray(format="rgb24")) for p in pictures]
