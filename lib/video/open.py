"""Where the frames of a video come from: a file, a folder, a camera, a stream, arrays.

A clip hands out its frames by a generator, one in memory at a time.
"""

import glob
import logging
import os
import re
import sys
from collections.abc import Generator, Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from lib.datasets.sequence import FrameSource, StackPages, Video, announce_range, folder_frames
from lib.datasets.text.ground_truth import (
    has_image,
    is_image,
    list_images,
    order_images,
    unread_pictures,
)
from lib.utils.errors import DataError, counted, did_you_mean
from lib.utils.files import special_kind, user_path
from lib.utils.image_io import IMAGE_SUFFIXES, TIFF_SUFFIXES, count_pictures
from lib.video.clip import DEFAULT_FPS, Clip, Frame, check_size, frames_backward
from lib.video.decode import NO_PYAV, has_pyav, open_video
from lib.video.decode_opencv import open_video_opencv
from lib.video.live import open_address, open_camera, open_pipe

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "tcp", "udp", "rtp")
_CAMERA_DEVICE = re.compile(r"/dev/video([0-9]+)")
_PATTERN = re.compile(r"[*?\[]")
# Animations that video decoders read, with the times in them.
_FILMS = (".gif", ".png")


@dataclass(frozen=True)
class FrameClip:
    """Single images with a clock: the files of a folder, or a sequence of a data set."""

    name: str
    source: FrameSource
    fps: float = DEFAULT_FPS
    live: ClassVar[bool] = False
    skipped: ClassVar[int] = 0

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.source)

    def frames(self, start: int = 0, backward: bool = False) -> Generator[Frame, None, None]:
        """The frames in order; see `Clip`."""
        first: tuple[int, ...] | None = None
        announce_range(self.source)
        indices = range(start, self.length)
        if backward:
            indices = range(min(start, self.length - 1), -1, -1)
        for index in indices:
            image = self.source.read(index)
            first = image.shape if first is None else first
            check_size(self.source.describe(index), image.shape, first)
            yield Frame(index, index / self.fps, image, 1 / self.fps)


@dataclass
class ArrayClip:
    """Pictures that somebody's code gives, one after the other; see `Clip`."""

    images: Iterable[np.ndarray]
    fps: float = DEFAULT_FPS
    name: ClassVar[str] = "frames"
    live: ClassVar[bool] = False
    skipped: ClassVar[int] = 0

    @property
    def length(self) -> int | None:
        """Number of frames where it is known."""
        return len(self.images) if isinstance(self.images, Sized) else None

    def frames(self, start: int = 0, backward: bool = False) -> Generator[Frame, None, None]:
        """The frames in order; see `Clip`."""
        if backward and iter(self.images) is self.images:
            raise DataError("an iterator cannot be read backward; give a list of its frames")
        if backward:
            yield from frames_backward(self.frames, start)
            return
        size = None
        for index, image in enumerate(self.images):
            if not _is_rgb(image):
                kind = f"{getattr(image, 'dtype', type(image).__name__)}"
                raise DataError(
                    f"frame {index} is {kind} of shape {np.shape(image)}; frames are uint8 RGB "
                    "arrays (height, width, 3)"
                )
            size = size or image.shape
            check_size(f"frame {index}", image.shape, size)
            if index >= start:
                yield Frame(index, index / self.fps, image, 1 / self.fps)


def _is_rgb(image: object) -> bool:
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
    )


def open_source(
    source: object, *, fps: float | None = None, live: bool | None = None, reconnect: int = 3
) -> Clip:
    """The clip that `source` names.

    Args:
        source: path of a video file or of a folder of images; a pattern of image files, such as
            `img/*.jpg`; number of a camera; address of a stream or of a file on a server; `-` for
            standard input; a video of a data set; or arrays (H, W, 3) uint8 RGB.
        fps: rate of images and arrays, which have none of their own.
        live: whether the newest frame of a pipe or a stream is taken, and others are skipped;
            None: for cameras, and streams that do not say how long they are.
        reconnect: how often a camera or a stream is opened again, before it counts as lost.

    Raises:
        DataError: there is nothing, or nothing that is a video.
        SeqTrackError: as `user_path`.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        return open_camera(source, reconnect)
    if isinstance(source, Video):
        return FrameClip(source.name, source.frames, fps or DEFAULT_FPS)
    if isinstance(source, (str, Path)):
        return _open_named(str(source), fps, live, reconnect)
    if isinstance(source, Iterable):
        return ArrayClip(source, fps or DEFAULT_FPS)
    raise DataError(
        f"{source!r} is no clip; give a path, a camera's number, an address, or arrays of pictures"
    )


def _open_named(text: str, fps: float | None, live: bool | None, reconnect: int) -> Clip:
    """The clip of a word of a command line."""
    if text == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise DataError("-: nothing is piped into standard input")
        return open_pipe("standard input", sys.stdin.buffer, live)
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    elif found := _ADDRESS.match(text):
        scheme = found[1].lower()
        if scheme not in _SCHEMES:
            raise DataError(
                f"{text}: addresses begin with {', '.join(f'{one}://' for one in _SCHEMES)}"
                + did_you_mean(scheme, _SCHEMES)
            )
        return open_address(text, live, reconnect)
    path = user_path(text, "clip")
    device = _CAMERA_DEVICE.fullmatch(text)
    if device or (text.isdecimal() and not path.exists()):
        return open_camera(int(device[1] if device else text), reconnect)
    if special_kind(path) == "named pipe":
        return open_pipe(text, open(path, "rb"), live)
    if _PATTERN.search(text) and not path.exists():
        return _open_pattern(path, fps)
    return open_clip(path, fps)


def _open_pattern(pattern: Path, fps: float | None) -> Clip:
    """The images, or the one video, that a pattern of the shell names."""
    found = [path for path in glob.glob(str(pattern), recursive=True) if os.path.isfile(path)]
    if not found:
        raise DataError(f"{pattern}: no file has such a name")
    if len(found) == 1:
        return open_clip(Path(found[0]), fps)
    if odd := sorted(path for path in found if not is_image(path)):
        raise DataError(f"{pattern}: {counted(len(found), 'file')}, of which {odd[0]} is no image")
    folder = Path(os.path.commonpath([os.path.dirname(path) for path in found]))
    names = order_images((os.path.relpath(path, folder) for path in found), folder)
    return FrameClip(str(pattern), folder_frames(folder, names), fps or DEFAULT_FPS)


def open_clip(path: Path, fps: float | None = None) -> Clip:
    """A video file or a folder of images (in numeric order) as a clip.

    Args:
        path: the file or folder.
        fps: rate of an image folder, which has none of its own.

    Raises:
        DataError: there is nothing, or nothing that is a video.
    """
    if path.is_dir():
        if not has_image(path):
            unread = unread_pictures(child.name for child in path.iterdir())
            hint = f"; {unread}" if unread else _hint_below(path)
            raise DataError(f"{path}: no images in this folder{hint}")
        frames = folder_frames(path, list_images(path, logger.warning))
        return FrameClip(path.resolve().name, frames, fps or DEFAULT_FPS)
    if not path.exists():
        raise DataError(f"{path}: no such video file or folder of images")
    if kind := special_kind(path):
        raise DataError(f"{path} is a {kind}; files, folders and pipes are read")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the video file is empty (0 bytes); copy it again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        pictures = count_pictures(path)
        if pictures == 1:
            raise DataError(
                f"{path} is a single image; give its folder to track through all images"
            )
        if path.suffix.lower() in TIFF_SUFFIXES:
            return FrameClip(path.name, StackPages(path), fps or DEFAULT_FPS)
        if path.suffix.lower() not in _FILMS:
            raise DataError(
                f"{path}: an animation of {pictures} pictures, of a kind that is not read; unpack "
                "it into a file for each, and give their folder"
            )
    if has_pyav():
        return open_video(path)
    logger.warning(NO_PYAV.format(what=path))
    return open_video_opencv(path)


def _hint_below(folder: Path) -> str:
    below = sorted(child for child in folder.iterdir() if child.is_dir() and has_image(child))
    return f"; there are some in {below[0]}" if below else ""
