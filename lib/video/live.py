"""Sources that are not read twice: cameras and streams, of which the newest frame is taken, pipes.

A thread reads a live source as fast as it comes and keeps one picture, the newest. It connects
again where a stream stalls or breaks off, and ends with the generator that reads it.
"""

import contextlib
import itertools
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import cv2
import numpy as np

from lib.utils.errors import DataError, PartialFailure, counted
from lib.video.clip import DEFAULT_FPS, FPS_RANGE, Clip, Frame, check_size
from lib.video.decode import (
    all_frames,
    best_stream,
    has_pyav,
    mean_rate,
    open_container,
    open_video,
    reason,
)
from lib.video.pixels import PixelConverter

STALL_SECONDS = 10.0
# Seconds before the first try to connect again; each further one waits twice as long.
FIRST_WAIT = 1.0
_LONGEST_WAIT = 30.0

logger = logging.getLogger(__name__)

# Opens a source and gives its pictures, until it ends or an error says why it broke off.
Session = Callable[[], contextlib.AbstractContextManager[Iterator[Any]]]


class LiveClip:
    """A camera or a stream; see `Clip`. Of what came since the last frame, the newest is given.

    Frames are numbered as they come, from the first one that is given; a gap in the numbers is
    what was skipped. Times are those of arrival.

    Args:
        name: what to call it.
        session: opens it.
        to_rgb: makes `(H, W, 3)` uint8 RGB of a picture.
        fps: nominal frames per second.
        reconnect: times that it is opened again without a picture in between.
        stall: seconds without a picture after which it counts as stalled.
    """

    live: ClassVar[bool] = True
    length: ClassVar[None] = None

    def __init__(
        self,
        name: str,
        session: Session,
        to_rgb: Callable[[Any], np.ndarray],
        *,
        fps: float = DEFAULT_FPS,
        reconnect: int = 0,
        stall: float = STALL_SECONDS,
    ) -> None:
        self.name, self.fps = name, fps
        self.session, self.to_rgb = session, to_rgb
        self.reconnect, self.stall = reconnect, stall
        self.skipped = 0

    def frames(self, start: int = 0, backward: bool = False) -> Generator[Frame, None, None]:
        """The newest frames until the source ends; see `Clip`."""
        if backward:
            raise DataError(f"{self.name}: a live source cannot be read backward")
        reader = _NewestReader(self)
        size, origin = None, None
        try:
            reader.thread.start()
            for given in itertools.count():
                if (item := reader.take()) is None:
                    return
                number, arrival, picture = item
                # What came before the first one was taken is not counted.
                origin = origin or (number, arrival)
                index = number - origin[0]
                self.skipped = index - given
                image = self.to_rgb(picture)
                size = size or image.shape
                check_size(f"{self.name}: frame {index}", image.shape, size)
                if index >= start:
                    yield Frame(index, arrival - origin[1], image)
        finally:
            reader.close()


class _NewestReader:
    """Reads a live source in a thread of its own, and keeps the newest picture."""

    def __init__(self, clip: LiveClip) -> None:
        self.clip = clip
        self.thread = threading.Thread(target=self._run, name=f"reader of {clip.name}", daemon=True)
        self.count = 0
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._item: tuple[int, float, Any] | None = None
        self._error: PartialFailure | None = None
        self._tries = 0

    def take(self) -> tuple[int, float, Any] | None:
        """Number, time of arrival and picture of the newest, waited for; None at the end.

        Raises:
            PartialFailure: the source is lost.
        """
        # Streams time out by themselves; a camera's driver may hang for ever.
        patience = 3 * self.clip.stall + _LONGEST_WAIT
        with self._news:
            while self._item is None and not self._stop.is_set():
                if not self._news.wait(patience):
                    raise PartialFailure(f"{self.clip.name}: gives no more pictures")
            item, self._item = self._item, None
            if item is None and self._error is not None:
                raise self._error
            return item

    def close(self) -> None:
        """Stop reading, and wait until the source is closed."""
        self._stop.set()
        if self.thread.ident is not None:
            self.thread.join(2 * self.clip.stall + 1)

    def _run(self) -> None:
        self._error = PartialFailure(f"{self.clip.name}: its reader failed")
        try:
            self._error = self._read()
        finally:
            with self._news:
                self._stop.set()
                self._news.notify_all()

    def _read(self) -> PartialFailure | None:
        """Session after session, until the source ends, nobody wants more, or it is lost."""
        clip, ended = self.clip, True
        while True:
            try:
                with clip.session() as pictures:
                    for picture in pictures:
                        self._put(picture)
                        if self._stop.is_set():
                            return None
                cause, ended = "it ended", True
            except DataError as error:
                cause = str(error).removeprefix(f"{clip.name}: ")
                # A stream that ended in order and does not come back is at its end.
                ended = ended and self._tries > 0
            if self._tries == clip.reconnect:
                lost = f"{clip.name}: lost after {counted(self.count, 'picture')} ({cause})"
                return None if ended else PartialFailure(lost)
            self._tries += 1
            logger.warning(
                "%s: %s; connecting again (%d of %d)", clip.name, cause, self._tries, clip.reconnect
            )
            with self._news:
                self._news.notify_all()
            if self._stop.wait(min(FIRST_WAIT * 2 ** (self._tries - 1), _LONGEST_WAIT)):
                return None

    def _put(self, picture: Any) -> None:
        with self._news:
            self._tries = 0
            self._item = (self.count, time.monotonic(), picture)
            self.count += 1
            self._news.notify_all()


def open_camera(number: int, reconnect: int) -> LiveClip:
    """A camera by its number, through OpenCV.

    Raises:
        DataError: there is none, or it cannot be opened.
    """
    name = f"camera {number}"

    @contextlib.contextmanager
    def session() -> Iterator[Iterator[np.ndarray]]:
        _check_camera(number)
        capture = cv2.VideoCapture(number)
        try:
            if not capture.isOpened():
                raise DataError(f"{name}: cannot be opened; does another program use it?")
            rates.append(capture.get(cv2.CAP_PROP_FPS))
            yield _grabbed(capture, name)
        finally:
            capture.release()

    rates: list[float] = []
    with session():
        fps = rates[0] if FPS_RANGE[0] <= rates[0] <= FPS_RANGE[1] else DEFAULT_FPS
    return LiveClip(
        name,
        session,
        lambda bgr: cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
        fps=fps,
        reconnect=reconnect,
    )


def cameras() -> list[int] | None:
    """Numbers of the cameras here; None on a system that has no list of them."""
    if not sys.platform.startswith("linux"):
        return None
    names = (path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    return sorted(int(name) for name in names if name.isdecimal())


def _check_camera(number: int) -> None:
    """Raise DataError if the system says that there is no such camera; OpenCV would say more."""
    there = cameras()
    if there is not None and number not in there:
        found = f"there are {', '.join(map(str, there))}" if there else "this machine has none"
        raise DataError(f"camera {number}: no such camera; {found}")


def _grabbed(capture: cv2.VideoCapture, name: str) -> Iterator[np.ndarray]:
    while True:
        there, bgr = capture.read()
        if not there:
            raise DataError(f"{name}: gives no more pictures; was it unplugged?")
        yield bgr


class _OpenStream:
    """A stream that is open already: many can be opened but once.

    Args:
        name: its address, or what to call the pipe.
        file: the pipe.
    """

    def __init__(self, name: str, file: Any = None) -> None:
        if not has_pyav():
            raise DataError(f"{name}: streams are read by PyAV, which is not here; pip install av")
        self.name, self.file = name, file
        self._kept: contextlib.ExitStack | None = contextlib.ExitStack()
        self.container = self._kept.enter_context(self._opened())
        self.fps = mean_rate(best_stream(name, self.container))

    def _opened(self) -> contextlib.AbstractContextManager[Any]:
        timeout = STALL_SECONDS if self.file is None else None
        return open_container(self.name, self.file, timeout)

    @contextlib.contextmanager
    def taken(self) -> Iterator[Any]:
        """The container, closed at the end; opened again where it was taken before."""
        kept, self._kept = self._kept, None
        if kept is None:
            with self._opened() as container:
                yield container
        else:
            with kept:
                yield self.container

    @property
    def endless(self) -> bool:
        """Whether nobody says how long it is: no duration, and no size but that of a playlist."""
        size = 0 if "hls" in self.container.format.name else self.container.size
        return self.container.duration is None and size <= 0

    @contextlib.contextmanager
    def session(self) -> Iterator[Iterator[Any]]:
        """Its pictures as they come; what cannot be decoded is left out."""
        import av

        try:
            with self.taken() as container:
                stream = best_stream(self.name, container)
                # Threads for whole frames would hold some back.
                stream.thread_type = "SLICE"
                yield self._pictures(container, stream)
        except av.FFmpegError as error:
            raise DataError(f"{self.name}: {reason(error)}") from None

    def _pictures(self, container: Any, stream: Any) -> Iterator[Any]:
        yield from _decoded(container, stream)
        if container.format.name == "rtsp" and container.duration is None:
            # A camera has no end; FFmpeg tells no more of a server that is gone.
            raise DataError(f"{self.name}: the server hung up")


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    import av

    for packet in container.demux(stream):
        # A stream is joined in the middle, and loses a packet here and there.
        with contextlib.suppress(av.error.InvalidDataError):
            yield from (picture for picture in packet.decode() if not picture.is_corrupt)


def open_address(address: str, live: bool | None, reconnect: int) -> Clip:
    """A stream, or a file that a server has, by its address.

    Args:
        address: of a protocol that FFmpeg speaks.
        live: whether the newest frame is taken; None: where nothing says how long it is.
        reconnect: see `LiveClip`.

    Raises:
        DataError: it cannot be opened, or has no pictures.
    """
    stream = _OpenStream(address)
    if not stream.endless and not live:
        with stream.taken():
            return open_video(address)
    if live is False:
        return PipeClip(stream)
    again = reconnect if stream.endless else 0
    to_rgb = PixelConverter(address)
    return LiveClip(address, stream.session, to_rgb, fps=stream.fps, reconnect=again)


def open_pipe(name: str, file: BinaryIO, live: bool | None) -> Clip:
    """A video that comes through a pipe: every frame of it, unless `live` asks for the newest.

    Raises:
        DataError: FFmpeg cannot read it.
    """
    stream = _OpenStream(name, _readable(name, file))
    if not live:
        return PipeClip(stream)
    return LiveClip(name, stream.session, PixelConverter(name), fps=stream.fps)


class PipeClip:
    """A stream whose frames come once, one after the other; none is left out. See `Clip`."""

    live: ClassVar[bool] = False
    skipped: ClassVar[int] = 0
    length: ClassVar[None] = None

    def __init__(self, stream: _OpenStream) -> None:
        self.name, self.fps = stream.name, stream.fps
        self._stream: _OpenStream | None = stream

    def frames(self, start: int = 0, backward: bool = False) -> Generator[Frame, None, None]:
        """The frames in order, once; see `Clip`."""
        if backward:
            raise DataError(f"{self.name}: a stream cannot be read backward; save it in a file")
        stream, self._stream = self._stream, None
        if stream is None:
            raise DataError(f"{self.name}: a stream can be read only once; save it in a file")
        with stream.taken() as container:
            frames = all_frames(self.name, container, self.fps)
            yield from (frame for frame in frames if frame.index >= start)


class _ForwardFile:
    """A pipe as FFmpeg reads it: what was read ahead, then what comes, as soon as it comes."""

    def __init__(self, head: bytes, pipe: Any) -> None:
        self.head, self.pipe = head, pipe

    def read(self, size: int) -> bytes:
        if self.head:
            given, self.head = self.head[:size], self.head[size:]
            return given
        return self.pipe.read1(size)


def _readable(name: str, pipe: Any) -> Any:
    """What FFmpeg can read of a pipe: an MP4 with its index at its end is kept in a file first."""
    head = box = pipe.read(8)
    if box[4:] != b"ftyp":
        return _ForwardFile(head, pipe)
    while box[4:] not in (b"moov", b"mdat") and len(box) == 8:
        head += pipe.read(int.from_bytes(box[:4], "big") - 8)
        box = pipe.read(8)
        head += box
    if box[4:] != b"mdat":
        return _ForwardFile(head, pipe)
    logger.warning("%s: its index is at its end, so all of it is read before the first frame", name)
    whole = tempfile.TemporaryFile()
    whole.write(head)
    shutil.copyfileobj(pipe, whole)
    whole.seek(0)
    return whole
