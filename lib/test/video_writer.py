"""Videos of tracked boxes: drawing on frames, and writing them as MP4, WebM or GIF."""

import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lib.test.clip import Estimate, Step
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, Colour, draw_box
from lib.utils.errors import SeqTrackError, counted
from lib.utils.files import atomic_path

# The pip wheels of OpenCV have no H.264 encoder (its licence); these they all have. MPEG-4 plays
# in VLC, mpv and most players but in no browser; WebM does that, and is several times slower to
# write. OpenCV remarks on stderr that WebM has no tag for VP8, which is harmless.
CODECS = {".mp4": "mp4v", ".webm": "VP80"}
SUFFIXES = (*CODECS, ".gif")

# RGB, one after the other for each target; green is kept for ground truth.
COLOURS = (
    PREDICTION_COLOUR,
    (64, 160, 255),
    (255, 200, 40),
    (220, 90, 255),
    (0, 220, 220),
    (255, 140, 60),
    (255, 150, 200),
    (150, 130, 255),
)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_RATE_FRAMES = 30

GIF_SIDE = 480
GIF_FRAMES = 300
_GIF_RATE = 12.5


class Painter:
    """Draws boxes, confidences and the speed; a copy of each frame, never the frame itself.

    Args:
        labels: what to call the targets; empty strings for none.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.ends: deque[float] = deque(maxlen=_RATE_FRAMES)

    def draw(self, step: Step, now: float, truth: np.ndarray | None = None) -> np.ndarray:
        """One picture `(H, W, 3)` uint8 in BGR, as OpenCV's writers want it.

        Args:
            step: frame and estimates.
            now: a clock in seconds; the frames/s shown are those of the last frames, with
                everything that happened between them.
            truth: xywh of the first target, drawn in green.
        """
        picture = cv2.cvtColor(step.frame.image, cv2.COLOR_RGB2BGR)
        line = max(1, round(min(picture.shape[:2]) / 240))
        self.ends.append(now)
        _write(picture, self._heading(step.frame.index), (0, 0), (24, 24, 24), (255, 255, 255))
        if truth is not None:
            draw_box(picture, truth, TRUTH_COLOUR[::-1], line)
        for number, estimate in enumerate(step.estimates):
            colour = COLOURS[number % len(COLOURS)]
            draw_box(picture, estimate.box, colour[::-1], line)
            _label(picture, estimate, self.labels[number], colour)
        return picture

    def _heading(self, index: int) -> str:
        spent = self.ends[-1] - self.ends[0]
        rate = f"  {(len(self.ends) - 1) / spent:.0f} frames/s" if spent > 0 else ""
        return f"frame {index}{rate}"


def _label(picture: np.ndarray, estimate: Estimate, label: str, colour: Colour) -> None:
    """Name and confidence above the box, or inside its upper edge where there is no room."""
    known = "" if estimate.confidence is None else f"{estimate.confidence:.2f}"
    if text := f"{label} {known}".strip():
        x, y = (round(value) for value in estimate.box[:2])
        _write(picture, text, (x, y - _text_size(picture, text)[1]), colour, (0, 0, 0))


def _text_size(picture: np.ndarray, text: str) -> tuple[int, int]:
    """Width and height of a text with its ground, in pixels."""
    scale = _scale(picture)
    (width, height), below = cv2.getTextSize(text, _FONT, scale, _strokes(scale))
    return width + 6, height + below + 4


def _write(
    picture: np.ndarray,
    text: str,
    corner: tuple[int, int],
    ground: Colour,
    ink: Colour,
) -> None:
    """Text on a filled ground (RGB colours), moved to lie inside the picture."""
    width, height = _text_size(picture, text)
    x = max(0, min(corner[0], picture.shape[1] - width))
    y = max(0, min(corner[1], picture.shape[0] - height))
    cv2.rectangle(picture, (x, y), (x + width - 1, y + height - 1), ground[::-1], cv2.FILLED)
    scale = _scale(picture)
    below = cv2.getTextSize(text, _FONT, scale, _strokes(scale))[1]
    origin = (x + 3, y + height - below)
    cv2.putText(picture, text, origin, _FONT, scale, ink[::-1], _strokes(scale), cv2.LINE_AA)


def _scale(picture: np.ndarray) -> float:
    return max(0.35, min(picture.shape[:2]) / 1000)


def _strokes(scale: float) -> int:
    return max(1, round(1.6 * scale))


class PictureSink(Protocol):
    """Takes the pictures of a video, `(H, W, 3)` uint8 BGR, one after the other."""

    def write(self, picture: np.ndarray) -> None:
        """Add one."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class VideoFileSink:
    """A video file by OpenCV's writer, opened when the first picture tells the size."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.pictures = 0
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: np.ndarray) -> None:
        """Add one; the last column or row is doubled where a side is odd, which codecs refuse.

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
        codec = CODECS[self.path.suffix.lower()]
        fourcc = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
        writer = cv2.VideoWriter(str(self.path), fourcc, self.fps, (width, height))
        if not writer.isOpened():
            raise SeqTrackError(
                f"OpenCV {cv2.__version__} here cannot write {self.path.suffix} files of {width} x "
                f"{height} at {self.fps:g} frames/s (codec {codec}); try one of "
                f"{', '.join(SUFFIXES)}, another --fps, or another opencv-python"
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


class GifSink:
    """An animated GIF: small, and at most `GIF_FRAMES` pictures, which are kept in memory.

    It shows every n-th frame at the right pace; n doubles each time that there are too many.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if not hasattr(cv2, "imencodeanimation"):
            raise SeqTrackError(
                f"OpenCV {cv2.__version__} cannot write GIF: pip install 'opencv-python>=4.12', "
                "or write .mp4"
            )
        self.path, self.fps = path, fps
        self.stride = max(1, round(fps / _GIF_RATE))
        self.given = 0
        self.kept: list[np.ndarray] = []

    def write(self, picture: np.ndarray) -> None:
        """Add one, made small."""
        if self.given % self.stride == 0:
            factor = min(1.0, GIF_SIDE / max(picture.shape[:2]))
            size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
            self.kept.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        self.given += 1
        if len(self.kept) > GIF_FRAMES:
            self.kept, self.stride = self.kept[::2], 2 * self.stride

    def close(self) -> None:
        """Encode all pictures.

        Raises:
            SeqTrackError: this OpenCV was built without GIF.
        """
        if not self.kept:
            return
        animation = cv2.Animation()
        animation.frames = self.kept
        animation.durations = [round(1000 * self.stride / self.fps)] * len(self.kept)
        try:
            _, data = cv2.imencodeanimation(".gif", animation)
        except cv2.error as error:
            raise SeqTrackError(
                f"OpenCV {cv2.__version__} cannot write GIF: {error.err}"
            ) from error
        self.path.write_bytes(data.tobytes())


@contextlib.contextmanager
def open_sink(path: Path, fps: float, kept: list[Path]) -> Iterator[PictureSink]:
    """A sink for the video file `path`, whose suffix chooses the format; see `kept_path`.

    What was written so far becomes the file, whole and playable, whatever ends the block.

    Raises:
        SeqTrackError: no such format, or the file could not be written.
        OSError: the folder cannot be written.
    """
    check_suffix(path)
    with kept_path(path, kept) as part:
        kind = GifSink if path.suffix.lower() == ".gif" else VideoFileSink
        sink: PictureSink = kind(part, fps)
        try:
            yield sink
        finally:
            sink.close()


def check_suffix(path: Path) -> None:
    """Raise SeqTrackError unless a video can be written under this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise SeqTrackError(
            f"{path}: a video's name ends in {', '.join(SUFFIXES)}, not in {path.suffix!r}"
        )


@contextlib.contextmanager
def kept_path(path: Path, kept: list[Path]) -> Iterator[Path]:
    """A temporary path beside `path` with its suffix, renamed into place however the block ends.

    Unlike `lib.utils.files.atomic_path`, which drops the work of a block that fails: an
    interrupted video is worth having. An empty file is dropped, and so is one that the system
    could not write.

    Args:
        path: the file to make.
        kept: gets `path` when it is in place.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        yield part
    except OSError:
        part.unlink(missing_ok=True)
        raise
    finally:
        if part.exists() and part.stat().st_size:
            with atomic_path(path) as temporary:
                os.replace(part, temporary)
            kept.append(path)
        part.unlink(missing_ok=True)
