"""What a comparison shows: intervals, whether trackers differ, and in which sequences.

It is worked out once for all tables and files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib.analysis.attributes import Attributes, score_attributes
from lib.analysis.compare import Comparison
from lib.analysis.metrics import (
    DatasetScore,
    OverlapScore,
    Score,
    drops_lost,
    is_lost,
)
from lib.analysis.statistics import (
    Interval,
    PairedTest,
    bootstrap_pooled,
    paired_bootstrap,
)


@dataclass(frozen=True)
class Contribution:
    """How much one sequence adds to the gap between two trackers."""

    sequence: str  # its name
    first: float  # score of the first tracker on it, percent; NaN where nothing is scored
    second: float  # of the second
    share: float  # points of the gap that are due to it; they add up to the gap


def metric_names(score: DatasetScore) -> list[str]:
    """The headline scores of its protocol; the first is what rankings go by."""
    return list(score.total.percentages())


def score_interval(score: DatasetScore, metric: str) -> Interval:
    """Confidence interval of a headline score in percent: other sequences of the same kind."""
    values, weights = sequence_values(score, metric)
    return bootstrap_pooled(values * weights, weights)


def paired_test(first: DatasetScore, second: DatasetScore, metric: str) -> PairedTest:
    """Whether two trackers differ in a headline score, percent; on the same sequences."""
    a, weights_a = sequence_values(first, metric)
    b, weights_b = sequence_values(second, metric)
    return paired_bootstrap(a, b, counts_a=weights_a, counts_b=weights_b)


def contributions(first: DatasetScore, second: DatasetScore, metric: str) -> list[Contribution]:
    """What every sequence adds to the gap first - second, the largest amounts in front."""
    a, weights_a = sequence_values(first, metric)
    b, weights_b = sequence_values(second, metric)
    shares = a * weights_a / weights_a.sum() - b * weights_b / weights_b.sum()
    rows = [
        Contribution(
            name, first.sequences[name].percentages()[metric], other.percentages()[metric], share
        )
        for (name, other), share in zip(second.sequences.items(), shares.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: -abs(row.share))


def run_spread(score: DatasetScore, metric: str) -> tuple[list[float], float]:
    """The score of each run in percent, and their sample standard deviation (of n - 1)."""
    values = [run.percentages()[metric] for run in score.runs.values()]
    return values, float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def sequence_values(score: DatasetScore, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores (S,) of the sequences in percent, and how much each weighs (S,) in the total.

    The total is their weighted mean: every sequence weighs 1, in GOT-10k as many as its counted
    frames; 0 where the convention leaves it out, and its score is then 0, never NaN.
    """
    rows = list(score.sequences.values())
    values = np.array([row.percentages()[metric] for row in rows])
    weights = _weights(rows, metric, score.convention)
    weights[~np.isfinite(values)] = 0
    return np.where(weights > 0, values, 0.0), weights


def _weights(rows: Sequence[Score], metric: str, convention: str) -> np.ndarray:
    weights = np.array([row.frames if isinstance(row, OverlapScore) else 1.0 for row in rows])
    if drops_lost(convention):
        lost = np.array([is_lost(row.curves()[metric]) for row in rows])
        # Where all are lost, the toolkit's mean is that of all.
        weights[lost] = 1.0 if lost.all() else 0.0
    return weights


@dataclass(frozen=True)
class Difference:
    """The first tracker against another one: whether they differ, and in which sequences."""

    test: PairedTest
    sequences: tuple[Contribution, ...]


@dataclass(frozen=True, eq=False)
class Findings:
    """What a comparison says."""

    comparison: Comparison  # the scores
    metrics: tuple[str, ...]  # names of the headline scores; the first is what rankings go by
    intervals: Mapping[str, Mapping[str, Interval]]  # by tracker and metric, percent
    # The first tracker less each other one in the first metric, by the other's label
    differences: Mapping[str, Difference]
    attributes: Attributes | None  # those of the sequences, where they were asked for
    # By tracker, the score on the sequences of each attribute
    by_attribute: Mapping[str, Mapping[str, Score]]
    # Numbers by tracker in percent, to put beside ours; None if not asked for
    published: Mapping[str, float] | None

    @property
    def first(self) -> str:
        return next(iter(self.comparison.scores))


def work_out(
    comparison: Comparison,
    attributes: Attributes | None = None,
    published: Mapping[str, float] | None = None,
) -> Findings:
    """Intervals, tests and the rest for a comparison; some seconds for a large one."""
    scores = comparison.scores
    first, *others = scores
    metrics = tuple(metric_names(scores[first]))
    intervals = {
        label: {metric: score_interval(score, metric) for metric in metrics}
        for label, score in scores.items()
    }
    differences = {
        other: Difference(
            paired_test(scores[first], scores[other], metrics[0]),
            tuple(contributions(scores[first], scores[other], metrics[0])),
        )
        for other in others
    }
    by_attribute = (
        {label: score_attributes(score, attributes) for label, score in scores.items()}
        if attributes is not None
        else {}
    )
    return Findings(
        comparison, metrics, intervals, differences, attributes, by_attribute, published
    )
