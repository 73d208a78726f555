"""Raw results of several trackers on one data set, read, checked and scored side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lib.analysis.conventions import (
    Convention,
    OpeConvention,
    convention_named,
    default_convention,
)
from lib.analysis.frames import TrackedSequence, join
from lib.analysis.metrics import (
    DatasetScore,
    OpeScore,
    OverlapScore,
    Score,
    average_runs,
    mean_score,
    score_sequence,
)
from lib.datasets.benchmarks.rows import CATALOG
from lib.datasets.sequence import Dataset, Video
from lib.datasets.text.box_reading import likely_reading_against
from lib.results.files import read_column, read_results
from lib.results.find import ResultFiles
from lib.results.record import run_cautions
from lib.utils.boxes import iou_xywh
from lib.utils.errors import DataError, ResultsError, SeqTrackError, counted, some

# Pixels that rounding and an origin of 1 may take a coordinate off by.
_NEAR = 2.0
# A first row that overlaps less is not a tracker's own idea of the given box.
_SAME_TARGET = 0.5


@dataclass(frozen=True, eq=False)
class OddFirstRow:
    """A first row that is not the box that the tracker was given."""

    sequence: str  # its name
    found: np.ndarray  # (4,) the row
    given: np.ndarray  # (4,) x, y, w, h of the ground truth, in pixels


def odd_first_row(tracked: TrackedSequence) -> OddFirstRow | None:
    """The first row of the results if it is not the given box; None if it is, or nobody knows."""
    found = np.array(tracked.predicted[0], dtype=np.float64)
    given = np.array(tracked.ground_truth[0], dtype=np.float64)
    if not (np.isfinite(found).all() and np.isfinite(given).all() and (given[2:] > 0).all()):
        return None
    near = np.abs(found - given).max() <= _NEAR
    if near or iou_xywh(found[None], given[None])[0] >= _SAME_TARGET:
        return None
    return OddFirstRow(tracked.name, found, given)


def first_rows_caution(odd: Sequence[OddFirstRow], sequences: int) -> str:
    """One line about the odd first rows of a tracker on so many `sequences`."""
    reading = likely_reading_against(
        np.array([one.found for one in odd]), np.array([one.given for one in odd])
    )
    first, count = odd[0], len({one.sequence for one in odd})
    return (
        f"in {count} of {sequences} sequences the first row is not the given box, as in "
        f"{first.sequence}: {_row(first.found)}, not {_row(first.given)}; "
        + (f"{reading}; or are they of other data?" if reading else "are they of other data?")
    )


def _row(box: np.ndarray) -> str:
    return f"({', '.join(f'{value:g}' for value in box.tolist())})"


MAX_LINES = 10


class NothingToScoreError(DataError):
    """Only the first box of a sequence is known."""


@dataclass(frozen=True)
class TrackerResults:
    """A tracker in the comparison: what to call it, and where its results are."""

    label: str  # unique in the comparison
    folder: Path  # of its result files, in a form that `ResultFiles` knows
    more_runs: tuple[Path, ...] = ()  # folders of further runs, averaged with the first
    config: str = ""  # the configuration of seqtrack that made them, '' for any other tracker
    # Numbers of the runs, in the order of their folders; () where they have none
    runids: tuple[int, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.folder, *self.more_runs)


FoundFiles = Mapping[str, Mapping[str, Sequence[Path]]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores of all trackers on the same sequences of one data set."""

    dataset: str  # name of the data set
    kind: str  # the protocol it was scored by
    convention: str  # the toolkit's reading of it
    scores: Mapping[str, DatasetScore]  # by the tracker's label
    # Sequences that lack a result of some tracker, or ground truth beyond the first box; scored for
    # none
    left_out: tuple[str, ...] = ()
    # One line for every caution, one per tracker whose sequences have unequal numbers of results,
    # then one per result file that was scored though its length is wrong, those too short first
    warnings: tuple[str, ...] = ()
    # By label, what a score must not be quoted without: cut videos, untrained weights, runs that
    # were not made alike, boxes that look like another form
    cautions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # By label, sequences with fewer results than frames
    short: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def notes(self, label: str) -> tuple[str, ...]:
        """What stands below the scores of a tracker, wherever they are shown."""
        short = self.short.get(label, ())
        if not short:
            return self.cautions.get(label, ())
        names = some(short, MAX_LINES)
        fewer = f"{counted(len(short), 'sequence')} with fewer results than frames: {names}"
        return (*self.cautions.get(label, ()), fewer)


@dataclass
class _Found:
    """What scoring the files of a comparison gives."""

    scores: dict[str, dict[str, list[Score]]]  # of the runs, by label and sequence
    # For every file of a wrong length, whether it is too long, and a line about it
    lengths: list[tuple[bool, str]] = field(default_factory=list)
    # By label, sequences with fewer results than frames
    short: dict[str, list[str]] = field(default_factory=dict)
    # By label, first rows that are not the given box
    odd_rows: dict[str, list[OddFirstRow]] = field(default_factory=dict)
    # Lines about what cannot be scored, each once
    problems: dict[str, None] = field(default_factory=dict)
    # Sequences of which only the first box is known, with a line about each
    unknown: dict[str, str] = field(default_factory=dict)

    def note_rows(self, label: str, tracked: TrackedSequence, chosen: Convention) -> None:
        """Remember a number of rows that is not that of the frames."""
        found, rows = len(tracked.predicted), len(tracked.ground_truth)
        if found == rows or not isinstance(chosen, OpeConvention):
            return
        short = self.short.setdefault(label, [])
        # Of several runs, more than one may be.
        if found < rows and tracked.name not in short:
            short.append(tracked.name)
        fate = "the surplus is cut off" if found > rows else chosen.short_results
        line = f"{tracked.source}: {found} rows for {rows} frames; {fate}"
        self.lengths.append((found > rows, line))

    def length_lines(self) -> list[str]:
        """A line for every file of a wrong length, those too short first.

        A cut surplus changes no score: a list that is cut must not end before what does.
        """
        return [line for _, line in sorted(self.lengths, key=lambda one: one[0])]


def compare(
    dataset: Dataset,
    trackers: Sequence[TrackerResults],
    kind: str | None = None,
    convention: str | None = None,
    skip_missing: bool = False,
    mixed_runs: bool = False,
) -> Comparison:
    """Score every tracker on every sequence of `dataset`.

    Args:
        dataset: sequences with their ground truth.
        kind: protocol; the data set's own by default.
        convention: the kind's own by default.
        skip_missing: leave out, for all, sequences that lack the result file of some tracker.
        mixed_runs: average runs that were not made alike.

    Raises:
        DataError: the ground truth is private or cannot be scored.
        ResultsError: result files are missing or refused, one line for each; or the runs of a
            tracker were not made alike.
    """
    kind = kind or dataset.protocol
    if kind in {row.protocol for row in CATALOG if row.server}:
        raise DataError(
            f"{dataset.name}: its ground truth is not public; "
            "submit the raw results to the benchmark's evaluation server"
        )
    convention = convention or default_convention(kind)
    cautions = {one.label: run_cautions(one.folders, mixed_runs) for one in trackers}
    files = {one.label: _files_of(one, dataset) for one in trackers}
    names, left_out = _common_sequences(dataset, trackers, files, skip_missing)
    found = _score_all(dataset, names, files, kind, convention)
    found.scores = comparable(found.scores)
    for label, rows in found.odd_rows.items():
        cautions[label] += (first_rows_caution(rows, len(found.scores[label])),)
    warnings = (
        *(f"{dataset.name}: {label}: {text}" for label in cautions for text in cautions[label]),
        *_uneven_runs(dataset.name, files, names),
        *found.length_lines(),
    )
    totals = {
        one.label: _combine(found.scores[one.label], kind, convention, one.runids)
        for one in trackers
    }
    left_out += tuple(found.unknown)
    return Comparison(
        dataset.name, kind, convention, totals, left_out, warnings, cautions, found.short
    )


def load_scorable(dataset: Dataset, name: str) -> Video:
    """Sequence `name` with the ground truth of all its frames.

    Raises:
        NothingToScoreError: only its first box is known.
        DataError: it cannot be read.
    """
    video = dataset.load(name)
    if len(video.ground_truth) == 1 < len(video):
        raise NothingToScoreError(
            f"{video.annotation}: one box for {len(video)} frames; "
            "without ground truth there is nothing to score"
        )
    return video


def read_tracked(video: Video, files: ResultFiles, convention: Convention) -> TrackedSequence:
    """Join a sequence with its result file among `files`, the first of several repetitions.

    Raises:
        ResultsError: the file is missing or malformed.
        DataError: the size of the frames is needed and cannot be read.
    """
    found = files.of(video.name)
    path = found[0] if found else files.folder / f"{video.name}.txt"
    return read_tracked_file(video, path, convention)


def read_tracked_file(video: Video, path: Path, convention: Convention) -> TrackedSequence:
    """Join a sequence with a result file; errors as `read_tracked`."""
    ope = convention if isinstance(convention, OpeConvention) else None
    boxes = read_results(path, allow_nan=ope is not None and ope.accepts_nan)
    tracked = join(video, boxes, with_size=ope is None, results_file=str(path))
    certainty = path.with_name(f"{path.stem}_certainty.txt")
    if not certainty.is_file():
        return tracked
    return replace(tracked, certainty=read_column(certainty, len(boxes)))


def list_findings(title: str, findings: Sequence[str], hint: str = "") -> str:
    """A message with one line per finding, at most MAX_LINES of them; a single one stands alone.

    Example:
        >>> print(list_findings("otb: {} wrong", ["a.txt:1: no box", "b.txt: empty"]))
        otb: 2 wrong
          a.txt:1: no box
          b.txt: empty
    """
    if len(findings) == 1:
        return findings[0] + (f"; {hint}" if hint else "")
    lines = [title.format(len(findings)), *findings[:MAX_LINES]]
    if len(findings) > MAX_LINES:
        lines.append(f"... and {len(findings) - MAX_LINES} more")
    return "\n  ".join(lines) + (f"\n{hint}" if hint else "")


def _files_of(one: TrackerResults, dataset: Dataset) -> dict[str, list[Path]]:
    """The files of every sequence, one for each run; none where one is missing."""
    runs = [ResultFiles(folder, dataset.sequence_names) for folder in one.folders]
    found = {}
    for name in dataset.sequence_names:
        of_runs = [files.of(name) for files in runs]
        found[name] = [path for paths in of_runs for path in paths] if all(of_runs) else []
    return found


def _common_sequences(
    dataset: Dataset, trackers: Sequence[TrackerResults], files: FoundFiles, skip_missing: bool
) -> tuple[list[str], tuple[str, ...]]:
    """Sequences with a result file of every tracker, and the others."""
    lacking = {
        name for one in trackers for name in dataset.sequence_names if not files[one.label][name]
    }
    if lacking and not skip_missing:
        raise ResultsError(
            list_findings(
                f"{dataset.name}: {{}} result files are missing",
                [line for one in trackers for line in _missing_files(one, dataset)],
                "track them, or leave them out for all trackers with --skip-missing",
            )
        )
    names = [name for name in dataset.sequence_names if name not in lacking]
    if not names:
        seen = [
            f"{folder}: {ResultFiles(folder).seen()}"
            for one in trackers
            for folder in one.folders
            if not any(files[one.label].values())
        ]
        raise ResultsError(
            "; ".join([f"{dataset.name}: no sequence has results of every tracker", *seen])
        )
    return names, tuple(name for name in dataset.sequence_names if name in lacking)


def _missing_files(one: TrackerResults, dataset: Dataset) -> list[str]:
    """A line for every file that a tracker lacks."""
    lines = []
    for folder in one.folders:
        files = ResultFiles(folder, dataset.sequence_names)
        lines += [
            f"{folder / name}.txt: missing, the results of {one.label} on sequence "
            f"{name}{files.hint(name)}"
            for name in dataset.sequence_names
            if not files.of(name)
        ]
    return lines


def _score_all(
    dataset: Dataset, names: Sequence[str], files: FoundFiles, kind: str, convention: str
) -> _Found:
    """Scores of all runs on all sequences, and what was noticed."""
    chosen = convention_named(convention)
    found = _Found({label: {} for label in files})
    for name in names:
        try:
            video = load_scorable(dataset, name)
        except NothingToScoreError as error:
            found.unknown[name] = str(error)
            continue
        except SeqTrackError as error:
            found.problems[str(error)] = None
            continue
        for label, path in [(one, path) for one in files for path in files[one][name]]:
            try:
                tracked = read_tracked_file(video, path, chosen)
                score = score_sequence(tracked, kind, convention)
            except SeqTrackError as error:
                found.problems[str(error)] = None
                continue
            found.scores[label].setdefault(name, []).append(score)
            found.note_rows(label, tracked, chosen)
            if odd := odd_first_row(tracked):
                found.odd_rows.setdefault(label, []).append(odd)
    if len(found.unknown) == len(names):
        found.problems = dict.fromkeys(found.unknown.values())
    if found.problems:
        title = f"{dataset.name}: {{}} files cannot be scored"
        raise ResultsError(list_findings(title, list(found.problems)))
    return found


def comparable(
    scores: Mapping[str, Mapping[str, Sequence[Score]]],
) -> dict[str, dict[str, list[Score]]]:
    """The scores, without what is known of certainty unless it is of every result of everybody."""
    known = all(
        isinstance(score, OpeScore) and score.certain
        for rows in scores.values()
        for runs in rows.values()
        for score in runs
    )

    def kept(score: Score) -> Score:
        return score if known or isinstance(score, OverlapScore) else replace(score, certain=())

    return {
        label: {name: [kept(score) for score in runs] for name, runs in rows.items()}
        for label, rows in scores.items()
    }


def _combine(
    rows: Mapping[str, Sequence[Score]], kind: str, convention: str, runids: Sequence[int]
) -> DatasetScore:
    """The score of a data set from those of all runs on its sequences."""
    averages = {name: average_runs(scores) for name, scores in rows.items()}
    total = mean_score([*averages.values()], convention)
    count = max(map(len, rows.values()))
    # Toolkits stop repeating a sequence once it repeats itself: its last result is that of the
    # further runs as well.
    runs = [
        mean_score([scores[min(run, len(scores) - 1)] for scores in rows.values()], convention)
        for run in range(count)
    ]
    # Repetitions in a folder have no numbers of their own.
    numbers = runids if len(runids) == count else range(1, count + 1)
    named = dict(zip(numbers, runs, strict=True)) if count > 1 else {}
    return DatasetScore(kind, convention, total, averages, named)


def _uneven_runs(dataset: str, files: FoundFiles, names: Sequence[str]) -> list[str]:
    """A line for every tracker that tracked some sequences less often than others."""
    lines = []
    for label, found in files.items():
        most = max(len(found[name]) for name in names)
        fewer = [name for name in names if len(found[name]) < most]
        if fewer:
            lines.append(
                f"{dataset}: {label} has {most} results of some sequences and fewer of "
                f"{len(fewer)} others, the first is {fewer[0]} with {len(found[fewer[0]])}; "
                "the last one stands for the runs without one"
            )
    return lines
