"""Worker processes that track sequences, one job at a time over a pipe each.

The parent hands a worker the next sequence when it reports the last one, so a slow sequence
holds up nobody, and a dying worker takes only the sequence it was on. Results travel back to
the parent, which alone writes files.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from lib.test.evaluation.results import SequenceResult
from lib.test.tracker.base import Tracker
from lib.test.tracker.build import build_tracker
from lib.test.tracker.spec import TrackerSpec
from lib.utils.errors import SeqTrackError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one sequence ended.

    Attributes:
        name: the sequence.
        result: boxes, times and confidences, or None if it failed.
        reason: why it failed, one line.
    """

    name: str
    result: SequenceResult | None = None
    reason: str = ""


# Tracks one sequence by name; the callback is called after each frame. Never raises Exception.
Track = Callable[[Tracker, str, Callable[[], object]], Outcome]


class _UnableError(Exception):
    """A worker could not build its tracker, for this reason."""

    def __init__(self, reason: SeqTrackError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: str | None = None
    ready: bool = False


def _work(
    connection: Connection, spec: TrackerSpec, device: str, cpu_threads: int, track: Track
) -> None:
    torch.set_num_threads(cpu_threads)
    try:
        tracker = build_tracker(spec, device)
    except SeqTrackError as error:
        connection.send(("unable", error))
        return

    def tell(kind: str, content: object = None) -> None:
        try:
            connection.send((kind, content))
        except BrokenPipeError:
            # The parent is gone: nobody wants the result.
            raise SystemExit(1) from None

    tell("ready")
    with contextlib.suppress(EOFError):
        while True:
            tell("outcome", track(tracker, connection.recv(), lambda: tell("frame")))


def track_in_processes(
    names: list[str],
    spec: TrackerSpec,
    devices: list[str],
    track: Track,
    on_frame: Callable[[], object],
) -> Iterator[Outcome]:
    """Track sequences in as many spawned processes as there are devices.

    Args:
        names: sequences, handed out in this order.
        spec: builds the tracker, once per process.
        devices: one entry per worker.
        track: a picklable callable.
        on_frame: called in this process for every frame that any worker finished.

    Yields:
        one outcome per name, in order of completion.

    Raises:
        SeqTrackError: a worker could not build its tracker.
    """
    waiting = list(names)
    workers = _start(spec, devices[: len(names)], track)
    try:
        while waiting or any(worker.job for worker in workers):
            if not workers:
                yield from (Outcome(name, reason="no worker process is left") for name in waiting)
                return
            for connection in wait([worker.connection for worker in workers]):
                worker = next(w for w in workers if w.connection is connection)
                try:
                    outcome = _hear(worker, waiting, on_frame)
                except (EOFError, ConnectionResetError):
                    # Only now has all been read that it said before it died.
                    workers.remove(worker)
                    outcome = _death(worker)
                except _UnableError as error:
                    workers.remove(worker)
                    if not any(other.ready for other in workers):
                        raise error.reason from None
                    logger.warning("a worker cannot start: %s", error.reason)
                    continue
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()
            worker.connection.close()


def _start(spec: TrackerSpec, devices: list[str], track: Track) -> list[_Worker]:
    context = multiprocessing.get_context("spawn")
    # Ctrl-C reaches the whole process group; the parent decides what to do about it. Children
    # inherit this, so that it holds while they import torch.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    cpu_threads = max(1, (os.cpu_count() or 1) // len(devices))
    workers = []
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, spec, device, cpu_threads, track), daemon=True
            )
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours))
    finally:
        signal.signal(signal.SIGINT, previous)
    return workers


def _hear(worker: _Worker, waiting: list[str], on_frame: Callable[[], object]) -> Outcome | None:
    """Take one message of a worker; give it the next job when it is free."""
    kind, content = worker.connection.recv()
    if kind == "unable":
        raise _UnableError(content)
    worker.ready = True
    if kind == "frame":
        on_frame()
        return None
    worker.job = waiting.pop(0) if waiting else None
    if worker.job is not None:
        try:
            worker.connection.send(worker.job)
        except BrokenPipeError:
            # It died between two jobs: the next one is not its fault. EOF follows.
            waiting.insert(0, worker.job)
            worker.job = None
    return content


def _death(worker: _Worker) -> Outcome | None:
    worker.connection.close()
    worker.process.join()
    job, worker.job = worker.job, None
    if job is None:
        return None
    code = worker.process.exitcode or 0
    try:
        how = signal.Signals(-code).name
    except ValueError:
        how = f"exit code {code}"
    return Outcome(job, reason=f"its worker process died ({how}); out of memory?")
