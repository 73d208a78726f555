"""Video files by OpenCV, where PyAV cannot be had: it says so, and gets some files wrong."""

import contextlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from lib.test.clip import DEFAULT_FPS, FPS_RANGE, Frame
from lib.test.video_file import CONVERT
from lib.utils.errors import DataError, PartialFailure, counted

# Frame counts of some containers are estimates: a clip must miss more than this to be broken.
_COUNT_TOLERANCE = 0.02


@dataclass(frozen=True)
class OpenCVVideoFile:
    """A video file; `open_video_opencv` makes one that can be read.

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
        said, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    rate = said if FPS_RANGE[0] <= said <= FPS_RANGE[1] else DEFAULT_FPS
    return OpenCVVideoFile(path, rate, int(count) if count > 0 else None)


@contextlib.contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    """The opened file, closed at the end."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise DataError(
                f"{path}: not a video that OpenCV can open, or damaged; "
                + CONVERT.format(name=path.name)
            )
        yield capture
    finally:
        capture.release()
