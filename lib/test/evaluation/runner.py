"""A data set in, raw result files out: resume, progress, failures, workers.

Finished sequences are on disk at once and whole, so an interrupted run loses only the
sequences it was on, and the next one goes on with those.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from lib.datasets.sequence import Dataset
from lib.test.evaluation.following import OneByOne, RunOptions
from lib.test.evaluation.lockstep import SPARE, Lockstep
from lib.test.evaluation.plan import make_plan
from lib.test.evaluation.results import ResultsFolder, RunRecord, claim_folder
from lib.test.evaluation.running import Outcome
from lib.test.evaluation.sources import Follow, ListSource
from lib.test.evaluation.workers import track_in_processes
from lib.test.tracker.build import build_tracker, with_threads
from lib.test.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError, counted
from lib.utils.files import check_writable


@dataclass
class RunSummary:
    """What became of every sequence that was asked for.

    Attributes:
        asked: all of them.
        finished: tracked and saved in this run.
        resumed: complete before this run.
        failed: name to reason.
        frames: frames tracked in this run.
        seconds: wall time of tracking in this run.
    """

    asked: list[str]
    finished: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """One line for the end of a run."""
        tracked = f"{counted(len(self.finished), 'sequence')} tracked"
        if self.frames and self.seconds:
            rate = self.frames / self.seconds
            tracked += f" ({self.frames} frames, {rate:.1f} frames/s all in)"
        return f"{tracked}, {len(self.resumed)} were complete already, {len(self.failed)} failed"

    @property
    def done(self) -> set[str]:
        """Sequences whose end is known, good or bad."""
        return {*self.finished, *self.resumed, *self.failed}

    def note_missing(self, missing: dict[str, str]) -> None:
        """Count what is not in the folder as failed, whatever was said of it before."""
        self.failed = {**missing, **self.failed}
        self.finished = [name for name in self.finished if name not in missing]
        self.resumed = [name for name in self.resumed if name not in missing]


def make_follow(
    dataset: Dataset, spec: TrackerSpec, options: RunOptions, processes: int = 1
) -> Follow:
    """How one process tracks: one by one, or in lock-step.

    Args:
        dataset: where the sequences come from.
        spec: the tracker.
        options: among them the batch size.
        processes: that share this machine's cores.

    Raises:
        ConfigError: lock-step is asked for, and the tracker follows one target at a time.
    """
    if options.batch_size == 1:
        return OneByOne(dataset, options, processes)
    if spec.tracker != "seqtrack":
        raise ConfigError(
            f"--batch-size {options.batch_size}: {spec.tracker} follows one target at a time; "
            "leave --batch-size out, or use --threads"
        )
    return Lockstep(dataset, options, processes)


def evaluate(
    dataset: Dataset,
    names: list[str],
    spec: TrackerSpec,
    folder: ResultsFolder,
    record: RunRecord,
    options: RunOptions,
    devices: list[str],
    in_process: bool = True,
) -> RunSummary:
    """Track the named sequences and write their raw results.

    Args:
        dataset: where the sequences come from.
        names: which of them.
        spec: builds the tracker, once per process.
        folder: where the results go; complete ones in it are not tracked again.
        record: what makes these results; the folder is claimed for it with the first of them.
        options: limits and formats.
        devices: one entry per worker; with `in_process` the first is used.
        in_process: track here, without worker processes.

    Raises:
        DataError: not one sequence can be started.
        ResultsError: another run has claimed the folder meanwhile.
        SeqTrackError: the tracker cannot be built, or the results cannot be written.
    """
    workers = 1 if in_process else len(devices)
    follow = make_follow(dataset, spec, options, workers)
    plan = make_plan(dataset, names, folder, options)
    summary = RunSummary(names, failed=dict(plan.failed))
    if not options.overwrite:
        summary.resumed = [name for name in plan.lengths if plan.is_done(name)]
    order = list(plan.lengths) if workers == options.batch_size == 1 else plan.longest_first
    todo = [name for name in order if name not in summary.done]
    if todo:
        for place in filter(None, (folder.root, options.debug_dir)):
            check_writable(place)
        spec = with_threads(spec, devices[0], options.batch_size, workers, _say)
        frames = sum(plan.lengths[name] for name in todo)
        bar = tqdm(total=frames, unit="frame", file=sys.stderr, disable=None)
        with bar:
            if in_process:
                outcomes = _track_here(todo, spec, devices[0], follow, bar.update)
            else:
                room = options.batch_size + (SPARE if options.batch_size > 1 else 0)
                outcomes = track_in_processes(todo, spec, devices, follow, bar.update, room)
            _collect(outcomes, folder, record, options, summary, bar)
    summary.note_missing(plan.missing())
    return summary


def _collect(
    outcomes: Iterator[Outcome],
    folder: ResultsFolder,
    record: RunRecord,
    options: RunOptions,
    summary: RunSummary,
    bar: tqdm,
) -> None:
    """Save every outcome as it comes, and say so; the folder is claimed with the first result."""
    started = time.perf_counter()
    claimed = False
    before, total = len(summary.done), len(summary.asked)
    for outcome in outcomes:
        if outcome.result is not None and not claimed:
            claim_folder(folder, record, options.overwrite)
            claimed = True
        _keep(outcome, folder, options, summary)
        place = f"[{len(summary.done) - before}/{total - before}]"
        _tell(bar, place, outcome, summary)
    summary.seconds = time.perf_counter() - started


def _track_here(
    names: list[str],
    spec: TrackerSpec,
    device: str,
    follow: Follow,
    on_frame: Callable[[], object],
) -> Iterator[Outcome]:
    tracker = build_tracker(spec, torch.device(device))
    yield from follow(tracker, ListSource(names), on_frame)


def _keep(
    outcome: Outcome,
    folder: ResultsFolder,
    options: RunOptions,
    summary: RunSummary,
) -> None:
    if outcome.result is None:
        summary.failed[outcome.name] = outcome.reason
        return
    try:
        folder.write(outcome.name, outcome.result, as_float=options.as_float)
    except OSError as error:
        summary.failed[outcome.name] = f"its results cannot be written: {error}"
        return
    summary.finished.append(outcome.name)
    summary.frames += len(outcome.result.boxes)


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _tell(bar: tqdm, place: str, outcome: Outcome, summary: RunSummary) -> None:
    if outcome.name in summary.failed:
        text = f"FAILED: {summary.failed[outcome.name]}"
    else:
        frames = len(outcome.result.boxes)
        text = f"{frames} frames, {frames / outcome.result.times.sum():.1f} frames/s"
    bar.write(f"{place} {outcome.name}: {text}", file=sys.stderr)
