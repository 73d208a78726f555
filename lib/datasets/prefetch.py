"""Frames read ahead by threads, so that a tracker never waits for a decoder that could have run.

Decoding a frame takes as long as tracking a small target in it, and needs no Python lock. What
waits in memory is bounded: by frames for each sequence, and by bytes for all of them together.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np

from lib.datasets.sequence import FrameSource
from lib.utils.cores import usable_cores

# Frames that wait to be tracked, all sequences together; 160 of 1920 x 1080 pixels.
BUDGET = 1 << 30
# Beyond this the disk is the limit.
_MOST_THREADS = 16

Value = TypeVar("Value")


def reader_threads(wanted: int, processes: int = 1) -> int:
    """How many threads read in one process: as asked for, or (0) by the cores that it has."""
    if wanted:
        return wanted
    return max(1, min(_MOST_THREADS, usable_cores() // max(1, processes)))


class Readers:
    """Threads that read frames ahead for any number of sequences.

    Everything but the reading happens in the thread that owns it: streams are opened, taken from
    and closed there. At most `budget` bytes of frames wait, but one frame for each sequence may.
    """

    def __init__(self, threads: int, streams: int = 1, budget: int = BUDGET) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        # Enough for each thread to have work, and one frame to spare.
        self.ahead = 2 + threads // max(1, streams)
        self.budget = budget
        self.held = 0

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, do: Callable[[], Value]) -> "Future[Value]":
        """Do something else in one of the threads, such as opening the next sequence."""
        return self._pool.submit(do)

    def open(self, frames: FrameSource, first: int, end: int) -> "FrameStream":
        """The frames of a sequence from number `first` to before `end`, one after the other."""
        return FrameStream(self, frames, first, end)


class FrameStream:
    """The frames of one sequence in order; see `Readers.open`.

    The first one is read alone: it tells how much memory a frame takes, and what a source
    prepares when it is first used is prepared once.
    """

    def __init__(self, readers: Readers, frames: FrameSource, first: int, end: int) -> None:
        self._readers = readers
        self._frames = frames
        self._next = first
        self._end = end
        self._bytes = 0
        # What is being read, and how many bytes it was counted for.
        self._waiting: deque[tuple[Future[np.ndarray], int]] = deque()
        if first < end:
            self._ask()

    def take(self) -> np.ndarray:
        """The next frame `(H, W, 3)` uint8 RGB; waits for it if need be.

        Raises:
            DataError: it cannot be read.
            IndexError: there is none left.
        """
        future, counted = self._waiting.popleft()
        self._readers.held -= counted
        image = future.result()
        self._bytes = image.nbytes
        while self._next < self._end and len(self._waiting) < self._readers.ahead:
            if self._waiting and self._readers.held + self._bytes > self._readers.budget:
                break
            self._ask()
        return image

    def close(self) -> None:
        for future, counted in self._waiting:
            future.cancel()
            self._readers.held -= counted
        self._waiting.clear()

    def _ask(self) -> None:
        future = self._readers.submit(partial(self._frames.read, self._next))
        self._waiting.append((future, self._bytes))
        self._readers.held += self._bytes
        self._next += 1
