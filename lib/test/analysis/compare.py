"""Raw results of several trackers on one data set, read, checked and scored side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.datasets.sequence import Dataset
from lib.datasets.sequence import Sequence as Video
from lib.test.analysis.conventions import (
    Convention,
    OpeConvention,
    convention_named,
    default_convention,
)
from lib.test.analysis.frames import TrackedSequence, join
from lib.test.analysis.metrics import (
    DatasetScore,
    Score,
    average_runs,
    mean_score,
    score_sequence,
)
from lib.test.analysis.result_files import ResultFiles
from lib.test.evaluation.results import read_results
from lib.utils.errors import DataError, ResultsError, SeqTrackError

MAX_LINES = 10
SERVER_SCORED = ("got10k_test", "trackingnet")


class NothingToScoreError(DataError):
    """Only the first box of a sequence is known."""


@dataclass(frozen=True)
class Contender:
    """A tracker in the comparison: what to call it, and where its results are.

    Attributes:
        label: unique in the comparison.
        folder: of its result files, in a form that `ResultFiles` knows.
        more_runs: folders of further runs, averaged with the first.
        config: the configuration of seqtrack that made them, '' for any other tracker.
        runids: numbers of the runs, in the order of their folders; () where they have none.
    """

    label: str
    folder: Path
    more_runs: tuple[Path, ...] = ()
    config: str = ""
    runids: tuple[int, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of all runs."""
        return (self.folder, *self.more_runs)


FoundFiles = Mapping[str, Mapping[str, Sequence[Path]]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores of all trackers on the same sequences of one data set.

    Attributes:
        dataset: name of the data set.
        kind: the protocol it was scored by.
        convention: the toolkit's reading of it.
        scores: by the tracker's label.
        left_out: sequences that lack a result of some tracker, or ground truth beyond the first
            box; scored for none.
        warnings: one line per tracker whose sequences have unequal numbers of results, then one
            per result file that was scored though its length is wrong, those too short first.
    """

    dataset: str
    kind: str
    convention: str
    scores: Mapping[str, DatasetScore]
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def compare(
    dataset: Dataset,
    contenders: Sequence[Contender],
    kind: str | None = None,
    convention: str | None = None,
    skip_missing: bool = False,
) -> Comparison:
    """Score every contender on every sequence of `dataset`.

    Args:
        dataset: sequences with their ground truth.
        contenders: the trackers.
        kind: protocol; the data set's own by default.
        convention: the kind's own by default.
        skip_missing: leave out, for all, sequences that lack the result file of some contender.

    Raises:
        DataError: the ground truth is private or cannot be scored.
        ResultsError: result files are missing or refused; one line for each.
    """
    kind = kind or dataset.protocol
    if kind in SERVER_SCORED:
        raise DataError(
            f"{dataset.name}: its ground truth is not public; "
            "submit the raw results to the benchmark's evaluation server"
        )
    convention = convention or default_convention(kind)
    files = {one.label: _files_of(one, dataset) for one in contenders}
    names, left_out = _common_sequences(dataset, contenders, files, skip_missing)
    scores, warnings, unknown = _score_all(dataset, names, files, kind, convention)
    totals = {
        one.label: _combine(scores[one.label], kind, convention, one.runids) for one in contenders
    }
    warnings = (*_uneven_runs(dataset.name, files, names), *warnings)
    return Comparison(dataset.name, kind, convention, totals, left_out + unknown, warnings)


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


def read_tracked(
    video: Video, folder: Path, convention: Convention, names: Sequence[str] = ()
) -> TrackedSequence:
    """Join a sequence with the result file for it in `folder`, the first of several repetitions.

    `names` are those of all sequences: none of their files is a repetition of another's.

    Raises:
        ResultsError: the file is missing or malformed.
        DataError: the size of the frames is needed and cannot be read.
    """
    found = ResultFiles(folder, names).of(video.name)
    return read_tracked_file(video, found[0] if found else folder / f"{video.name}.txt", convention)


def read_tracked_file(video: Video, path: Path, convention: Convention) -> TrackedSequence:
    """Join a sequence with a result file; errors as `read_tracked`."""
    ope = convention if isinstance(convention, OpeConvention) else None
    boxes = read_results(path, allow_nan=ope is not None and ope.accepts_nan)
    return join(video, boxes, with_size=ope is None, results_file=str(path))


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


def _files_of(one: Contender, dataset: Dataset) -> dict[str, list[Path]]:
    """The files of every sequence, one for each run; none where one is missing."""
    runs = [ResultFiles(folder, dataset.sequence_names) for folder in one.folders]
    found = {}
    for name in dataset.sequence_names:
        of_runs = [files.of(name) for files in runs]
        found[name] = [path for paths in of_runs for path in paths] if all(of_runs) else []
    return found


def _common_sequences(
    dataset: Dataset, contenders: Sequence[Contender], files: FoundFiles, skip_missing: bool
) -> tuple[list[str], tuple[str, ...]]:
    """Sequences with a result file of every contender, and the others."""
    lacking = {
        name for one in contenders for name in dataset.sequence_names if not files[one.label][name]
    }
    if lacking and not skip_missing:
        raise ResultsError(
            list_findings(
                f"{dataset.name}: {{}} result files are missing",
                [line for one in contenders for line in _missing_files(one, dataset)],
                "track them, or leave them out for all trackers with --skip-missing",
            )
        )
    names = [name for name in dataset.sequence_names if name not in lacking]
    if not names:
        raise ResultsError(f"{dataset.name}: no sequence has results of every tracker")
    return names, tuple(name for name in dataset.sequence_names if name in lacking)


def _missing_files(one: Contender, dataset: Dataset) -> list[str]:
    """A line for every file that a contender lacks."""
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
) -> tuple[dict[str, dict[str, list[Score]]], tuple[str, ...], tuple[str, ...]]:
    """Scores of the runs by label and sequence, warnings, and sequences with one known box only.

    All that is wrong is reported at once.
    """
    chosen = convention_named(convention)
    scores: dict[str, dict[str, list[Score]]] = {label: {} for label in files}
    warnings: list[tuple[bool, str]] = []
    problems: dict[str, None] = {}
    unknown: dict[str, str] = {}
    for name in names:
        try:
            video = load_scorable(dataset, name)
        except NothingToScoreError as error:
            unknown[name] = str(error)
            continue
        except SeqTrackError as error:
            problems[str(error)] = None
            continue
        for label, path in [(one, path) for one in files for path in files[one][name]]:
            try:
                tracked = read_tracked_file(video, path, chosen)
                score = score_sequence(tracked, kind, convention)
            except SeqTrackError as error:
                problems[str(error)] = None
            else:
                scores[label].setdefault(name, []).append(score)
                warnings += _length_warning(tracked, chosen)
    if len(unknown) == len(names):
        problems = dict.fromkeys(unknown.values())
    if problems:
        title = f"{dataset.name}: {{}} files cannot be scored"
        raise ResultsError(list_findings(title, list(problems)))
    # A cut surplus changes no score: lists that are cut must not end before what does.
    first_short = sorted(warnings, key=lambda one: one[0])
    return scores, tuple(text for _, text in first_short), tuple(unknown)


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
    """A line for every contender that tracked some sequences less often than others."""
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


def _length_warning(tracked: TrackedSequence, convention: Convention) -> list[tuple[bool, str]]:
    """Whether a result file is too long, and a line about it, if its length is wrong."""
    found, rows = len(tracked.predicted), len(tracked.ground_truth)
    if found == rows or not isinstance(convention, OpeConvention):
        return []
    fate = "the surplus is cut off" if found > rows else convention.short_results
    return [(found > rows, f"{tracked.source}: {found} rows for {rows} frames; {fate}")]
