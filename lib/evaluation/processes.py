"""Worker processes on this machine: each builds a tracker and takes from the results folder.

A slow sequence holds up nobody, and a dying process takes only the sequences it was on.
"""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from lib.evaluation.plan import Plan
from lib.evaluation.queue import (
    FolderQueue,
    end_claims,
    failure_of,
    new_worker,
)
from lib.evaluation.sequence import Follow
from lib.evaluation.writer import Ended, work
from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.cores import threads_are_given, usable_cores
from lib.utils.errors import SeqTrackError

logger = logging.getLogger(__name__)


@dataclass
class _Worker:
    """A process, what it reports through, and its name in the results folder."""

    process: BaseProcess
    connection: Connection
    name: str

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.connection.close()


def _work(
    connection: Connection,
    plan: Plan,
    spec: TrackerSpec,
    device: str,
    follow: Follow,
    names: list[str],
    worker: str,
) -> None:
    def report(kind: str, content: object = None) -> None:
        try:
            connection.send((kind, content))
        except BrokenPipeError:
            # The parent is gone, and nobody counts any more.
            raise SystemExit(1) from None

    try:
        tracker = build_tracker(spec, device)
    except SeqTrackError as error:
        return report("unable", error)
    report("ready")
    try:
        with FolderQueue(plan, names, idle=lambda: report("idle"), worker=worker) as queue:
            for ended in work(plan, tracker, queue, follow, lambda: report("frame")):
                report("ended", ended)
    except SeqTrackError as error:
        report("stop", error)


def track_in_processes(
    plan: Plan,
    names: list[str],
    spec: TrackerSpec,
    devices: Sequence[str],
    follow: Follow,
    on_frame: Callable[[], object],
) -> Iterator[Ended]:
    """Track sequences in spawned processes; yields how each ended, as they come.

    Args:
        plan: which results are wanted, and where they go.
        names: sequences, taken in this order.
        spec: builds the tracker, once per process.
        devices: one entry per worker.
        follow: picklable.
        on_frame: called in this process for every frame that any worker finished.

    Raises:
        SeqTrackError: no worker could build its tracker.
        PartialFailure: the disk is full.
    """
    workers = _start(plan, names, spec, devices[: len(names)], follow)
    left = set(names)
    try:
        for ended in _watch(plan, workers, on_frame):
            left.discard(ended.name)
            yield ended
        for name in names:
            if name in left and not (plan.is_done(name) or failure_of(plan, name)):
                yield Ended(name, "no worker process is left")
    finally:
        for worker in workers:
            worker.end()
            end_claims(plan.job.folder.root, worker.name)


def _watch(plan: Plan, workers: list[_Worker], on_frame: Callable[[], object]) -> Iterator[Ended]:
    """How sequences end, until no worker is left in `workers`."""
    # Who fails first must not end the run: the others may still be loading their networks.
    unable: list[SeqTrackError] = []
    begun = False
    while workers:
        for worker in _poll(workers):
            try:
                kind, content = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                # Only now has all been read that it sent before it died.
                workers.remove(worker)
                yield from _death(plan, worker)
                continue
            begun = begun or kind == "ready"
            if kind == "unable":
                unable.append(content)
            elif kind == "stop":
                raise content
            elif kind == "frame":
                on_frame()
            elif kind == "ended":
                yield content
        while begun and unable:
            logger.warning("a worker cannot start: %s", unable.pop(0))
    if unable:
        raise unable[0]


def _start(
    plan: Plan, names: list[str], spec: TrackerSpec, devices: Sequence[str], follow: Follow
) -> list[_Worker]:
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
            worker = new_worker()
            arguments: Any = (theirs, plan, spec, device, follow, names, worker)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours, worker))
    finally:
        signal.signal(signal.SIGINT, previous)
    return workers


def _poll(workers: list[_Worker]) -> list[_Worker]:
    """The workers that have sent something or died, as soon as there is one."""
    ready = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def _death(plan: Plan, worker: _Worker) -> Iterator[Ended]:
    """What became of the sequences that a worker was on which has ended."""
    worker.connection.close()
    worker.process.join()
    code = worker.process.exitcode or 0
    try:
        how = signal.Signals(-code).name
    except ValueError:
        how = f"exit code {code}"
    reason = f"its worker process died ({how}); out of memory?"
    # Another one that tried them would die as well.
    for name in end_claims(plan.job.folder.root, worker.name, reason):
        yield Ended(name, reason)
