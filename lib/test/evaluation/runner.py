"""A data set in, raw result files out: resume, progress, failures, workers.

Finished sequences are on disk at once and whole, so an interrupted run loses only the
sequences it was on, and the next one goes on with those.
"""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from lib.datasets.sequence import Dataset
from lib.test.evaluation.results import ResultsFolder, RunRecord, claim_folder
from lib.test.evaluation.running import (
    frame_writer,
    frames_to_run,
    has_pictures,
    run_sequence,
)
from lib.test.evaluation.workers import Outcome, track_in_processes
from lib.test.tracker.base import Tracker
from lib.test.tracker.build import build_tracker
from lib.test.tracker.spec import TrackerSpec
from lib.utils.errors import DataError, SeqTrackError, counted
from lib.utils.files import check_writable

logger = logging.getLogger(__name__)

# Where all sequences fail, the first few reasons tell why.
REASONS_SHOWN = 5


@dataclass(frozen=True)
class RunOptions:
    """How a data set is run.

    Attributes:
        max_frames: frames per sequence, or None for all.
        as_float: keep decimals in the raw results.
        debug_dir: where frames with drawn boxes go, or None.
        overwrite: track again what is complete already.
    """

    max_frames: int | None = None
    as_float: bool = False
    debug_dir: Path | None = None
    overwrite: bool = False


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


@dataclass(frozen=True)
class TrackOne:
    """Tracks one sequence of a data set by name; picklable, so workers can have it.

    Every failure becomes an outcome with its reason: one bad sequence must not stop the rest.
    """

    dataset: Dataset
    options: RunOptions

    def __call__(self, tracker: Tracker, name: str, on_frame: Callable[[], object]) -> Outcome:
        """Track sequence `name`, calling `on_frame` after each frame."""
        try:
            sequence = self.dataset.load(name)
            debug = self.options.debug_dir
            write_frame = None if debug is None else frame_writer(sequence, debug)

            def after_frame(index: int, image, box: list[float]) -> None:
                if write_frame is not None:
                    write_frame(index, image, box)
                on_frame()

            result = run_sequence(tracker, sequence, self.options.max_frames, after_frame)
        except (SeqTrackError, OSError) as error:
            return Outcome(name, reason=str(error))
        except Exception as error:
            logger.error("sequence %s failed unexpectedly:\n%s", name, traceback.format_exc())
            return Outcome(name, reason=f"{type(error).__name__}: {error}")
        return Outcome(name, result=result)


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
    summary = RunSummary(names)
    lengths = _plan(dataset, names, folder, options, summary)
    if len(summary.failed) == len(names):
        raise DataError(f"no sequence can be started{_listed(summary.failed)}")
    if lengths:
        for place in filter(None, (folder.root, options.debug_dir)):
            check_writable(place)
        track = TrackOne(dataset, options)
        bar = tqdm(total=sum(lengths.values()), unit="frame", file=sys.stderr, disable=None)
        todo = list(lengths)
        with bar:
            if in_process:
                outcomes = _track_here(todo, spec, devices[0], track, bar.update)
            else:
                outcomes = track_in_processes(todo, spec, devices, track, bar.update)
            _collect(outcomes, folder, record, options, summary, bar)
    for name in names:
        if name not in summary.done:
            summary.failed[name] = "nobody said what became of it"
    return summary


def _listed(failed: dict[str, str]) -> str:
    reasons = [f"{name}: {reason}" for name, reason in failed.items()]
    if len(reasons) == 1:
        return f": {reasons[0]}"
    more = len(reasons) - REASONS_SHOWN
    shown = reasons[:REASONS_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return "\n  " + "\n  ".join(shown)


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


def _plan(
    dataset: Dataset,
    names: list[str],
    folder: ResultsFolder,
    options: RunOptions,
    summary: RunSummary,
) -> dict[str, int]:
    """Frames to track per sequence that is neither complete nor broken."""
    lengths = {}
    clashes = folder.clashes(dataset.sequence_names)
    for name in names:
        if name in clashes:
            summary.failed[name] = (
                f"its result file would also be that of the times or confidences of sequence "
                f"{clashes[name]!r}; rename one of them"
            )
            continue
        try:
            frames = frames_to_run(dataset.load(name), options.max_frames)
        except SeqTrackError as error:
            summary.failed[name] = str(error)
            continue
        drawn = options.debug_dir is None or has_pictures(options.debug_dir, name, frames)
        if drawn and not options.overwrite and folder.is_complete(name, frames):
            summary.resumed.append(name)
        else:
            lengths[name] = frames
    return lengths


def _track_here(
    names: list[str],
    spec: TrackerSpec,
    device: str,
    track: TrackOne,
    on_frame: Callable[[], object],
) -> Iterator[Outcome]:
    tracker = build_tracker(spec, torch.device(device))
    for name in names:
        yield track(tracker, name, on_frame)


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


def _tell(bar: tqdm, place: str, outcome: Outcome, summary: RunSummary) -> None:
    if outcome.name in summary.failed:
        text = f"FAILED: {summary.failed[outcome.name]}"
    else:
        frames = len(outcome.result.boxes)
        text = f"{frames} frames, {frames / outcome.result.times.sum():.1f} frames/s"
    bar.write(f"{place} {outcome.name}: {text}", file=sys.stderr)
