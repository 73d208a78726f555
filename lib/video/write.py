"""Videos of tracked boxes: drawing on frames, and writing them as MP4, WebM or GIF."""

import contextlib
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, Colour, draw_box
from lib.utils.errors import SeqTrackError, counted
from lib.utils.files import atomic_path, check_replaceable
from lib.utils.targets import TargetId
from lib.video.clip import Result, TargetResult
from lib.video.decode import NO_PYAV, has_pyav
from lib.video.decode_opencv import OpenCVSink
from lib.video.pixels import is_hd

# FFmpeg's encoders for a suffix; the first one that is here is taken. H.264 plays everywhere; an
# FFmpeg without x264 writes what fewer players show.
ENCODERS = {".mp4": ("libx264", "libvpx-vp9", "mpeg4"), ".webm": ("libvpx-vp9", "libvpx")}
SUFFIXES = (*ENCODERS, ".gif")
# Pictures leave the encoder in their order, one for each that goes in. Quick rather than small.
_VPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "30", "b": "0"}
_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "20", "bf": "0"},
    "libvpx-vp9": {**_VPX, "row-mt": "1"},
    "libvpx": _VPX,
    "mpeg4": {"qscale": "4"},
}
# A tick of the file's clock, which holds all usual rates; MPEG-4 takes no finer one.
_TICK = Fraction(1, 60000)
# Numbers of FFmpeg's colour matrices, primaries and transfer curves: BT.709, and BT.601.
_BT709, _BT601 = 1, 6
_LIMITED = 1

logger = logging.getLogger(__name__)

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
    """Draws boxes, confidences, states and the speed; a copy of each frame, never the frame itself.

    Args:
        names: whether targets are called by their ids; one alone needs no name.
    """

    def __init__(self, names: bool = True) -> None:
        self.names = names
        self.known: list[TargetId] = []
        self.ends: deque[float] = deque(maxlen=_RATE_FRAMES)

    def draw(self, result: Result, now: float, truth: np.ndarray | None = None) -> np.ndarray:
        """One picture `(H, W, 3)` uint8 in BGR, as OpenCV's writers want it.

        Args:
            result: frame and targets.
            now: a clock in seconds; the frames/s shown are those of the last frames, with
                everything that happened between them.
            truth: xywh of the first target, drawn in green.
        """
        picture = cv2.cvtColor(result.image, cv2.COLOR_RGB2BGR)
        line = max(1, round(min(picture.shape[:2]) / 240))
        self.ends.append(now)
        _write(picture, self._heading(result.frame), (0, 0), (24, 24, 24), (255, 255, 255))
        if truth is not None:
            draw_box(picture, truth, TRUTH_COLOUR[::-1], line)
        for target, found in result.targets.items():
            colour = self._colour(target)
            draw_box(picture, found.box, colour[::-1], line)
            _label(picture, found, self._name(target), colour)
        return picture

    def _colour(self, target: TargetId) -> Colour:
        """Of a target as long as it is known: who joins or leaves changes no other's."""
        if target not in self.known:
            self.known.append(target)
        return COLOURS[self.known.index(target) % len(COLOURS)]

    def _name(self, target: TargetId) -> str:
        if not self.names and len(self.known) == 1:
            return ""
        return f"#{target}" if isinstance(target, int) else target

    def _heading(self, index: int) -> str:
        spent = self.ends[-1] - self.ends[0]
        rate = f"  {(len(self.ends) - 1) / spent:.0f} frames/s" if spent > 0 else ""
        return f"frame {index}{rate}"


def _label(picture: np.ndarray, found: TargetResult, name: str, colour: Colour) -> None:
    """Name, confidence and state above the box, or inside its upper edge where there is no room."""
    known = "" if found.confidence is None else f"{found.confidence:.2f}"
    # A target that is tracked needs no word for it.
    state = found.state if found.state not in (None, "tracked") else ""
    if text := " ".join(filter(None, (name, known, state))):
        x, y = (round(value) for value in found.box[:2])
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

    def write(self, picture: np.ndarray, time: float, duration: float | None = None) -> None:
        """Add one, shown from `time` seconds on, for `duration` seconds if it is the last."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class FileSink:
    """A video file by FFmpeg, opened when the first picture tells the size.

    Args:
        path: the file; its suffix chooses container and codec.
        fps: usual frames per second; each picture is shown at its own time.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.pictures = 0
        self._container: Any = None
        self._stream: Any = None
        self._durations: deque[int] = deque()
        self._last = -1
        self._failed = False

    def write(self, picture: np.ndarray, time: float, duration: float | None = None) -> None:
        """Add one; the last column or row is doubled where a side is odd and H.264 refuses that.

        Raises:
            SeqTrackError: it cannot be written.
        """
        import av

        with self._errors():
            if self._container is None:
                self._open(picture.shape[1], picture.shape[0])
            height, width = self._stream.height, self._stream.width
            if picture.shape[:2] != (height, width):
                below, right = height - picture.shape[0], width - picture.shape[1]
                picture = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(
                format="yuv420p",
                dst_colorspace=self._stream.codec_context.colorspace,
                dst_color_range=_LIMITED,
            )
            self._last = max(self._last + 1, round(time / _TICK))
            frame.pts, frame.time_base = self._last, _TICK
            self._durations.append(max(1, round((duration or 1 / self.fps) / _TICK)))
            self._mux(self._stream.encode(frame))
        self.pictures += 1

    def _open(self, width: int, height: int) -> None:
        import av

        suffix = self.path.suffix.lower()
        codec = next((name for name in ENCODERS[suffix] if name in av.codecs_available), None)
        if codec is None:
            raise SeqTrackError(f"this PyAV has no encoder for {suffix}; try {', '.join(SUFFIXES)}")
        if codec != ENCODERS[suffix][0]:
            logger.warning(
                "this PyAV has no %s: the %s file is written by %s, which fewer players show",
                ENCODERS[suffix][0],
                suffix,
                codec,
            )
        start = {"movflags": "faststart"} if suffix == ".mp4" else {}
        self._container = av.open(f"file:{self.path}", "w", options=start)
        rate = Fraction(self.fps).limit_denominator(100_000)
        self._stream = self._container.add_stream(codec, rate=rate, options=_OPTIONS[codec])
        if not codec.startswith("libvpx"):
            width, height = width + width % 2, height + height % 2
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = _TICK
        # As readers take it that do not look at the tags.
        colours = _BT709 if is_hd(width, height) else _BT601
        context.colorspace = context.color_primaries = context.color_trc = colours
        context.color_range = _LIMITED

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.popleft()
            self._container.mux(packet)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What FFmpeg cannot do, as one line."""
        import av

        try:
            yield
        except av.FFmpegError as error:
            self._failed = True
            # The encoder opens with the first picture, and refuses what is too large for it.
            hint = "is the disk full?" if self.pictures else f"try another of {', '.join(SUFFIXES)}"
            raise SeqTrackError(
                f"the video could not be written ({error.strerror or error}) after "
                f"{counted(self.pictures, 'frame')}; {hint}"
            ) from None

    def close(self) -> None:
        """Finish the file, and look whether it is one.

        Raises:
            SeqTrackError: frames are missing; the file is removed.
        """
        import av

        if self._container is None:
            return
        try:
            with self._errors(), self._container:
                if not self._failed:
                    self._mux(self._stream.encode())
            with self._errors(), av.open(f"file:{self.path}") as written:
                there = sum(1 for packet in written.demux(video=0) if packet.size)
        except SeqTrackError:
            self.path.unlink(missing_ok=True)
            raise
        # An interruption may come between two of the lines above.
        if there < self.pictures - 1:
            self.path.unlink(missing_ok=True)
            raise SeqTrackError(
                f"the video could not be written: {there} of {counted(self.pictures, 'frame')} "
                "arrived; is the disk full?"
            )


class GifSink:
    """An animated GIF: small, and at most `GIF_FRAMES` pictures, which are kept in memory.

    It shows every n-th frame at its time; n doubles each time that there are too many.
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
        self.times: list[float] = []
        self.end = 0.0

    def write(self, picture: np.ndarray, time: float, duration: float | None = None) -> None:
        """Add one, made small."""
        if self.given % self.stride == 0:
            factor = min(1.0, GIF_SIDE / max(picture.shape[:2]))
            size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
            self.kept.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
            self.times.append(time)
        self.given += 1
        self.end = time + (duration or 1 / self.fps)
        if len(self.kept) > GIF_FRAMES:
            self.kept, self.times, self.stride = self.kept[::2], self.times[::2], 2 * self.stride

    def close(self) -> None:
        """Encode all pictures.

        Raises:
            SeqTrackError: this OpenCV was built without GIF.
        """
        if not self.kept:
            return
        animation = cv2.Animation()
        animation.frames = self.kept
        # The format counts in hundredths of a second.
        ticks = np.round(100 * np.array([*self.times, self.end])).astype(int)
        animation.durations = [10 * int(step) for step in np.maximum(np.diff(ticks), 1)]
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
        kind: Callable[[Path, float], PictureSink] = FileSink
        if path.suffix.lower() == ".gif":
            kind = GifSink
        elif not has_pyav():
            logger.warning(NO_PYAV.format(what=path))
            kind = OpenCVSink
        sink = kind(part, fps)
        try:
            yield sink
        finally:
            sink.close()


def check_suffix(path: Path) -> None:
    """Raise SeqTrackError unless a video can be written under this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise SeqTrackError(
            f"{path}: a video's name ends in {', '.join(SUFFIXES)}, not in {path.suffix!r}; "
            "--csv and --annotations write the boxes"
        )


@contextlib.contextmanager
def kept_path(path: Path, kept: list[Path]) -> Iterator[Path]:
    """A temporary path beside `path` with its suffix, renamed into place however the block ends.

    Unlike `lib.utils.files.atomic_path`, which drops the work of a block that fails: an
    interrupted video is worth having. An empty file is dropped, and so is one that the system
    could not write.

    Args:
        path: the file to make; nothing is kept of what goes to the null device.
        kept: gets `path` when it is in place.

    Raises:
        SeqTrackError: what lies at `path` is a pipe, a device or a socket.
        OSError: the folder cannot be written.
    """
    if path == Path(os.devnull):
        yield path
        return
    check_replaceable(path)
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
