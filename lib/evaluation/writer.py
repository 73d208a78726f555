"""Tracks what a queue gives, writes each result at once, and says how each sequence ended."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lib.evaluation.plan import Plan
from lib.evaluation.queue import FolderQueue
from lib.evaluation.sequence import Follow, Outcome
from lib.results.files import claim_folder
from lib.tracker.base import BaseTracker
from lib.utils.errors import PartialFailure, counted
from lib.utils.files import is_disk_full


@dataclass(frozen=True)
class Ended:
    """How a sequence ended."""

    name: str  # the sequence
    reason: str = ""  # why there is no result; empty if there is one
    frames: int = 0  # how many were tracked
    seconds: float = 0.0  # what they took

    def __str__(self) -> str:
        if self.reason:
            return f"{self.name}: FAILED: {self.reason}"
        return f"{self.name}: {self.frames} frames, {self.frames / self.seconds:.1f} frames/s"


def work(
    plan: Plan,
    tracker: BaseTracker,
    queue: FolderQueue,
    follow: Follow,
    on_frame: Callable[[], object],
) -> Iterator[Ended]:
    """Track all that a queue gives; how each sequence ended, its result written.

    The folder is claimed for the run with the first result, so that nothing is removed there by a
    run that never gets so far.

    Raises:
        ResultsError: another run has claimed the folder meanwhile.
        PartialFailure: the disk is full: all other sequences would be tracked for nothing.
    """
    claimed = False
    with _room(plan), contextlib.closing(follow(tracker, queue, on_frame)) as outcomes:
        for outcome in outcomes:
            if outcome.disk_full:
                raise _disk_full(plan, outcome.reason)
            reason = outcome.reason
            if outcome.result is not None:
                reason, claimed = _write(plan, outcome, queue, claimed)
            queue.settle(outcome.name, reason)
            if outcome.result is None or reason:
                yield Ended(outcome.name, reason)
            else:
                times = outcome.result.times
                yield Ended(outcome.name, "", len(times), float(times.sum()))


def _write(plan: Plan, outcome: Outcome, queue: FolderQueue, claimed: bool) -> tuple[str, bool]:
    """Write a result; why it cannot be written, and whether the folder is claimed."""
    job = plan.job
    try:
        if not claimed:
            with queue.alone():
                claim_folder(job.folder, job.record, job.options.overwrite)
            claimed = True
        job.folder.write(outcome.name, outcome.result, job.options.as_float)
    except OSError as error:
        if is_disk_full(error):
            raise
        return f"its results cannot be written: {error}", claimed
    return "", claimed


@contextlib.contextmanager
def _room(plan: Plan) -> Iterator[None]:
    """Say what is left where the disk is full."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise _disk_full(plan, str(error)) from error


def _disk_full(plan: Plan, reason: str) -> PartialFailure:
    left = [name for name in plan.lengths if not plan.is_done(name)]
    again = "the same command" + (" without --overwrite" if plan.job.options.overwrite else "")
    return PartialFailure(
        f"{plan.job.folder.root}: the disk is full ({reason}); "
        f"{len(left)} of {counted(len(plan.lengths), 'sequence')} are left, the others "
        f"are saved: make room, and {again} goes on with them"
    )
