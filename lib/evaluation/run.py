"""A data set in, raw result files out: resume, progress, failures, workers.

Finished sequences are on disk at once and whole, so an interrupted run loses only the
sequences it was on, and the next one goes on with those.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from lib.datasets.sequence import Dataset
from lib.evaluation.lockstep import SPARE, Lockstep
from lib.evaluation.one_by_one import OneByOne, RunOptions
from lib.evaluation.plan import Plan, failure_lines, make_plan
from lib.evaluation.processes import track_in_processes
from lib.evaluation.sequence import Outcome
from lib.evaluation.sources import Follow, ListSource
from lib.evaluation.writer import ResultWriter, ending
from lib.results.files import (
    ResultsFolder,
    RunRecord,
    check_run_record,
)
from lib.tracker.build import build_tracker, with_threads
from lib.tracker.spec import TrackerSpec
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
        spec: builds the tracker.
        folder: where the results go; complete ones in it are not tracked again.
        record: what makes these results, and has made those in the folder.
        options: limits and formats.
        devices: one entry per worker; with `in_process` the first is used.
        in_process: track here, without worker processes.

    Raises:
        DataError: not one sequence can be started.
        PartialFailure: the disk is full.
        ResultsError: the folder holds results of another run.
        SeqTrackError: the tracker cannot be built, or the results cannot be written.
    """
    workers = 1 if in_process else len(devices)
    follow = make_follow(dataset, spec, options, workers)
    plan = make_plan(dataset, names, folder, options)
    summary = RunSummary(names, failed=dict(plan.failed))
    if not options.overwrite:
        summary.resumed = _complete(plan, record)
    order = list(plan.lengths) if workers == options.batch_size == 1 else plan.longest_first
    todo = [name for name in order if name not in summary.done]
    if todo:
        _say_unstartable(plan.failed)
        _check_folders(plan)
        spec = with_threads(spec, devices[0], options.batch_size, workers)
        bar = _bar(sum(plan.lengths[name] for name in todo))
        if in_process:
            outcomes = _track_here(todo, spec, devices[0], follow, bar.update)
        else:
            room = options.batch_size + SPARE * (options.batch_size > 1)
            outcomes = track_in_processes(todo, spec, devices, follow, bar.update, room)
        with bar, contextlib.closing(outcomes):
            _collect(outcomes, ResultWriter(plan, record, options.overwrite), summary, bar)
    summary.note_missing(plan.missing())
    return summary


def _collect(
    outcomes: Iterator[Outcome], writer: ResultWriter, summary: RunSummary, bar: tqdm
) -> None:
    """Save every outcome as it comes, and say so."""
    started = time.perf_counter()
    before, total = len(summary.done), len(summary.asked)
    for outcome in outcomes:
        reason = writer.write(outcome)
        if outcome.result is None or reason:
            summary.failed[outcome.name] = reason
        else:
            summary.finished.append(outcome.name)
            summary.frames += len(outcome.result.boxes)
        place = f"[{len(summary.done) - before}/{total - before}]"
        bar.write(f"{place} {outcome.name}: {ending(outcome, reason)}", file=sys.stderr)
    summary.seconds = time.perf_counter() - started


def _track_here(
    names: list[str],
    spec: TrackerSpec,
    device: str,
    follow: Follow,
    on_frame: Callable[[], object],
) -> Generator[Outcome, None, None]:
    tracker = build_tracker(spec, torch.device(device))
    yield from follow(tracker, ListSource(names), on_frame)


def _complete(plan: Plan, record: RunRecord) -> list[str]:
    """The sequences that are complete already, all of them by the same run."""
    check_run_record(plan.folder, record)
    return [name for name in plan.lengths if plan.is_done(name)]


def _check_folders(plan: Plan) -> None:
    for place in filter(None, (plan.folder.root, plan.options.debug_dir)):
        check_writable(place)


def _say_unstartable(failed: Mapping[str, str]) -> None:
    """Name them before hours of tracking, not only after."""
    for line in failure_lines(failed, "cannot be started"):
        _say(line)


def _bar(frames: int) -> tqdm:
    return tqdm(total=frames, unit="frame", file=sys.stderr, disable=None)


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
