"""Frames for the player: a sample of small JPEG files within a budget, or links to the files."""

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from lib.datasets.sequence import FrameSource
from lib.utils.errors import DataError

_QUALITY = 72
# (longest side in pixels, how many pictures must fit for it to be chosen). Motion shows more than
# detail: a large picture only where there are enough of them.
_SIZES = ((640, 120), (480, 120), (400, 100), (320, 16), (256, 0))
_PROBES = 3
_SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
# Characters around the address of a picture in the page: its frame, brackets, commas.
_AROUND = 16


@dataclass(frozen=True)
class Picture:
    """The picture of one frame."""

    frame: int  # 0-based number
    source: str  # a `data:` address, or where the file is, seen from the page


@dataclass(frozen=True)
class Sample:
    """The pictures of a sequence, by frame, and what could not be read."""

    pictures: tuple[Picture, ...]
    problems: tuple[str, ...] = ()

    @property
    def characters(self) -> int:
        """What the pictures take in the page."""
        return sum(len(picture.source) + _AROUND for picture in self.pictures)


def embedded_sample(frames: FrameSource, order: Iterable[int], budget: int) -> Sample:
    """As many frames, in the given order, as fit into `budget` characters.

    Args:
        order: 0-based numbers, the most important first.
        budget: for all of them together.
    """
    wanted = list(order)
    side = _choose_side(frames, wanted, budget)
    pictures, problems = [], []
    for frame in wanted:
        try:
            source = _data_address(_jpeg(frames.read(frame), side))
        except DataError as error:
            problems.append(str(error))
            continue
        budget -= len(source) + _AROUND
        if budget < 0:
            break
        pictures.append(Picture(frame, source))
    return Sample(tuple(sorted(pictures, key=lambda one: one.frame)), tuple(problems))


def linked_frames(frames: FrameSource, page_folder: Path) -> Sample | None:
    """Links to the files of all frames; None where frames are no files that a browser shows.

    Args:
        page_folder: where the page will lie; the links are relative to it.
    """
    pictures = []
    for frame in range(len(frames)):
        path = Path(frames.describe(frame))
        if path.suffix.lower() not in _SHOWN_BY_BROWSERS or (frame == 0 and not path.is_file()):
            return None
        pictures.append(Picture(frame, _link(path, page_folder)))
    return Sample(tuple(pictures))


def _choose_side(frames: FrameSource, order: list[int], budget: int) -> int:
    """The longest side of the pictures with which enough of them fit."""
    probes = []
    for frame in order[:_PROBES]:
        try:
            probes.append(frames.read(frame))
        except DataError:
            continue
    if not probes:
        return _SIZES[-1][0]
    for side, least in _SIZES:
        mean = np.mean([len(_data_address(_jpeg(image, side))) for image in probes])
        if budget >= mean * min(least, len(order)):
            return side
    return _SIZES[-1][0]


def _jpeg(image: np.ndarray, side: int) -> bytes:
    """A (H, W, 3) RGB image as JPEG, its longest side at most `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def _data_address(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def _link(path: Path, page_folder: Path) -> str:
    """Address of a file seen from the page; absolute where no way leads from one to the other."""
    try:
        relative = os.path.relpath(path.absolute(), page_folder.absolute())
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return quote(Path(relative).as_posix(), errors="surrogateescape")
