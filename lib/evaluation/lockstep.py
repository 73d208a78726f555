"""Many sequences at once, one frame of each at a time: one forward pass tracks them all.

Sequences join when there is room and leave when they end; every target keeps its own templates.
What a target's boxes are does not depend on who else is in the batch, but for the last bits of
the sums in the network, which depend on the size of a matrix.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lib.datasets.prefetch import FrameStream, Readers, reader_threads
from lib.datasets.sequence import Dataset, Video, announce_range
from lib.evaluation.one_by_one import after_frame, failure
from lib.evaluation.plan import RunOptions
from lib.evaluation.sequence import (
    OnFrame,
    Outcome,
    SequenceSource,
    Trace,
    first_box_of,
    frames_to_run,
)
from lib.tracker.base import BaseTracker, Info

# Sequences that are opened before there is room for them.
SPARE = 1


@dataclass(frozen=True)
class _Opened:
    video: Video
    count: int
    image: np.ndarray


@dataclass(eq=False)
class _Slot:
    video: Video
    trace: Trace
    stream: FrameStream
    after: OnFrame
    state: Any
    left: int


@dataclass(frozen=True)
class Lockstep:
    """Tracks `options.batch_size` sequences of a data set at a time; picklable.

    Every failure becomes an outcome with its reason: one bad sequence must not stop the rest.
    The seconds of a frame are its share of those of the step that tracked it.
    """

    dataset: Dataset
    options: RunOptions
    processes: int = 1

    def __call__(
        self, tracker: BaseTracker, source: SequenceSource, on_frame: Callable[[], object]
    ) -> Iterator[Outcome]:
        """Track all that `source` gives, calling `on_frame` after each frame."""
        threads = reader_threads(self.options.readers, self.processes)
        with Readers(threads, self.options.batch_size) as readers:
            yield from _LockstepBatch(self, tracker, readers, on_frame).run(source)


class _LockstepBatch:
    """The sequences that are being tracked at the moment, and those that wait to join."""

    def __init__(
        self,
        lockstep: Lockstep,
        tracker: BaseTracker,
        readers: Readers,
        on_frame: Callable[[], object],
    ) -> None:
        self.dataset, self.options = lockstep.dataset, lockstep.options
        self.tracker = tracker
        self.readers = readers
        self.on_frame = on_frame
        self.slots: list[_Slot] = []
        self.openings: deque[tuple[str, Future[_Opened]]] = deque()

    def run(self, source: SequenceSource) -> Iterator[Outcome]:
        """Track all that the source gives."""
        while True:
            self._order(source)
            yield from self._fill()
            if self.slots:
                yield from self._step()
            elif not self.openings:
                return

    def _order(self, source: SequenceSource) -> None:
        """Have the next sequences opened, while those here are tracked."""
        while len(self.slots) + len(self.openings) < self.options.batch_size + SPARE:
            name = source.take(wait=not self.slots and not self.openings)
            if name is None:
                return
            self.openings.append((name, self.readers.submit(partial(self._open, name))))

    def _open(self, name: str) -> _Opened:
        video = self.dataset.load(name)
        count = frames_to_run(video, self.options.max_frames)
        announce_range(video.frames)
        return _Opened(video, count, video.frames.read(0))

    def _fill(self) -> Iterator[Outcome]:
        """Let those join that there is room for.

        It waits for one that is still being opened, so that who is together in a batch, and with
        it the last bits of all numbers, does not depend on the speed of a disk.
        """
        while self.openings and len(self.slots) < self.options.batch_size:
            name, opening = self.openings.popleft()
            try:
                slot = self._start(opening.result())
            except Exception as error:
                yield failure(name, error)
                continue
            self.slots.append(slot)
            yield from self._leave(slot)

    def _start(self, opened: _Opened) -> _Slot:
        began = time.perf_counter()
        video = opened.video
        with first_box_of(video):
            state, answer = self.tracker.start(opened.image, video.init_box)
        trace = Trace(video)
        seconds = time.perf_counter() - began
        box = trace.add(answer, seconds)
        after = after_frame(video, self.options.debug_dir, self.on_frame)
        after(0, opened.image, box)
        stream = self.readers.open(video.frames, 1, opened.count)
        return _Slot(video, trace, stream, after, state, opened.count - 1)

    def _step(self) -> Iterator[Outcome]:
        began = time.perf_counter()
        slots, images = [], []
        for slot in self.slots:
            try:
                images.append(slot.stream.take())
            except Exception as error:
                yield self._drop(slot, error)
            else:
                slots.append(slot)
        self.slots = slots
        answers = _answers(self.tracker, [slot.state for slot in slots], images)
        seconds = (time.perf_counter() - began) / max(1, len(slots))
        for slot, image, answer in zip(list(slots), images, answers, strict=True):
            try:
                self._note(slot, image, answer, seconds)
            except Exception as error:
                self.slots.remove(slot)
                yield self._drop(slot, error)
            else:
                yield from self._leave(slot)

    def _note(
        self,
        slot: _Slot,
        image: np.ndarray,
        answer: tuple[Any, Info] | Exception,
        seconds: float,
    ) -> None:
        if isinstance(answer, Exception):
            raise answer
        slot.state, found = answer
        box = slot.trace.add(found, seconds)
        slot.left -= 1
        slot.after(len(slot.trace.boxes) - 1, image, box)

    def _leave(self, slot: _Slot) -> Iterator[Outcome]:
        """Let a sequence go that has no frame left."""
        if slot.left == 0:
            self.slots.remove(slot)
            slot.stream.close()
            yield Outcome(slot.video.name, result=slot.trace.result())

    def _drop(self, slot: _Slot, error: Exception) -> Outcome:
        slot.stream.close()
        return failure(slot.video.name, error)


def _answers(
    tracker: BaseTracker, states: Sequence[Any], images: Sequence[np.ndarray]
) -> list[tuple[Any, Info] | Exception]:
    """An answer for each target, or why there is none; one target must not stop the others."""
    if not states:
        return []
    try:
        return tracker.step(states, images)
    except Exception as error:
        if len(states) == 1:
            return [error]
        # Whose fault was it? A step that failed has changed no state.
        return [
            _answers(tracker, [state], [image])[0]
            for state, image in zip(states, images, strict=True)
        ]
