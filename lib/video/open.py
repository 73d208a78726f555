"""Where the frames of a video come from: a video file, a folder of images, a sequence.

A clip hands out its frames by a generator, one in memory at a time. A webcam or a stream fits the
same contract: its `length` is None and its generator ends when the source does.
"""

import logging
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lib.datasets.sequence import FrameSource, StackPages, announce_range, folder_frames
from lib.datasets.text.ground_truth import has_image, list_images, unread_pictures
from lib.utils.errors import DataError
from lib.utils.files import special_kind, user_path
from lib.utils.image_io import IMAGE_SUFFIXES, TIFF_SUFFIXES, count_pictures
from lib.video.clip import DEFAULT_FPS, Clip, Frame, picture_size
from lib.video.decode import NO_PYAV, has_pyav, open_video
from lib.video.decode_opencv import open_video_opencv

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Animations that video decoders read, with the times in them.
_FILMS = (".gif", ".png")
_ONLY_FILES = "only video files and folders of images are read"


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
            if image.shape != first:
                raise DataError(
                    f"{self.source.describe(index)} is {picture_size(image.shape)}, but the images "
                    f"before it are {picture_size(first)}; the frames of a clip have one size"
                )
            yield Frame(index, index / self.fps, image, 1 / self.fps)


def clip_path(text: str) -> Path:
    """What a user gave as a clip, as a path.

    Raises:
        DataError: it is an address, a camera's number or standard input, which are not read.
        SeqTrackError: as `user_path`.
    """
    if text.startswith("file://"):
        raise DataError(f"{text}: write it as a path, {text.removeprefix('file://')}")
    if _ADDRESS.match(text):
        raise DataError(
            f"{text}: {_ONLY_FILES}, no addresses; save the stream into a file first, for example "
            f"by `ffmpeg -i {text} -t 60 -c copy clip.mkv`"
        )
    path = user_path(text, "clip")
    if text == "-" or (text.isdecimal() and not path.exists()):
        what = "standard input" if text == "-" else "cameras"
        raise DataError(f"{text}: no such file or folder; {_ONLY_FILES}, no {what}")
    return path


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
        raise DataError(f"{path} is a {kind}; {_ONLY_FILES}")
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
