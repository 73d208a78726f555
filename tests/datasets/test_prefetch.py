"""Frames read ahead: in order, in bounds, with every error at its own frame."""

import threading
import time

import numpy as np
import pytest

from lib.datasets import prefetch
from lib.datasets.prefetch import Readers, reader_threads
from lib.utils.errors import DataError


class Frames:
    """Pictures whose first pixel is their number; notes what is read, and how much at a time."""

    def __init__(self, count, seconds=0.0, broken=()):
        self.count, self.seconds, self.broken = count, seconds, broken
        self.lock = threading.Lock()
        self.asked: list[int] = []
        self.busy = self.most = 0

    def __len__(self):
        return self.count

    def read(self, index):
        with self.lock:
            self.asked.append(index)
            self.busy += 1
            self.most = max(self.most, self.busy)
        time.sleep(self.seconds)
        with self.lock:
            self.busy -= 1
        if index in self.broken:
            raise DataError(f"frame {index} is broken")
        return np.full((10, 10, 1), index, np.uint8)

    def describe(self, index):
        return str(index)


def numbers(stream, count):
    return [int(stream.take()[0, 0, 0]) for _ in range(count)]


@pytest.mark.parametrize("threads", [1, 5])
def test_all_frames_in_order(threads):
    frames = Frames(40, seconds=0.001)
    with Readers(threads) as readers:
        assert numbers(readers.open(frames, 3, 40), 37) == list(range(3, 40))
        assert readers.held == 0
    assert sorted(frames.asked) == list(range(3, 40))


def test_the_first_frame_is_read_alone_and_later_ones_together():
    """What a source prepares with its first frame must not be prepared twice at a time."""
    frames = Frames(20, seconds=0.02)
    with Readers(4) as readers:
        stream = readers.open(frames, 0, 20)
        time.sleep(0.05)
        assert frames.asked == [0]
        numbers(stream, 20)
    assert 2 <= frames.most <= 4


def test_no_more_is_read_ahead_than_there_is_room_for():
    frames = Frames(50)
    with Readers(2) as readers:
        stream = readers.open(frames, 0, 50)
        numbers(stream, 10)
        time.sleep(0.05)
        assert max(frames.asked) == 9 + readers.ahead


def test_the_budget_is_shared_and_everybody_gets_one_frame():
    """Frames of 100 bytes and room for three: two streams get on with less than they would take."""
    sources = [Frames(30), Frames(30)]
    with Readers(4, budget=300) as readers:
        streams = [readers.open(source, 0, 30) for source in sources]
        for _ in range(30):
            for stream in streams:
                stream.take()
                assert readers.held <= 400  # one frame for each is always allowed
        assert readers.held == 0


def test_an_error_comes_with_its_frame():
    with Readers(3) as readers:
        stream = readers.open(Frames(10, broken=[4]), 0, 10)
        assert numbers(stream, 4) == [0, 1, 2, 3]
        with pytest.raises(DataError, match="frame 4"):
            stream.take()


def test_a_closed_stream_gives_its_room_back():
    with Readers(2) as readers:
        stream = readers.open(Frames(10), 0, 10)
        numbers(stream, 3)
        assert readers.held > 0
        stream.close()
        assert readers.held == 0


def test_nothing_to_read():
    frames = Frames(1)
    with Readers(1) as readers, pytest.raises(IndexError):
        readers.open(frames, 1, 1).take()
    assert frames.asked == []


def test_threads_by_the_cores(monkeypatch):
    monkeypatch.setattr(prefetch, "usable_cores", lambda: 12)
    assert [reader_threads(0, n) for n in (1, 4, 24)] == [12, 3, 1]
    assert reader_threads(5, 4) == 5
    monkeypatch.setattr(prefetch, "usable_cores", lambda: 200)
    assert reader_threads(0) == 16
