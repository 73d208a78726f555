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
from lib.test.analysis.metrics import DatasetScore, Score, mean_score, score_sequence
from lib.test.evaluation.results import ResultsFolder, read_results
from lib.utils.errors import DataError, ResultsError, SeqTrackError

MAX_LINES = 10
SERVER_SCORED = ("got10k_test", "trackingnet")


class NothingToScoreError(DataError):
    """Only the first box of a sequence is known."""


@dataclass(frozen=True)
class Contender:
    """A tracker in the comparison: what to call it, and the folder of its results."""

    label: str
    folder: Path


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
        warnings: one line per result file that was scored though its length is wrong.
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
    names, left_out = _common_sequences(dataset, contenders, skip_missing)
    scores, warnings, unknown = _score_all(dataset, names, contenders, kind, convention)
    totals = {
        label: DatasetScore(kind, convention, mean_score([*rows.values()], convention), rows)
        for label, rows in scores.items()
    }
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


def read_tracked(video: Video, folder: Path, convention: Convention) -> TrackedSequence:
    """Join a sequence with the result file for it in `folder`.

    Raises:
        ResultsError: the file is missing or malformed.
        DataError: the size of the frames is needed and cannot be read.
    """
    path = ResultsFolder(folder).boxes_file(video.name)
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


def _common_sequences(
    dataset: Dataset, contenders: Sequence[Contender], skip_missing: bool
) -> tuple[list[str], tuple[str, ...]]:
    """Sequences with a result file of every contender, and the others."""
    missing = [
        (name, one)
        for one in contenders
        for name in dataset.sequence_names
        if not ResultsFolder(one.folder).boxes_file(name).is_file()
    ]
    if missing and not skip_missing:
        findings = [
            f"{ResultsFolder(one.folder).boxes_file(name)}: "
            f"missing, the results of {one.label} on sequence {name}"
            for name, one in missing
        ]
        raise ResultsError(
            list_findings(
                f"{dataset.name}: {{}} result files are missing",
                findings,
                "track them, or leave them out for all trackers with --skip-missing",
            )
        )
    lacking = {name for name, _ in missing}
    names = [name for name in dataset.sequence_names if name not in lacking]
    if not names:
        raise ResultsError(f"{dataset.name}: no sequence has results of every tracker")
    return names, tuple(name for name in dataset.sequence_names if name in lacking)


def _score_all(
    dataset: Dataset,
    names: Sequence[str],
    contenders: Sequence[Contender],
    kind: str,
    convention: str,
) -> tuple[dict[str, dict[str, Score]], tuple[str, ...], tuple[str, ...]]:
    """Scores by label and sequence, warnings, and sequences of which only the first box is known.

    All that is wrong is reported at once.
    """
    chosen = convention_named(convention)
    scores: dict[str, dict[str, Score]] = {one.label: {} for one in contenders}
    warnings: list[str] = []
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
        for one in contenders:
            try:
                tracked = read_tracked(video, one.folder, chosen)
                scores[one.label][name] = score_sequence(tracked, kind, convention)
                warnings += _length_warning(tracked, chosen)
            except SeqTrackError as error:
                problems[str(error)] = None
    if len(unknown) == len(names):
        problems = dict.fromkeys(unknown.values())
    if problems:
        title = f"{dataset.name}: {{}} files cannot be scored"
        raise ResultsError(list_findings(title, list(problems)))
    return scores, tuple(warnings), tuple(unknown)


def _length_warning(tracked: TrackedSequence, convention: Convention) -> list[str]:
    found, rows = len(tracked.predicted), len(tracked.ground_truth)
    if found == rows or not isinstance(convention, OpeConvention):
        return []
    fate = "the surplus is cut off" if found > rows else convention.short_results
    return [f"{tracked.source}: {found} rows for {rows} frames; {fate}"]
