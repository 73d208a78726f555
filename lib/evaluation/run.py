"""A data set in, raw result files out: resume, progress, failures, workers.

Finished sequences are on disk at once and whole, so an interrupted run loses only the
sequences it was on, and the next one goes on with those.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from lib.evaluation.distributed import WorkerRank
from lib.evaluation.lockstep import Lockstep
from lib.evaluation.one_by_one import OneByOne
from lib.evaluation.plan import Job, failure_lines, make_plan
from lib.evaluation.processes import track_in_processes
from lib.evaluation.queue import FolderQueue, failure_of, folder_time
from lib.evaluation.sequence import Follow
from lib.evaluation.writer import Ended, work
from lib.results.files import check_run_record
from lib.tracker.build import build_tracker, with_threads
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import counted
from lib.utils.files import check_writable

# A file that another machine has written may show late.
_LATE_LOOKS, _LATE_PAUSE = 3, 2.0


@dataclass
class RunSummary:
    """What became of every sequence that was asked for."""

    asked: list[str]  # all of them
    finished: list[str] = field(default_factory=list)  # tracked and saved by this run
    resumed: list[str] = field(default_factory=list)  # complete before this run
    # Tracked meanwhile by processes that this run has not started
    elsewhere: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # name to reason
    frames: int = 0  # frames tracked in this run
    seconds: float = 0.0  # wall time of tracking in this run

    @property
    def text(self) -> str:
        tracked = f"{counted(len(self.finished), 'sequence')} tracked"
        if self.frames and self.seconds:
            rate = self.frames / self.seconds
            tracked += f" ({self.frames} frames, {rate:.1f} frames/s all in)"
        others = f", {len(self.elsewhere)} by other workers" if self.elsewhere else ""
        return (
            f"{tracked}{others}, {len(self.resumed)} were complete already, "
            f"{len(self.failed)} failed"
        )


def make_follow(job: Job, processes: int = 1) -> Follow:
    """How one process tracks: one by one, or in lock-step.

    Args:
        job: among its options is the batch size.
        processes: that share this machine's cores.
    """
    if job.options.batch_size == 1:
        return OneByOne(job.dataset, job.options, processes)
    return Lockstep(job.dataset, job.options, processes)


class Evaluation:
    """A job under way, in this process or in workers that it starts.

    Args:
        devices: one entry per worker; in this process the first is used.
        in_process: track here, without worker processes.
        rank: this process among those that torchrun has started, or None.

    Raises:
        ConfigError: the tracker cannot do what is asked for.
        DataError: not one sequence can be started.
    """

    def __init__(
        self,
        job: Job,
        devices: Sequence[str],
        in_process: bool = True,
        rank: WorkerRank | None = None,
    ) -> None:
        self.job, self.devices, self.in_process, self.rank = job, devices, in_process, rank
        self.processes = rank.local_size if rank else 1 if in_process else len(devices)
        self.follow = make_follow(job, self.processes)
        self.plan = make_plan(job)
        self.summary = RunSummary(job.names, failed=dict(self.plan.failed))
        self.settled = False
        self._todo: list[str] | None = None

    def run(self, wait: bool = True) -> None:
        """Track what is left.

        Args:
            wait: for the sequences that other workers are on, to take over from those that die.

        Raises:
            PartialFailure: the disk is full.
            ResultsError: the folder holds results of another run.
            SeqTrackError: the tracker cannot be built, or the results cannot be written.
        """
        if self._todo is None:
            self._todo = self._begin()
        if not self._todo:
            self.settled = True
            return
        started = time.perf_counter()
        spec = with_threads(
            self.job.spec, self.devices[0], self.job.options.batch_size, self.processes
        )
        with self._bar() as bar:
            if self.in_process:
                outcomes = self._track_here(spec, wait, bar.update)
            else:
                names, devices = list(self._todo), self.devices
                outcomes = track_in_processes(
                    self.plan, names, spec, devices, self.follow, bar.update
                )
                self.settled = True
            with contextlib.closing(outcomes):
                for number, ended in enumerate(outcomes, 1):
                    self._note(ended)
                    place = f"[{number}/{len(self._todo)}]"
                    if self.rank:
                        place = f"[{self.rank.local_rank}] {self.job.title}"
                    bar.write(f"{place} {ended}", file=sys.stderr)
        self.summary.seconds += time.perf_counter() - started

    def finish(self) -> RunSummary:
        """Count what is in the folder, whoever tracked it."""
        summary, missing = self.summary, self._missing()
        summary.failed = {
            **{name: failure_of(self.plan, name) or missing[name] for name in missing},
            **summary.failed,
        }
        summary.finished = [name for name in summary.finished if name not in missing]
        summary.resumed = [name for name in summary.resumed if name not in missing]
        known = {*summary.finished, *summary.resumed, *summary.failed}
        summary.elsewhere = [name for name in self.plan.lengths if name not in known]
        return summary

    def _begin(self) -> list[str]:
        """The sequences that are to be tracked, in their order, after a look at the folder."""
        plan, job = self.plan, self.job
        if not job.options.overwrite:
            # Also where nothing is left to do: what is complete could be another run's.
            check_run_record(job.folder, job.record)
            self.summary.resumed = [name for name in plan.lengths if plan.is_done(name)]
        one_by_one = self.processes == job.options.batch_size == 1
        order = list(plan.lengths) if one_by_one else plan.longest_first
        todo = [name for name in order if name not in self.summary.resumed]
        if todo:
            # Before hours of tracking, not only after.
            if self.rank is None or self.rank.local_rank == 0:
                for line in failure_lines(plan.failed, "cannot be started"):
                    tqdm.write(line, file=sys.stderr)
            for folder in filter(None, (job.folder.root, job.options.debug_dir)):
                check_writable(folder)
            plan.started = folder_time(job.folder.root)
            if self.rank and job.options.overwrite:
                plan.started = self.rank.shared(f"started {job.folder.root}", plan.started)
        return todo

    def _track_here(
        self, spec: TrackerSpec, wait: bool, on_frame: Callable[[], object]
    ) -> Iterator[Ended]:
        with FolderQueue(self.plan, self._todo or (), wait) as queue:
            # A network takes seconds to load, which is not worth it for nothing.
            if queue.has_work():
                tracker = build_tracker(spec, torch.device(self.devices[0]))
                yield from work(self.plan, tracker, queue, self.follow, on_frame)
            self.settled = queue.settled

    def _note(self, ended: Ended) -> None:
        if ended.reason:
            self.summary.failed[ended.name] = ended.reason
        else:
            self.summary.finished.append(ended.name)
            self.summary.frames += ended.frames

    def _bar(self) -> tqdm:
        frames = sum(self.plan.lengths[name] for name in self._todo or ())
        # Several bars of several processes would be written over each other.
        quiet = True if self.rank else None
        return tqdm(total=frames, unit="frame", file=sys.stderr, disable=quiet)

    def _missing(self) -> dict[str, str]:
        """What is not in the folder; a network file system may show others' files late."""
        missing = self.plan.missing()
        for _ in range(_LATE_LOOKS):
            unknown = missing.keys() - self.summary.failed.keys()
            if all(failure_of(self.plan, name) for name in unknown):
                break
            time.sleep(_LATE_PAUSE)
            # Listing a folder makes a network file system ask the server again.
            list(self.job.folder.root.glob("*"))
            missing = self.plan.missing()
        return missing


def evaluate(job: Job, devices: Sequence[str], in_process: bool = True) -> RunSummary:
    """Track the sequences of a job and write their raw results; see `Evaluation`."""
    evaluation = Evaluation(job, devices, in_process)
    evaluation.run()
    return evaluation.finish()
