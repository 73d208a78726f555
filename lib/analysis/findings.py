"""Everything that is said about one comparison, worked out once for all tables and files."""

from collections.abc import Mapping
from dataclasses import dataclass

from lib.analysis.attributes import Attributes, score_attributes
from lib.analysis.certainty import (
    Contribution,
    contributions,
    metric_names,
    paired_test,
    score_interval,
)
from lib.analysis.compare import Comparison
from lib.analysis.metrics import Score
from lib.analysis.statistics import Interval, PairedTest


@dataclass(frozen=True)
class Difference:
    """The first tracker against another one: whether they differ, and in which sequences."""

    test: PairedTest
    sequences: tuple[Contribution, ...]


@dataclass(frozen=True, eq=False)
class Findings:
    """What a comparison says.

    Attributes:
        comparison: the scores.
        metrics: names of the headline scores; the first is what rankings go by.
        intervals: by tracker and metric, percent.
        differences: the first tracker less each other one in the first metric, by the other's
            label.
        attributes: those of the sequences, where they were asked for.
        by_attribute: by tracker, the score on the sequences of each attribute.
        published: numbers by tracker in percent, to put beside ours; None if not asked for.
    """

    comparison: Comparison
    metrics: tuple[str, ...]
    intervals: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Difference]
    attributes: Attributes | None
    by_attribute: Mapping[str, Mapping[str, Score]]
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
