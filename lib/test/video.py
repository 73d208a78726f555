"""Where the frames of a video come from: a video file, a folder of images, a sequence.

A clip hands out its frames by a generator, one in memory at a time. A webcam or a stream fits the
same contract: its `length` is None and its generator ends when the source does.
"""

import contextlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lib.datasets.ground_truth import has_image, list_images
from lib.datasets.sequence import FrameSource, ImageFiles
from lib.utils.boxes import Box
from lib.utils.errors import DataError, PartialFailure, counted
from lib.utils.image_io import IMAGE_SUFFIXES

DEFAULT_FPS = 25.0
# A container may say anything, 0 and 90000 included; what lies outside is no rate of pictures.
FPS_RANGE = (0.1, 1000.0)
# Frame counts of some containers are estimates: a clip must miss more than this to be broken.
_COUNT_TOLERANCE = 0.02
_CONVERT = "convert it, for example by `ffmpeg -i {name} -c:v libx264 converted.mp4`"


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    Attributes:
        index: 0-based.
        time: seconds since the first frame.
        image: `(H, W, 3)` uint8 RGB.
    """

    index: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """Where a target is.

    Attributes:
        box: xywh in image pixels.
        confidence: 0..1, the mean probability of the four tokens (the reference's score 0..40
            divided by 40); 1 for the given box, None where the tracker has no such scale.
    """

    box: Box
    confidence: float | None


@dataclass(frozen=True)
class Step:
    """One frame of a clip with the answers for it.

    Attributes:
        frame: the frame.
        estimates: one per target, in the order of the boxes.
        read_seconds: time it took to read the frame.
        track_seconds: time it took to find the targets.
    """

    frame: Frame
    estimates: list[Estimate]
    read_seconds: float
    track_seconds: float


class Clip(Protocol):
    """A video that can be read from its start."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second."""
        ...

    @property
    def length(self) -> int | None:
        """Number of frames as far as known; None for a live source."""
        ...

    def frames(self) -> Generator[Frame, None, None]:
        """The frames in order, all of one size.

        Raises:
            DataError: a frame cannot be read, or its size differs from that of the first one.
            PartialFailure: after the last frame, if the clip should have had more.
        """
        ...


@dataclass(frozen=True)
class FrameClip:
    """Single images with a clock: the files of a folder, or a sequence of a data set."""

    name: str
    source: FrameSource
    fps: float = DEFAULT_FPS

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.source)

    def frames(self) -> Generator[Frame, None, None]:
        """The frames in order; see `Clip`."""
        first: tuple[int, ...] | None = None
        for index in range(self.length):
            image = self.source.read(index)
            first = image.shape if first is None else first
            if image.shape != first:
                raise DataError(
                    f"{self.source.describe(index)} is {_size(image.shape)}, but the images before "
                    f"it are {_size(first)}; the frames of a clip have one size"
                )
            yield Frame(index, index / self.fps, image)


@dataclass(frozen=True)
class VideoFile:
    """A video file, decoded by OpenCV; `open_clip` makes one that can be read.

    The camera's rotation flag is applied. Times are those in the file, so they are right for a
    variable frame rate as well.
    """

    path: Path
    fps: float
    length: int | None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.name

    def frames(self) -> Generator[Frame, None, None]:
        """The frames in order; see `Clip`."""
        index, time = 0, 0.0
        with _capture(self.path) as capture:
            while True:
                there, bgr = capture.read()
                if not there:
                    break
                said = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if index:
                    time = said if math.isfinite(said) and said > time else time + 1 / self.fps
                yield Frame(index, time, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
                index += 1
            if index == 0:
                code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
                raise DataError(
                    f"{self.path}: not one frame can be decoded (codec "
                    f"{code.to_bytes(4, 'little').decode('ascii', 'replace')!r}); "
                    + _CONVERT.format(name=self.name)
                )
        self._check_end(index, time)

    def _check_end(self, decoded: int, last_time: float) -> None:
        """OpenCV ends a damaged file like a whole one; only the counts tell.

        The count may be an estimate from the duration, and the duration one from the count:
        both have to say that something is missing.
        """
        if self.length is None:
            return
        enough = (1 - _COUNT_TOLERANCE) * self.length - 1
        duration = last_time * decoded / max(1, decoded - 1)
        if decoded < enough and duration * self.fps < enough:
            raise PartialFailure(
                f"{self.path} breaks off: {counted(decoded, 'frame')} could be decoded, but it "
                f"should have {self.length}; the file is damaged or cut short"
            )


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
            raise DataError(f"{path}: no images in this folder{_hint_below(path)}")
        return FrameClip(
            path.resolve().name, ImageFiles(path, list_images(path)), fps or DEFAULT_FPS
        )
    if not path.exists():
        raise DataError(f"{path}: no such video file or folder of images")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(f"{path} is a single image; give its folder to track through all images")
    with _capture(path) as capture:
        said, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    rate = said if FPS_RANGE[0] <= said <= FPS_RANGE[1] else DEFAULT_FPS
    return VideoFile(path, rate, int(count) if count > 0 else None)


@contextlib.contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    """The opened file, closed at the end."""
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the video file is empty (0 bytes); copy it again")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise DataError(
                f"{path}: not a video that OpenCV can open, or damaged; "
                + _CONVERT.format(name=path.name)
            )
        yield capture
    finally:
        capture.release()


def _hint_below(folder: Path) -> str:
    below = sorted(child for child in folder.iterdir() if child.is_dir() and has_image(child))
    return f"; there are some in {below[0]}" if below else ""


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
