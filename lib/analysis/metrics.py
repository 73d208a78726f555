"""Scores of tracking results: each benchmark's protocol, in the conventions of the toolkits.

    score = score_dataset(tracked_sequences, kind="lasot")
    score.total.percentages()  # AUC, OP50, OP75, Precision, NormPrecision

A *kind* selects the benchmark's rules, a *convention* the toolkit whose reading of them is used.
Curves and scores are fractions of frames; only `percentages` multiplies. A data set's score is
the mean over its sequences, but for GOT-10k, which pools the frames of all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from lib.analysis.conventions import (
    OpeConvention,
    check_kind,
    convention_named,
    default_convention,
)
from lib.analysis.frames import FrameErrors, TrackedSequence
from lib.analysis.longterm import (
    CERTAINTY_METRICS,
    CertainFrames,
    CertaintyMetric,
    certain_frames,
)
from lib.utils.errors import DataError

# Groups of four steps, each from its own start: the rounding of the arange in the established
# code (0.7500000000000001, but 0.8), which decides where an overlap ties with a threshold.
_STEP = np.arange(21)
OVERLAP_THRESHOLDS = (_STEP // 4 * 4) * 0.05 + (_STEP % 4) * 0.05
CENTER_THRESHOLDS = np.arange(51.0)
NORMALISED_THRESHOLDS = np.arange(51.0) / 100
GOT10K_THRESHOLDS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class OpeMetric:
    """A curve of one-pass evaluation, and the headline scores that are read off it."""

    title: str  # of its plot
    axis: str  # of its plot, what the thresholds are
    values: Callable[[FrameErrors], np.ndarray]  # (N,) values of the frames, from their errors
    # Whether values `(N, 1)` pass thresholds `(T,)`
    passes: Callable[[np.ndarray, np.ndarray], np.ndarray]
    thresholds: np.ndarray  # (T,)
    # Name of a score to the place of its threshold; None is the mean of the curve
    headlines: Mapping[str, int | None]
    in_plot: str  # what the first of them is called beside the plot

    def curve(self, errors: FrameErrors) -> np.ndarray:
        """Share (T,) of the frames that pass each threshold."""
        passed = self.passes(self.values(errors)[:, None], self.thresholds)
        return passed.sum(axis=0) / errors.counted

    def scores(self, curve: np.ndarray) -> dict[str, float]:
        """The headline scores of a curve (T,), as fractions."""
        return {
            name: float(curve.mean() if place is None else curve[place])
            for name, place in self.headlines.items()
        }


# A new metric is a row here: tables, files, statistics and the page take all that there are. The
# first headline score is what rankings go by. Those of a tracker that says how sure it is are rows
# of `lib.analysis.longterm`.
OPE_METRICS: Mapping[str, OpeMetric] = {
    "success": OpeMetric(
        "Success",
        "Overlap above",
        lambda errors: errors.overlap,
        np.greater,
        OVERLAP_THRESHOLDS,
        # A perfect tracker has an AUC of 20/21, since an overlap of 1 is not above 1.
        {"AUC": None, "OP50": 10, "OP75": 15},
        "AUC",
    ),
    "precision": OpeMetric(
        "Precision",
        "Centre error up to, in pixels",
        lambda errors: errors.center,
        np.less_equal,
        CENTER_THRESHOLDS,
        {"Precision": 20},
        "at 20 pixels",
    ),
    "norm_precision": OpeMetric(
        "Normalised precision",
        "Centre error up to, in sizes of the target",
        lambda errors: errors.normalised,
        np.less_equal,
        NORMALISED_THRESHOLDS,
        {"NormPrecision": 20},
        "at 0.2",
    ),
}


class Plot(NamedTuple):
    """A curve of a score as it is drawn: `line` over `thresholds` (T,), fractions.

    Beside it stands the score `headline`, which is read off at the threshold `mark`, or None.
    """

    name: str
    title: str
    axis: str
    thresholds: np.ndarray
    line: np.ndarray
    headline_name: str
    headline: float
    mark: float | None = None


@dataclass(frozen=True, eq=False)
class OpeScore:
    """Curves (T,) of one sequence by the name of their metric, or their mean over a data set.

    Attributes:
        lines: the curves.
        certain: what a calibrated tracker said, of each sequence; empty without.
    """

    lines: Mapping[str, np.ndarray]
    certain: tuple[CertainFrames, ...] = ()

    @property
    def success(self) -> np.ndarray:
        """(21,) share of overlaps above 0, 0.05 … 1."""
        return self.lines["success"]

    @property
    def precision(self) -> np.ndarray:
        """(51,) share of centre errors up to 0, 1 … 50 pixels."""
        return self.lines["precision"]

    @property
    def norm_precision(self) -> np.ndarray:
        """(51,) share of normalised errors up to 0, 0.01 … 0.5."""
        return self.lines["norm_precision"]

    @property
    def auc(self) -> float:
        """Mean of the success curve."""
        return self.fractions()["AUC"]

    def fractions(self) -> dict[str, float]:
        rows = OPE_METRICS.items()
        found = {k: v for name, row in rows for k, v in row.scores(self.lines[name]).items()}
        for more in self._certainty_metrics().values():
            found |= more.scores(self.certain)
        return found

    def _certainty_metrics(self) -> Mapping[str, CertaintyMetric]:
        return CERTAINTY_METRICS if self.certain else {}

    def percentages(self) -> dict[str, float]:
        return {name: 100 * value for name, value in self.fractions().items()}

    def curves(self) -> dict[str, np.ndarray]:
        """The curve of which each headline score is a point or the mean."""
        rows = OPE_METRICS.items()
        found = {headline: self.lines[name] for name, row in rows for headline in row.headlines}
        for more in self._certainty_metrics().values():
            found |= dict.fromkeys(more.scores(self.certain), more.curve(self.certain))
        return found

    def plots(self) -> list[Plot]:
        found = []
        for name, row in OPE_METRICS.items():
            headline, place = next(iter(row.headlines.items()))
            line, value = self.lines[name], self.fractions()[headline]
            mark = None if place is None else float(row.thresholds[place])
            words = row.title, row.axis
            found.append(Plot(name, *words, row.thresholds, line, row.in_plot, value, mark))
        for name, more in self._certainty_metrics().items():
            headline, value = next(iter(more.scores(self.certain).items()))
            line = more.curve(self.certain)
            found.append(Plot(name, more.title, more.axis, more.thresholds, line, headline, value))
        return found


@dataclass(frozen=True, eq=False)
class OverlapScore:
    """GOT-10k's scores over the counted frames of one sequence, or of all; fractions."""

    success: np.ndarray  # (101,) share of overlaps above 0, 0.01 … 1
    ao: float  # average overlap
    sr50: float  # share of overlaps above 0.5
    sr75: float  # share of overlaps above 0.75
    frames: int  # number of counted frames; with none, the scores are NaN

    def percentages(self) -> dict[str, float]:
        return {"AO": 100 * self.ao, "SR50": 100 * self.sr50, "SR75": 100 * self.sr75}

    def curves(self) -> dict[str, np.ndarray]:
        """The curve of which each headline score is a point or the mean."""
        return dict.fromkeys(("AO", "SR50", "SR75"), self.success)

    def plots(self) -> list[Plot]:
        words = "success", "Success", "Overlap above"
        return [Plot(*words, GOT10K_THRESHOLDS, self.success, "AO", self.ao)]


Score = OpeScore | OverlapScore


@dataclass(frozen=True, eq=False)
class DatasetScore:
    """The score of one tracker on one data set."""

    kind: str  # the protocol
    convention: str  # the toolkit's reading of it
    total: Score  # of the whole data set
    sequences: Mapping[str, Score]  # by name; of several runs, their average
    # The total of each run by its number, where there are several
    runs: Mapping[int, Score] = field(default_factory=dict)


def score_sequence(tracked: TrackedSequence, kind: str, convention: str | None = None) -> Score:
    """Score one sequence; `tracked` is left as it is.

    Args:
        tracked: ground truth and predictions.
        kind: one of KINDS; the rules of the data set.
        convention: a key of OPE_CONVENTIONS or GOT10K_CONVENTIONS; None is the kind's own.

    Raises:
        ResultsError: the protocol refuses the predictions.
        DataError: it refuses the ground truth or misses flags; or `kind` is unknown.
        SeqTrackError: unknown convention.
    """
    check_kind(kind)
    chosen = convention_named(convention or default_convention(kind))
    if isinstance(chosen, OpeConvention):
        score, certain = _ope_score(chosen.errors(tracked, kind)), certain_frames(tracked)
        return score if certain is None else replace(score, certain=(certain,))
    return _overlap_score(chosen.overlaps(tracked))


def mean_score(scores: Sequence[Score], convention: str) -> Score:
    """One score for a whole data set from those of its sequences, as `convention` combines them.

    Raises:
        DataError: no sequence.
    """
    if not scores:
        raise DataError("no sequence to score")
    ope = [score for score in scores if isinstance(score, OpeScore)]
    if not ope:
        return _pooled([score for score in scores if isinstance(score, OverlapScore)])
    return _mean_ope(ope, drops_lost(convention))


def average_runs(scores: Sequence[Score]) -> Score:
    """One score for a sequence that was tracked several times.

    Curves are averaged, as PyTracking does with runs; GOT-10k pools the frames of repetitions.

    Raises:
        DataError: no score.
    """
    if not scores:
        raise DataError("no run to average")
    if len(scores) == 1:
        return scores[0]
    ope = [score for score in scores if isinstance(score, OpeScore)]
    if ope:
        return _mean_ope(ope, drop_lost=False)
    return _pooled([score for score in scores if isinstance(score, OverlapScore)])


def drops_lost(convention: str) -> bool:
    """Whether `convention` leaves curves that are zero throughout out of a data set's mean."""
    chosen = convention_named(convention)
    return isinstance(chosen, OpeConvention) and chosen.drops_lost_sequences


def is_lost(curve: np.ndarray) -> bool:
    """Whether a curve of a sequence is zero throughout, as LaSOT's toolkit tells it."""
    return bool(curve.sum() <= np.finfo(float).eps)


def score_dataset(
    tracked: Sequence[TrackedSequence], kind: str, convention: str | None = None
) -> DatasetScore:
    """Score every sequence and combine them; arguments and errors as in `score_sequence`."""
    convention = convention or default_convention(kind)
    scores = {one.name: score_sequence(one, kind, convention) for one in tracked}
    return DatasetScore(kind, convention, mean_score(list(scores.values()), convention), scores)


def _ope_score(errors: FrameErrors) -> OpeScore:
    return OpeScore({name: row.curve(errors) for name, row in OPE_METRICS.items()})


def _overlap_score(overlap: np.ndarray) -> OverlapScore:
    if not len(overlap):
        nan = float("nan")
        return OverlapScore(np.full(len(GOT10K_THRESHOLDS), nan), nan, nan, nan, 0)
    return OverlapScore(
        success=(overlap[:, None] > GOT10K_THRESHOLDS).mean(axis=0),
        ao=float(overlap.mean()),
        sr50=float((overlap > 0.5).mean()),
        sr75=float((overlap > 0.75).mean()),
        frames=len(overlap),
    )


def _mean_ope(scores: Sequence[OpeScore], drop_lost: bool) -> OpeScore:
    names = scores[0].lines
    return OpeScore(
        {n: _mean_curve([one.lines[n] for one in scores], drop_lost) for n in names},
        tuple(row for one in scores for row in one.certain),
    )


def _pooled(scores: Sequence[OverlapScore]) -> OverlapScore:
    """All frames of all sequences as one: the mean weighted by the number of frames."""
    some = [score for score in scores if score.frames]
    if not some:
        return scores[0]
    frames = [score.frames for score in some]
    return OverlapScore(
        success=np.average([score.success for score in some], axis=0, weights=frames),
        ao=float(np.average([score.ao for score in some], weights=frames)),
        sr50=float(np.average([score.sr50 for score in some], weights=frames)),
        sr75=float(np.average([score.sr75 for score in some], weights=frames)),
        frames=sum(frames),
    )


def _mean_curve(curves: Sequence[np.ndarray], drop_lost: bool) -> np.ndarray:
    """Mean curve; `drop_lost` leaves out curves that are zero throughout (LaSOT's toolkit)."""
    kept = [curve for curve in curves if not (drop_lost and is_lost(curve))]
    return np.mean(kept or curves, axis=0)
