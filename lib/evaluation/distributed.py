"""The worker that torchrun starts: takes (configuration, sequence) from the shared queue.

The order is configuration after configuration, so that a worker loads each network about once,
and in each the longest sequence first. No worker waits between two configurations; at the end
all stay until the last sequence is settled, to take over from those that die.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import distributed as dist

from lib.datasets.sequence import Dataset
from lib.evaluation.plan import Plan
from lib.evaluation.queue import Hearts, Place, SharedQueue, connect
from lib.evaluation.run import make_follow
from lib.evaluation.sequence import Outcome
from lib.evaluation.sources import Source
from lib.evaluation.writer import ResultWriter, ending
from lib.results.files import RunRecord, check_run_record, claim_folder
from lib.tracker.base import Tracker
from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.distributed import lost_connections
from lib.utils.errors import PartialFailure, counted
from lib.utils.files import check_writable

_PAUSE = 0.5
# A file that another machine has written may show late; see `_missing`.
_LATE_LOOKS, _LATE_PAUSE = 3, 2.0


@dataclass(frozen=True, eq=False)
class Run:
    """One configuration on a data set.

    Attributes:
        dataset: where the sequences come from.
        spec: builds the tracker.
        record: what makes these results.
        plan: which sequences, and where the results go.
    """

    dataset: Dataset
    spec: TrackerSpec
    record: RunRecord
    plan: Plan

    @property
    def title(self) -> str:
        """Words for it in messages."""
        return f"{self.spec.tracker}/{self.spec.config_name}"


@dataclass
class SharedSummary:
    """What became of all sequences of all runs, whoever tracked them.

    Attributes:
        expected: how many there are.
        failed: the title of the run and the name of the sequence, and why.
        tracked: by this worker.
        reports: whether this worker is the one that says it all.
    """

    expected: int
    failed: dict[str, str] = field(default_factory=dict)
    tracked: int = 0
    reports: bool = False

    @property
    def text(self) -> str:
        """One line for the end."""
        there = self.expected - len(self.failed)
        return f"{there} of {counted(self.expected, 'result')} are there, {len(self.failed)} failed"


class _After:
    """A source that gives one name first, and never waits for others' sequences."""

    def __init__(self, first: str, queue: SharedQueue) -> None:
        self._first: str | None = first
        self._queue = queue

    def take(self, wait: bool) -> str | None:
        """The first name, then what the queue has."""
        name, self._first = self._first, None
        return self._queue.take(wait=False) if name is None else name


class _Worker:
    """This process's part of the work."""

    def __init__(
        self, runs: Sequence[Run], place: Place, device: str, say: Callable[[str], object]
    ) -> None:
        self.runs, self.place, self.device, self.say = runs, place, device, say
        self.everyone = connect(place)
        self.store = dist.PrefixStore(f"attempt {place.attempt}", self.everyone)
        self.hearts = Hearts(dist.PrefixStore("hearts", self.store))
        self.summary = SharedSummary(sum(len(r.plan.lengths) + len(r.plan.failed) for r in runs))
        self.built: tuple[Run, Tracker] | None = None
        # Two runs can have the same title, and by mistake the same folder.
        self.writers = {run: ResultWriter(run.plan, run.record) for run in runs}
        self.checked: set[Run] = set()

    def work(self) -> SharedSummary:
        """Take and track until all is settled, then count."""
        again = dist.PrefixStore(f"attempt {self.place.attempt}/hearts", connect(self.place))
        with self.hearts.beating(again):
            self._clear()
            queues = [self._queue(number, run) for number, run in enumerate(self.runs)]
            while True:
                for run, queue in zip(self.runs, queues, strict=True):
                    self._drain(run, queue)
                if any(queue.lost for queue in queues):
                    raise PartialFailure(
                        "the queue of this run is gone, and with it the machine or the torchrun "
                        "that held it; what is finished is saved: start the same again"
                    )
                if all(queue.settled for queue in queues):
                    break
                time.sleep(_PAUSE)
            self._count(queues)
        self.summary.tracked = sum(len(writer.written) for writer in self.writers.values())
        return self.summary

    def _clear(self) -> None:
        """Remove, once per run and not again after a restart, what `--overwrite` is to replace."""
        runs = {str(n): run for n, run in enumerate(self.runs) if run.plan.options.overwrite}
        if not runs:
            return
        marks = dist.PrefixStore("cleared", self.everyone)
        queue = SharedQueue(
            dist.PrefixStore("clearing", self.store),
            list(runs),
            lambda number: marks.check([number]),
            self.hearts,
        )
        while (number := queue.take(wait=True)) is not None:
            run = runs[number]
            claim_folder(run.plan.folder, run.record, overwrite=True)
            for name in run.plan.lengths:
                run.plan.folder.boxes_file(name).unlink(missing_ok=True)
            marks.set(number, "yes")
            queue.settle(number)

    def _queue(self, number: int, run: Run) -> SharedQueue:
        store = dist.PrefixStore(f"run {number}", self.store)
        return SharedQueue(store, run.plan.longest_first, run.plan.is_done, self.hearts)

    def _drain(self, run: Run, queue: SharedQueue) -> None:
        """Track what a run's queue has to give just now."""
        if run not in self.checked:
            # Also where nothing is left to do: what is complete could be another run's.
            check_run_record(run.plan.folder, run.record)
            self.checked.add(run)
        first = queue.take(wait=False)
        if first is None:
            return
        tracker = self._tracker(run)
        for outcome in self._follow(run, tracker, _After(first, queue)):
            reason = self.writers[run].write(outcome)
            queue.settle(outcome.name, reason)
            name = f"[{self.place.local_rank}] {run.title} {outcome.name}"
            self.say(f"{name}: {ending(outcome, reason)}")

    def _follow(self, run: Run, tracker: Tracker, source: Source) -> Iterator[Outcome]:
        follow = make_follow(run.dataset, run.spec, run.plan.options, self.place.local_size)
        return follow(tracker, source, lambda: None)

    def _tracker(self, run: Run) -> Tracker:
        """The run's tracker; the last one that was needed is kept."""
        if self.built is None or self.built[0] is not run:
            self.built = None
            self.built = (run, build_tracker(run.spec, torch.device(self.device)))
        return self.built[1]

    def _count(self, queues: Sequence[SharedQueue]) -> None:
        """Compare what is there with what is expected: exit codes of workers prove nothing."""
        for run, queue in zip(self.runs, queues, strict=True):
            reasons = {**run.plan.failed, **_missing(run.plan), **queue.reasons()}
            for name, reason in reasons.items():
                self.summary.failed[f"{run.title} {name}"] = reason
        self.summary.reports = self.store.add("reports", 1) == 1


def _missing(plan: Plan) -> dict[str, str]:
    """What is not in the folder; a network file system may show another machine's files late."""
    missing = plan.missing()
    for _ in range(_LATE_LOOKS):
        if not missing:
            break
        time.sleep(_LATE_PAUSE)
        # Listing a folder makes a network file system ask the server again.
        list(plan.folder.root.glob("*"))
        missing = plan.missing()
    return missing


def evaluate_shared(
    runs: Sequence[Run], place: Place, device: str, say: Callable[[str], object]
) -> SharedSummary:
    """Do this worker's part of all runs.

    Args:
        runs: the same in all workers.
        place: which worker this is.
        device: where it computes.
        say: told about every sequence that this worker has ended.

    Raises:
        PartialFailure: the store of the run is gone, or the disk is full.
        ResultsError: a folder holds results of another run.
        SeqTrackError: a tracker cannot be built, or the workers were given different work.
    """
    for run in runs:
        for folder in filter(None, (run.plan.folder.root, run.plan.options.debug_dir)):
            check_writable(folder)
    with lost_connections():
        return _Worker(runs, place, device, say).work()
