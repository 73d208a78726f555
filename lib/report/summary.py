"""The figures of the page: scores with intervals, differences, curves, attributes, sequences."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lib.analysis.attributes import MEANINGS, Attributes, score_attributes
from lib.analysis.certainty import metric_names, paired_test, run_spread, score_interval
from lib.analysis.compare import Comparison
from lib.analysis.metrics import (
    CENTER_THRESHOLDS,
    GOT10K_THRESHOLDS,
    NORMALISED_THRESHOLDS,
    OVERLAP_THRESHOLDS,
    DatasetScore,
    OpeScore,
    OverlapScore,
)

_DECIMALS = 3
Tree = dict[str, Any]


def dataset_tree(comparison: Comparison, attributes: Attributes | None = None) -> Tree:
    """All figures of one data set but those of single frames, in percent, as JSON knows them.

    Args:
        comparison: the scores.
        attributes: of the sequences, where they are known.
    """
    scores = list(comparison.scores.values())
    metrics = metric_names(scores[0])
    rows = [[one.percentages() for one in score.sequences.values()] for score in scores]
    return {
        "name": comparison.dataset,
        "protocol": comparison.kind,
        "convention": comparison.convention,
        "leftOut": list(comparison.left_out),
        "warnings": list(comparison.warnings),
        "notes": [list(comparison.notes(label)) for label in comparison.scores],
        "trackers": list(comparison.scores),
        "metrics": metrics,
        "runs": [max(1, len(score.runs)) for score in scores],
        "totals": [[_total(score, metric) for metric in metrics] for score in scores],
        "differences": _differences(scores, metrics[0]),
        "curves": _curves(scores),
        "attributes": _attributes(scores, attributes, metrics[0]) if attributes else [],
        "sequences": [
            {
                "name": name,
                "scores": [[_number(found[i][key]) for key in metrics] for found in rows],
            }
            for i, name in enumerate(scores[0].sequences)
        ],
    }


def _total(score: DatasetScore, metric: str) -> Tree:
    """A headline score, its interval over sequences, and its spread over runs."""
    interval = score_interval(score, metric)
    return {
        "value": _number(score.total.percentages()[metric]),
        "low": _number(interval.low),
        "high": _number(interval.high),
        "spread": _number(run_spread(score, metric)[1]),
    }


def _differences(scores: Sequence[DatasetScore], metric: str) -> list[Tree]:
    """The paired test of every two trackers, by their places."""
    found = []
    for (i, first), (j, second) in combinations(enumerate(scores), 2):
        test = paired_test(first, second, metric)
        found.append(
            {
                "first": i,
                "second": j,
                "value": _number(test.difference),
                "low": _number(test.interval.low),
                "high": _number(test.interval.high),
                "p": _number(test.p_value, 5),
                "sequences": test.sequences,
            }
        )
    return found


def _curves(scores: Sequence[DatasetScore]) -> list[Tree]:
    """The plots of the protocol, each tracker a line; values in percent."""
    totals = [score.total for score in scores]
    ope = [total for total in totals if isinstance(total, OpeScore)]
    if ope:
        return [
            _curve(
                "success",
                "Success",
                "Overlap above",
                OVERLAP_THRESHOLDS,
                [one.success for one in ope],
                "AUC",
                [one.auc for one in ope],
            ),
            _curve(
                "precision",
                "Precision",
                "Centre error up to, in pixels",
                CENTER_THRESHOLDS,
                [one.precision for one in ope],
                "at 20 pixels",
                [one.precision20 for one in ope],
                mark=20,
            ),
            _curve(
                "norm_precision",
                "Normalised precision",
                "Centre error up to, in sizes of the target",
                NORMALISED_THRESHOLDS,
                [one.norm_precision for one in ope],
                "at 0.2",
                [one.norm_precision20 for one in ope],
                mark=0.2,
            ),
        ]
    pooled = [total for total in totals if isinstance(total, OverlapScore)]
    lines = [one.success for one in pooled]
    headline = [one.ao for one in pooled]
    return [_curve("success", "Success", "Overlap above", GOT10K_THRESHOLDS, lines, "AO", headline)]


def _curve(
    key: str,
    title: str,
    label: str,
    thresholds: np.ndarray,
    lines: Sequence[np.ndarray],
    headline_name: str,
    headline: Sequence[float],
    mark: float | None = None,
) -> Tree:
    return {
        "id": key,
        "title": title,
        "xLabel": label,
        "yLabel": "Frames, in percent",
        "x": [_number(value) for value in thresholds],
        "lines": [[_number(100 * value) for value in line] for line in lines],
        "headlineName": headline_name,
        "headline": [_number(100 * value) for value in headline],
        "mark": mark,
    }


def _attributes(scores: Sequence[DatasetScore], attributes: Attributes, metric: str) -> list[Tree]:
    """The score on the sequences of each attribute that any of them has."""
    found = [score_attributes(score, attributes) for score in scores]
    return [
        {
            "name": name,
            "meaning": MEANINGS.get(name, ""),
            "sequences": sum(one in scores[0].sequences for one in attributes.sequences(name)),
            "scores": [_number(one[name].percentages()[metric]) for one in found],
        }
        for name in found[0]
    ]


def _number(value: float, decimals: int = _DECIMALS) -> float | None:
    return round(float(value), decimals) if math.isfinite(value) else None
