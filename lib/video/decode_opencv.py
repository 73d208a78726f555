"""Video files in and out by OpenCV, where PyAV cannot be had; it gets some files wrong."""

import contextlib
import math
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from lib.utils.errors import DataError, PartialFailure, SeqTrackError, counted
from lib.video.clip import DEFAULT_FPS, FPS_RANGE, Frame
from lib.video.decode import CONVERT, VideoFile

# Frame counts of some containers are estimates: a clip must miss more than this to be broken.
_COUNT_TOLERANCE = 0.02
# The pip wheels of OpenCV have no H.264 encoder (its licence); these they all have. MPEG-4 plays in
# VLC, mpv and most players but in no browser. OpenCV remarks on stderr that WebM has no tag for
# VP8, which is harmless.
_CODECS = {".mp4": "mp4v", ".webm": "VP80"}


class OpenCVVideoFile(VideoFile):
    """A video file; `open_video_opencv` makes one that can be read.

    The camera's rotation flag is applied. Times are those in the file, so they are right for a
    variable frame rate as well.
    """

    # Its seeks land beside the frame, so every frame is read from the start.
    _index: ClassVar[None] = None  # type: ignore[assignment]

    def shape(self) -> tuple[int, ...]:
        """Height and width of the pictures, by the first one."""
        with contextlib.closing(self._all_frames()) as frames:
            return next(frames).image.shape

    def _forward(self, start: int) -> Generator[Frame, None, None]:
        """The frames from `start` on."""
        with contextlib.closing(self._all_frames()) as frames:
            yield from (frame for frame in frames if frame.index >= start)

    def _all_frames(self) -> Generator[Frame, None, None]:
        """All frames from the first one on."""
        index, time = 0, 0.0
        with _capture(self.path) as capture:
            while True:
                there, bgr = capture.read()
                if not there:
                    break
                given = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if index:
                    time = given if math.isfinite(given) and given > time else time + 1 / self.fps
                yield Frame(index, time, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
                index += 1
            if index == 0:
                code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
                raise DataError(
                    f"{self.path}: not one frame can be decoded (codec "
                    f"{code.to_bytes(4, 'little').decode('ascii', 'replace')!r}); "
                    + CONVERT.format(name=self.name)
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


def open_video_opencv(path: Path) -> OpenCVVideoFile:
    """A video file as a clip.

    Raises:
        DataError: OpenCV cannot open it.
    """
    with _capture(path) as capture:
        given, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    rate = given if FPS_RANGE[0] <= given <= FPS_RANGE[1] else DEFAULT_FPS
    return OpenCVVideoFile(path, rate, int(count) if count > 0 else None)


@contextlib.contextmanager
def _capture(path: Path | str) -> Iterator[cv2.VideoCapture]:
    """The opened file, closed at the end."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise DataError(
                f"{path}: not a video that OpenCV can open, or damaged; "
                + CONVERT.format(name=Path(path).name)
            )
        yield capture
    finally:
        capture.release()


class OpenCVSink:
    """A video file by OpenCV's writer, opened when the first picture tells the size."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.pictures = 0
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: np.ndarray, time: float, duration: float | None = None) -> None:
        """Add one at the constant rate, whatever its time is.

        The last column or row is doubled where a side is odd, which codecs refuse.

        Raises:
            SeqTrackError: this OpenCV cannot write such a file.
        """
        height, width = picture.shape[:2]
        if width % 2 or height % 2:
            picture = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._writer is None:
            self._writer = self._open(picture.shape[1], picture.shape[0])
        self._writer.write(picture)
        self.pictures += 1

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        codec = _CODECS[self.path.suffix.lower()]
        fourcc = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
        writer = cv2.VideoWriter(str(self.path), fourcc, self.fps, (width, height))
        if not writer.isOpened():
            raise SeqTrackError(
                f"OpenCV {cv2.__version__} here cannot write {self.path.suffix} files of {width} x "
                f"{height} at {self.fps:g} frames/s (codec {codec}); try another format, another "
                "--fps, or another opencv-python"
            )
        return writer

    def close(self) -> None:
        """Finish the file, and look whether it is one: OpenCV reports no failed write.

        Raises:
            SeqTrackError: frames are missing; the file is removed.
        """
        if self._writer is None:
            return
        self._writer.release()
        capture = cv2.VideoCapture(str(self.path))
        there = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        # WebM counts by its duration and may be off by one.
        if there < self.pictures - 1 or there < 1:
            self.path.unlink(missing_ok=True)
            raise SeqTrackError(
                f"the video could not be written: {max(0, int(there))} of "
                f"{counted(self.pictures, 'frame')} arrived; is the disk full?"
            )
