"""Video files, decoded by FFmpeg through PyAV: every shown picture once, upright, with its time."""

import contextlib
import functools
import itertools
import logging
import math
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from lib.utils.errors import DataError, PartialFailure, counted
from lib.video.clip import DEFAULT_FPS, FPS_RANGE, Frame, check_size, frames_backward
from lib.video.pixels import PixelConverter, shown_shape
from lib.video.seek import IndexBuilder, PictureIndex

NO_PYAV = (
    "{what}: PyAV cannot be imported, so OpenCV does it, which gets interlaced, mirrored and cut "
    "videos and varying frame rates wrong; pip install av"
)
CONVERT = "convert it, for example by `ffmpeg -i {name} -c:v libx264 converted.mp4`"

logger = logging.getLogger(__name__)

_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)\s*", re.ASCII)
# So much of a video may be missing, and one picture more, before it is called damaged: durations of
# some containers are estimates, and a recording from the air has a fault here and there.
_TOLERANCE = 0.02
# What an address, and what it leads to, may be read by.
_PROTOCOLS = "http,https,httpproxy,tls,tcp,udp,rtp,rtsp,rtsps,rtmp,rtmps,srt,crypto,data"


@functools.cache
def has_pyav() -> bool:
    """Whether PyAV is here; there are machines that it has no wheel for."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class VideoFile:
    """A video file, here or at a web address; `open_video` makes one that can be read.

    The display matrix (rotation and mirror) of the camera is applied, and the edit list. Interlaced
    pictures are woven. Colours follow the matrix and range that the file names. Transparency is
    ignored.

    Attributes:
        path: the file, or its address.
        fps: mean frames per second.
        length: number of frames as the container says it, None where it does not.
    """

    path: Path | str
    fps: float
    length: int | None
    live: ClassVar[bool] = False
    skipped: ClassVar[int] = 0

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.path).name

    @property
    def counted(self) -> int | None:
        """Number of frames by the packets of the file; None where only decoding tells."""
        return None if self._index is None else len(self._index.stamps)

    def shape(self) -> tuple[int, ...] | None:
        """Height and width of the first picture as it is shown; None where none can be decoded."""
        with open_container(self.path) as container:
            picture = next(self._reader(container).pictures(), None)
            return None if picture is None else shown_shape(picture)

    def frames(self, start: int = 0, backward: bool = False) -> Generator[Frame, None, None]:
        """The frames in order; see `Clip`."""
        if backward and (index := self._index) is not None:
            last = min(start, len(index.stamps) - 1)
            yield from frames_backward(self.frames, last, index.window)
        elif backward:
            yield from frames_backward(self.frames, start)
        else:
            yield from self._forward(start)

    def _forward(self, start: int) -> Generator[Frame, None, None]:
        """The frames from `start` on, sought where that is sure to find them."""
        index = self._index if start else None
        if index is not None and start < len(index.stamps):
            for target in index.targets(start):
                with open_container(self.path) as container:
                    reader = self._reader(container)
                    frames = reader.frames(index, start, target)
                    if (first := next(frames, None)) is not None:
                        yield first
                        yield from frames
                        reader.check_end()
                        return
        with open_container(self.path) as container:
            frames = all_frames(self.path, container, self.fps)
            yield from (frame for frame in frames if frame.index >= start)

    @functools.cached_property
    def _index(self) -> PictureIndex | None:
        """Where its pictures lie; None where only decoding tells."""
        with open_container(self.path) as container:
            index = self._reader(container).index()
        if index is None:
            return None
        with open_container(self.path) as container:
            first = itertools.islice(self._reader(container).pictures(), 8)
            return index if index.agrees(first) else None

    def _reader(self, container: Any) -> "_FrameReader":
        return _FrameReader(self.path, container, best_stream(self.path, container), self.fps)


def all_frames(path: Path | str, container: Any, fps: float) -> Generator[Frame, None, None]:
    """The frames of an open container; see `Clip`."""
    reader = _FrameReader(path, container, best_stream(path, container), fps)
    yield from reader.frames()
    reader.check_end()


def open_video(path: Path | str) -> VideoFile:
    """A video file whose stream is found; which one is said where there are several.

    Raises:
        DataError: it is no video, or has no picture that moves.
    """
    with open_container(path) as container:
        stream = best_stream(path, container)
        streams = _streams(container)
        if len(streams) > 1:
            logger.warning(
                "%s: it has %d video streams; number %d is read (%d x %d), which players show",
                path,
                len(streams),
                streams.index(stream) + 1,
                stream.codec_context.width,
                stream.codec_context.height,
            )
        _refuse_single_picture(path, container, stream)
        rate = mean_rate(stream)
        return VideoFile(path, rate, _length(container, stream, rate))


@contextlib.contextmanager
def open_container(
    source: Path | str, file: BinaryIO | None = None, timeout: float | None = None
) -> Iterator[Any]:
    """The opened container, closed at the end.

    Args:
        source: the file's path, or an address.
        file: read instead, where `source` is no more than its name.
        timeout: seconds that an address may be silent.

    Raises:
        DataError: it cannot be opened, or is no video.
    """
    import av

    # The prefix keeps a colon in a name from being taken for a protocol; the lists keep a
    # playlist of a file from opening addresses, and one of an address from opening files.
    where: Any = f"file:{source}" if isinstance(source, Path) else source
    options = {"protocol_whitelist": "file" if isinstance(source, Path) else _PROTOCOLS}
    if isinstance(source, str):
        # A second of a stream tells what is in it; FFmpeg would look at five.
        options |= {"rtsp_transport": "tcp", "analyzeduration": "1000000"}
    # From PyAV 19 on that is what it does with names that are no text, and no argument.
    texts = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
    try:
        container = av.open(
            where if file is None else file,
            **texts,
            options=options if file is None else {},
            timeout=timeout,
        )
    except (av.FFmpegError, ValueError) as error:
        if isinstance(source, str) and file is None:
            raise DataError(f"{source}: cannot be opened ({reason(error)})") from None
        raise DataError(
            f"{source}: not a video that FFmpeg can open, or damaged ({reason(error)}); "
            + CONVERT.format(name=Path(source).name)
        ) from None
    with container:
        yield container


def reason(error: Exception) -> str:
    """What FFmpeg says of a file, without its number and the file's name."""
    if type(error).__name__ == "ExitError":
        return "nothing came in time"
    return str(getattr(error, "strerror", None) or error)


def _streams(container: Any) -> list[Any]:
    """The video streams but for cover pictures."""
    import av

    cover = av.stream.Disposition.attached_pic
    return [one for one in container.streams.video if not one.disposition & cover]


def best_stream(path: Path | str, container: Any) -> Any:
    """The stream that players show.

    Raises:
        DataError: there is none.
    """
    streams = _streams(container)
    if not streams:
        kinds = sorted({one.type for one in container.streams})
        picture = " and a cover picture" if container.streams.video else ""
        found = "only sound" + picture if "audio" in kinds else f"only {', '.join(kinds)}"
        raise DataError(f"{path}: holds no video, {found if kinds else 'nothing'}")
    best = container.streams.best("video")
    chosen = best if best in streams else streams[0]
    if chosen.codec_context is None:
        raise DataError(
            f"{path}: FFmpeg has no decoder for it, or damaged; "
            + CONVERT.format(name=Path(path).name)
        )
    return chosen


def _refuse_single_picture(path: Path | str, container: Any, stream: Any) -> None:
    """Raise DataError for a still image: FFmpeg opens them as videos of one frame."""
    name = container.format.name
    if name.endswith("_pipe") or name == "image2":
        raise DataError(f"{path} is a single image; give its folder to track through all images")
    if name in {"gif", "apng"}:
        packets = (packet for packet in container.demux(stream) if packet.size)
        if sum(1 for _ in zip(range(2), packets, strict=False)) < 2:
            raise DataError(
                f"{path} is a single image; give its folder to track through all images"
            )


def mean_rate(stream: Any) -> float:
    """Mean frames per second."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= FPS_RANGE[1]:
            return float(rate)
    return DEFAULT_FPS


def _length(container: Any, stream: Any, rate: float) -> int | None:
    """Number of frames as the container says it or as its duration lets expect."""
    if stream.frames:
        return stream.frames - sum(entry.is_discard for entry in stream.index_entries)
    seconds = _seconds(stream, stream.duration)
    if not seconds and (end := _expected_end(container, stream)):
        seconds = end - _seconds(stream, stream.start_time)
    return round(seconds * rate) or None


class _FrameReader:
    """Decodes one stream and remembers what did not come.

    A file is judged by what it says of itself, in seconds from the start of its clock, and by its
    index of packets; a count of frames is wrong in whole files (edit lists, hidden frames).
    """

    def __init__(self, path: Path | str, container: Any, stream: Any, fps: float) -> None:
        self.path, self.container, self.stream, self.fps = path, container, stream, fps
        self.expected_end = _expected_end(container, stream)
        # Only MP4 and its like have the whole index at their start; edits are in it.
        whole_index = "mp4" in container.format.name
        self.expected_packets = len(stream.index_entries) if whole_index else 0
        self.packets = self.shown = self.faults = 0
        self.packet_end = self.any_end = self.frame_end = -math.inf
        self.sound = False
        self.broken = ""
        # Decodes frames side by side where the codec can.
        stream.thread_type = "AUTO"

    def frames(
        self, known: PictureIndex | None = None, start: int = 0, target: int = 0
    ) -> Generator[Frame, None, None]:
        """All frames, as `VideoFile.frames`, without a word on missing ones.

        Args:
            known: where they lie, to read them from `start` on; nothing comes where they do not.
            start: the first one to give, above 0.
            target: where to seek for it.
        """
        to_rgb = PixelConverter(self.path)
        size, first, time = None, None, 0.0
        pictures = self.pictures()
        if known is not None:
            pictures = known.resumed(self._sought(target), start)
            first, time = known.stamps[0], known.time(start - 1)
            self.packets, self.packet_end, self.any_end = known.counted
        for index, picture in enumerate(pictures, start):
            image = to_rgb(picture)
            size = size or image.shape
            check_size(f"{self.path}: frame {index}", image.shape, size)
            if picture.pts is not None:
                first = picture.pts if first is None else first
                since = _seconds(picture, picture.pts - first)
            else:
                since = index / self.fps
            if index:
                time = since if since > time else time + 1 / self.fps
            yield Frame(index, time, image, _seconds(picture, picture.duration) or 1 / self.fps)
        if self.shown == 0 and known is None:
            raise DataError(
                f"{self.path}: not one frame can be decoded (codec "
                f"{self.stream.codec_context.name!r}); " + CONVERT.format(name=Path(self.path).name)
            )

    def index(self) -> PictureIndex | None:
        """Where the pictures lie; None where only decoding tells."""
        builder = IndexBuilder(self.stream)
        for packet in self._packets():
            if packet.stream is self.stream:
                builder.add(packet)
        counted = (self.packets, self.packet_end, self.any_end)
        return None if self.broken else builder.finish(counted)

    def _sought(self, target: int) -> Iterator[Any]:
        """The pictures from the key frame on that a seek leads to."""
        import av

        try:
            self.container.seek(target, stream=self.stream)
        except av.FFmpegError:
            return iter(())
        others = itertools.dropwhile(
            lambda packet: packet.stream is not self.stream or not packet.is_keyframe,
            self._packets(note=False),
        )
        return self.pictures(others)

    def _packets(self, note: bool = True) -> Iterator[Any]:
        """What the file holds, up to where it cannot be read."""
        import av

        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self.broken = reason(error)
                return
            if packet is None:
                return
            if note:
                self._note(packet)
            yield packet

    def pictures(self, packets: Iterable[Any] | None = None) -> Iterator[Any]:
        """The decoded pictures; what cannot be read or decoded is counted."""
        import av

        for packet in self._packets() if packets is None else packets:
            if packet.stream is not self.stream:
                continue
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                pictures = []
                self.faults += self.shown > 0
            for picture in pictures:
                # A recording that starts inside a group begins with pictures in want of others.
                self.sound = self.sound or not picture.is_corrupt
                self.faults += picture.is_corrupt and self.sound
                self.shown += 1
                if picture.pts is not None:
                    end = _seconds(picture, picture.pts + (picture.duration or 0))
                    self.frame_end = max(self.frame_end, end)
                yield picture

    def _note(self, packet: Any) -> None:
        """Count a packet, and how far it reaches."""
        if packet.size == 0 and packet.dts is None:
            return  # the end of a stream
        end = -math.inf
        if packet.pts is not None and not packet.is_discard:
            end = _seconds(packet, packet.pts + (packet.duration or 0))
        self.any_end = max(self.any_end, end)
        if packet.stream is self.stream:
            self.packets += 1
            self.packet_end = max(self.packet_end, end)

    def check_end(self) -> None:
        """Say what is missing of a file that was read to its end.

        Raises:
            PartialFailure: more than a little is.
        """
        missing = self._missing()
        if missing:
            raise PartialFailure(
                f"{self.path} breaks off: {counted(self.shown, 'frame')} could be decoded, but "
                f"{missing}; the file is damaged or cut short"
            )
        if self.faults:
            found = f"{self.path}: {self.faults} of {counted(self.packets, 'picture')} are damaged"
            if self.faults > _TOLERANCE * self.packets + 1:
                raise PartialFailure(f"{found}; some frames are missing or wrong")
            logger.warning("%s", found)

    def _missing(self) -> str:
        """What did not come, in words; empty where nothing is missing."""
        if self.broken:
            return f"then it cannot be read ({self.broken})"
        if self.packets < (1 - _TOLERANCE) * self.expected_packets - 1:
            return f"it should have {self.expected_packets}"
        for there, wanted in (
            (self.any_end, self.expected_end),
            (self.frame_end, self.packet_end),
        ):
            if math.isfinite(there) and there < (1 - _TOLERANCE) * wanted - 1 / self.fps:
                return f"they end at {there:.2f} s of {wanted:.2f} s"
        return ""


def _expected_end(container: Any, stream: Any) -> float:
    """Where a file says that it ends, in seconds of its own clock; 0 where it does not.

    Only headers count: what FFmpeg works out from the last packets says nothing about a cut.
    """
    name = container.format.name
    if name == "avi":
        return float(stream.frames * stream.time_base)
    if "matroska" in name:
        for key, value in stream.metadata.items():
            # FFmpeg and mkvmerge write this, the latter with a language behind it.
            if key.startswith("DURATION") and (parts := _CLOCK.fullmatch(value)):
                hours, minutes, seconds = parts.groups()
                return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if ("matroska" in name or name == "flv") and container.duration:
        return container.duration / 1e6
    return 0.0


def _seconds(of: Any, ticks: int | None) -> float:
    """Ticks of a packet's or picture's clock in seconds."""
    return float(ticks * of.time_base) if ticks else 0.0
