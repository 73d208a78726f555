"""Live sources: the newest frame, what was skipped, stalls, lost connections, and a clean end.

Streams come from a server on this machine's own address; cameras are made up.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lib.utils.errors import DataError, PartialFailure
from lib.utils.image_io import write_rgb
from lib.video import live
from lib.video.live import LiveClip
from lib.video.open import open_source
from tests.helpers.stream_server import StreamServer
from tests.helpers.video_files import number_in, numbered, write_av


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(live, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(live, "STALL_SECONDS", 2.0)


def readers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("reader of")]


def stream_bytes(folder: Path, count: int, first: int = 0) -> bytes:
    """A transport stream of numbered pictures, a key frame every ten."""
    options = {"g": "10", "keyint_min": "10", "bf": "0"}
    path = write_av(folder / f"{first}.ts", numbered(count, first=first), options=options)
    return path.read_bytes()


class Camera:
    """Gives pictures when it is told to; `cv2.VideoCapture` of a test."""

    def __init__(self, images) -> None:
        self.images = iter(images)
        self.allowed = threading.Semaphore(0)
        self.asked = 0
        self.news = threading.Condition()
        self.opened = self.released = 0

    @contextlib.contextmanager
    def session(self) -> Iterator[Iterator[np.ndarray]]:
        self.opened += 1
        try:
            yield self._pictures()
        finally:
            self.released += 1

    def _pictures(self) -> Iterator[np.ndarray]:
        while True:
            with self.news:
                self.asked += 1
                self.news.notify_all()
            self.allowed.acquire()
            try:
                yield next(self.images)
            except StopIteration:
                return

    def give(self, count: int) -> None:
        """Let that many pictures out, and wait until the reader has them all."""
        wanted = self.asked + count
        for _ in range(count):
            self.allowed.release()
        with self.news:
            assert self.news.wait_for(lambda: self.asked >= wanted, 30)


def test_the_newest_frame_is_given_and_skipped_ones_are_counted():
    camera = Camera(numbered(40))
    clip = LiveClip("camera", camera.session, lambda image: image)
    frames = clip.frames()
    camera.allowed.release()
    first = next(frames)
    assert (first.index, first.time, number_in(first.image), clip.skipped) == (0, 0, 0, 0)
    camera.give(5)
    frame = next(frames)
    assert (frame.index, number_in(frame.image), clip.skipped) == (5, 5, 4)
    camera.give(1)
    assert (next(frames).index, clip.skipped) == (6, 4)
    assert len(readers()) == 1
    camera.allowed.release()
    frames.close()
    assert not readers() and camera.opened == camera.released == 1


def test_the_thread_ends_and_the_source_is_closed_on_an_interruption():
    camera = Camera(numbered(40))
    clip = LiveClip("camera", camera.session, lambda image: image)
    camera.allowed.release(200)
    with pytest.raises(KeyboardInterrupt), contextlib.closing(clip.frames()) as frames:
        for _ in frames:
            raise KeyboardInterrupt
    assert not readers() and camera.released == 1


def test_two_sizes_in_one_stream_are_one_line_after_the_frames_before():
    camera = Camera([*numbered(1), *numbered(1, 128, 72)])
    frames = LiveClip("cam", camera.session, lambda image: image).frames()
    camera.allowed.release()
    next(frames)
    camera.allowed.release(9)
    with pytest.raises(
        DataError, match="cam: frame 1 is 128 x 72, but the frames before it are 96 x"
    ):
        next(frames)
    assert not readers() and camera.released == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_of_the_reader_is_no_end():
    @contextlib.contextmanager
    def broken():
        raise ZeroDivisionError
        yield

    with pytest.raises(PartialFailure, match="its reader failed"):
        list(LiveClip("cam", broken, lambda image: image).frames())


def test_a_slow_reader_of_a_stream_gets_its_newest_frame(tmp_path):
    with StreamServer([(stream_bytes(tmp_path, 120), "half")]) as server:
        clip = open_source(server.address, reconnect=0)
        assert clip.live and clip.length is None and clip.fps == pytest.approx(25, abs=1)
        frames = clip.frames()
        first = next(frames)
        server.go_on.set()
        for thread in readers():
            thread.join(30)
        last = next(frames)
        assert number_in(last.image) == 119
        assert last.index == 119 - number_in(first.image) == clip.skipped + 1
        assert next(frames, None) is None
    assert not readers()


def test_a_stream_that_stalls_is_opened_again_and_then_lost(tmp_path, caplog):
    scripts = [(stream_bytes(tmp_path, 40), "stall"), (stream_bytes(tmp_path, 40, 100), "stall")]
    seen, numbers = [], []
    with StreamServer(scripts) as server:
        clip = open_source(server.address, reconnect=2)
        with pytest.raises(PartialFailure, match=r"/cam: lost after \d+ pictures \(cannot be op"):
            for frame in clip.frames():
                seen.append(frame.index)
                numbers.append(number_in(frame.image))
    assert seen == sorted(set(seen)) and numbers[-1] == 139 and min(numbers) < 40
    said = [record.getMessage() for record in caplog.records]
    assert [text.split("; ")[1] for text in said] == [
        "connecting again (1 of 2)",
        "connecting again (1 of 2)",
        "connecting again (2 of 2)",
    ]
    assert "nothing came in time" in said[0]
    assert not readers()


def test_a_stream_that_ends_in_order_and_does_not_come_back_is_at_its_end(tmp_path, caplog):
    with StreamServer([(stream_bytes(tmp_path, 40), "end")]) as server:
        frames = list(open_source(server.address, reconnect=1).frames())
    assert number_in(frames[-1].image) == 39
    assert [record.getMessage() for record in caplog.records] == [
        f"{server.address}: it ended; connecting again (1 of 1)"
    ]


def test_a_file_on_a_server_is_no_live_source(tmp_path):
    data = write_av(tmp_path / "a.mkv", numbered(40)).read_bytes()
    with StreamServer([(data, "end")], sized=True) as server:
        clip = open_source(server.address)
        assert not clip.live
        assert [number_in(frame.image) for frame in clip.frames()] == list(range(40))
        assert [number_in(frame.image) for frame in clip.frames(38)] == [38, 39]


class Device:
    """`cv2.VideoCapture`: gives five pictures, then it is unplugged."""

    plugged, handles = True, 0

    def __init__(self, number: int) -> None:
        assert number == 3
        self.left = 5
        Device.handles += 1

    def isOpened(self) -> bool:
        return Device.plugged

    def get(self, what: int) -> float:
        return 30.0

    def read(self):
        self.left -= 1
        if self.left < 0:
            Device.plugged = False
            return False, None
        return True, np.full((64, 96, 3), (0, 0, 255), np.uint8)

    def release(self) -> None:
        Device.handles -= 1


@pytest.fixture
def device(monkeypatch):
    Device.plugged, Device.handles = True, 0
    monkeypatch.setattr(live.cv2, "VideoCapture", Device)
    monkeypatch.setattr(live, "cameras", lambda: [3] if Device.plugged else [])


@pytest.mark.parametrize("source", [3, "3", "/dev/video3"], ids=str)
def test_a_camera_that_vanishes(device, caplog, source):
    clip = open_source(source, reconnect=2)
    assert (clip.name, clip.live, clip.fps) == ("camera 3", True, 30)
    frames = []
    with pytest.raises(PartialFailure, match=r"camera 3: lost after 5 pictures \(no such camera"):
        for frame in clip.frames():
            frames.append(frame)
    assert frames[-1].index + 1 == len(frames) + clip.skipped
    assert tuple(frames[0].image[0, 0]) == (255, 0, 0), "RGB"
    assert "was it unplugged?; connecting again (1 of 2)" in caplog.records[0].getMessage()
    assert len(caplog.records) == 2
    assert Device.handles == 0 and not readers()


def test_a_camera_that_is_not_there(device):
    with pytest.raises(DataError, match="camera 7: no such camera; there are 3"):
        open_source(7)


def feed(path: Path, data: bytes) -> threading.Thread:
    """A writer of a pipe, as slow as its reader."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("name", "start"),
    [
        pytest.param("a.mp4", {}, id="MP4 with its index at its end"),
        pytest.param("a.mp4", {"movflags": "faststart"}, id="MP4 with its index first"),
        pytest.param("a.ts", {}, id="transport stream"),
        pytest.param("a.mkv", {}, id="Matroska"),
    ],
)
def test_every_frame_of_a_pipe_is_read(tmp_path, name, start):
    data = write_av(tmp_path / name, numbered(30), container_options=start).read_bytes()
    writer = feed(tmp_path / "feed", data)
    clip = open_source(str(tmp_path / "feed"))
    assert (clip.live, clip.length, clip.fps) == (False, None, 25)
    frames = list(clip.frames())
    assert [number_in(frame.image) for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(30)])
    writer.join(30)
    assert not writer.is_alive()
    with pytest.raises(DataError, match="a stream can be read only once"):
        next(clip.frames())


def test_the_newest_frame_of_a_pipe_on_request(tmp_path):
    data = write_av(tmp_path / "a.ts", numbered(30)).read_bytes()
    feed(tmp_path / "feed", data)
    clip = open_source(tmp_path / "feed", live=True)
    frames = list(clip.frames())
    assert clip.live and number_in(frames[-1].image) == 29
    assert len(frames) + clip.skipped == frames[-1].index + 1


def test_standard_input(tmp_path, monkeypatch):
    path = write_av(tmp_path / "a.mkv", numbered(10))
    with open(path) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        frames = list(open_source("-").frames(start=4))
    assert [number_in(frame.image) for frame in frames] == list(range(4, 10))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match="-: nothing is piped"):
        open_source("-")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rtsp://127.0.0.1:9/cam", r"^rtsp://127\.0\.0\.1:9/cam: cannot be opened \(Connection"),
        ("http://127.0.0.1:9/a.mp4", r"^http://127\.0\.0\.1:9/a\.mp4: cannot be opened"),
        ("rtps://127.0.0.1/cam", r"did you mean 'rtsps'\?"),
        ("file:///none/a.mp4", "^/none/a.mp4: no such video file"),
        ("none/*.jpg", r"none/\*\.jpg: no file has such a name"),
        (3.5, "3.5 is no clip"),
    ],
    ids=str,
)
def test_what_cannot_be_opened_is_named_as_typed(source, said):
    with pytest.raises(DataError, match=said):
        open_source(source)


def test_a_file_by_its_address_and_a_pattern_of_images(tmp_path):
    path = write_av(tmp_path / "a b.mp4", numbered(3))
    assert len(list(open_source(path.as_uri()).frames())) == 3
    for number in (2, 10, 1):
        write_rgb(tmp_path / f"f{number}.png", numbered(1, first=number)[0])
    clip = open_source(str(tmp_path / "*.png"), fps=10)
    assert [number_in(frame.image) for frame in clip.frames()] == [1, 2, 10] and clip.fps == 10
    with pytest.raises(DataError, match=r"4 files, of which .*a b\.mp4 is no image"):
        open_source(str(tmp_path / "*"))


def test_arrays():
    images = numbered(5)
    clip = open_source(iter(images), fps=10)
    frames = list(clip.frames(start=1))
    assert [(frame.index, frame.time) for frame in frames] == [
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
        (4, 0.4),
    ]
    assert clip.length is None and frames[0].image is images[1]
    with pytest.raises(DataError, match="an iterator cannot be read backward"):
        next(clip.frames(backward=True))
    back = open_source(images).frames(3, backward=True)
    assert [(frame.index, number_in(frame.image)) for frame in back] == [
        (number, number) for number in (3, 2, 1, 0)
    ]
    endless = open_source(itertools.cycle(images)).frames()
    assert len(list(itertools.islice(endless, 12))) == 12


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([np.zeros((4, 4, 3))], r"frame 0 is float64 of shape \(4, 4, 3\); frames are uint8 RGB"),
        ([np.zeros((4, 4), np.uint8)], r"of shape \(4, 4\)"),
        ([*numbered(1), *numbered(1, 128, 72)], "frame 1 is 128 x 72, but the frames before it"),
    ],
    ids=["numbers with a point", "grey", "two sizes"],
)
def test_arrays_that_are_no_frames(images, said):
    with pytest.raises(DataError, match=said):
        list(open_source(images).frames())
