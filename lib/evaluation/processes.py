"""Worker processes that track sequences, their jobs over a pipe each.

The parent hands a worker the next sequence when it reports the end of one, so a slow sequence
holds up nobody, and a dying worker takes only the sequences it was on. Results travel back to
the parent, which alone writes files.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from lib.evaluation.sequence import Outcome
from lib.evaluation.sources import Follow
from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.cores import threads_are_given, usable_cores
from lib.utils.errors import SeqTrackError

logger = logging.getLogger(__name__)


class _UnableError(Exception):
    """A worker could not build its tracker, for this reason."""

    def __init__(self, reason: SeqTrackError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass
class _Worker:
    """One process, and the sequences that it has been given and not yet reported."""

    process: BaseProcess
    connection: Connection
    jobs: list[str] = field(default_factory=list)

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


class _PipeSource:
    """Takes names from the parent's end of a pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, wait: bool) -> str | None:
        """The next name; None if there is none just now, or the parent is gone."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            if wait or self._connection.poll():
                return self._connection.recv()
        return None


def _work(connection: Connection, spec: TrackerSpec, device: str, follow: Follow) -> None:
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
    for outcome in follow(tracker, _PipeSource(connection), lambda: tell("frame")):
        tell("outcome", outcome)


def track_in_processes(
    names: list[str],
    spec: TrackerSpec,
    devices: list[str],
    follow: Follow,
    on_frame: Callable[[], object],
    capacity: int = 1,
) -> Generator[Outcome, None, None]:
    """Track sequences in spawned processes; yields one outcome per name, as they come.

    Args:
        names: sequences, handed out in this order.
        spec: builds the tracker, once per process.
        devices: one entry per worker.
        follow: picklable.
        on_frame: called in this process for every frame that any worker finished.
        capacity: sequences that a worker is given at a time.

    Raises:
        SeqTrackError: no worker could build its tracker.
    """
    waiting = list(names)
    workers = _start(spec, devices[: len(names)], follow)
    # Who fails first must not end the run: the others may still be loading their networks.
    unable: list[SeqTrackError] = []
    begun = False
    try:
        while workers and (waiting or any(worker.jobs for worker in workers)):
            for worker in _who_talks(workers):
                try:
                    outcome = _hear(worker, waiting, on_frame, capacity)
                except (EOFError, ConnectionResetError):
                    # Only now has all been read that it said before it died.
                    workers.remove(worker)
                    yield from _death(worker)
                except _UnableError as error:
                    unable.append(error.reason)
                else:
                    begun = True
                    if outcome is not None:
                        yield outcome
            while begun and unable:
                logger.warning("a worker cannot start: %s", unable.pop(0))
        if unable:
            raise unable[0]
        yield from (Outcome(name, reason="no worker process is left") for name in waiting)
    finally:
        for worker in workers:
            worker.end()


def _start(spec: TrackerSpec, devices: list[str], follow: Follow) -> list[_Worker]:
    context = multiprocessing.get_context("spawn")
    # Ctrl-C reaches the whole process group; the parent decides what to do about it. Children
    # inherit this, so that it holds while they import torch.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not spec.cpu_threads and not threads_are_given(os.environ):
        share = max(1, usable_cores() // len(devices))
        spec = replace(spec, cpu_threads=share)
    workers = []
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, spec, device, follow), daemon=True
            )
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours))
    finally:
        signal.signal(signal.SIGINT, previous)
    return workers


def _who_talks(workers: list[_Worker]) -> list[_Worker]:
    """The workers that have said something or died, as soon as there is one."""
    talking = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in talking]


def _hear(
    worker: _Worker, waiting: list[str], on_frame: Callable[[], object], capacity: int
) -> Outcome | None:
    """Take one message of a worker; give it as many jobs as it has room for."""
    kind, content = worker.connection.recv()
    if kind == "unable":
        raise _UnableError(content)
    if kind == "frame":
        on_frame()
        return None
    if kind == "outcome":
        worker.jobs.remove(content.name)
    try:
        while waiting and len(worker.jobs) < capacity:
            worker.connection.send(waiting[0])
            worker.jobs.append(waiting.pop(0))
    except BrokenPipeError:
        # It died between two jobs: the next one is not its fault. EOF follows.
        pass
    return content


def _death(worker: _Worker) -> Iterator[Outcome]:
    """What became of the sequences that a dead worker was on."""
    worker.connection.close()
    worker.process.join()
    code = worker.process.exitcode or 0
    try:
        how = signal.Signals(-code).name
    except ValueError:
        how = f"exit code {code}"
    for job in worker.jobs:
        yield Outcome(job, reason=f"its worker process died ({how}); out of memory?")
