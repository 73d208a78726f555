"""The figures of the page: scores with intervals, differences, curves, attributes, sequences."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from lib.analysis.attributes import MEANINGS
from lib.analysis.findings import Findings, paired_test, run_spread
from lib.analysis.metrics import DatasetScore

_DECIMALS = 3
Tree = dict[str, Any]


def dataset_tree(findings: Findings) -> Tree:
    """All figures of one data set but those of single frames, in percent, as JSON knows them."""
    comparison, metrics = findings.comparison, list(findings.metrics)
    scores = list(comparison.scores.values())
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
        "totals": [
            [_total(findings, name, metric) for metric in metrics] for name in comparison.scores
        ],
        "differences": _differences(findings),
        "curves": _curves(scores),
        "attributes": _attributes(findings) if findings.attributes else [],
        "sequences": [
            {
                "name": name,
                "scores": [[_number(found[i][key]) for key in metrics] for found in rows],
            }
            for i, name in enumerate(scores[0].sequences)
        ],
    }


def _total(findings: Findings, label: str, metric: str) -> Tree:
    """A headline score, its interval over sequences, and its spread over runs."""
    score, interval = findings.comparison.scores[label], findings.intervals[label][metric]
    return {
        "value": _number(score.total.percentages()[metric]),
        "low": _number(interval.low),
        "high": _number(interval.high),
        "spread": _number(run_spread(score, metric)[1]),
    }


def _differences(findings: Findings) -> list[Tree]:
    """The paired test of every two trackers, by their places."""
    scores = findings.comparison.scores
    found = []
    for (i, first), (j, second) in combinations(enumerate(scores), 2):
        if first == findings.first:
            test = findings.differences[second].test
        else:
            test = paired_test(scores[first], scores[second], findings.metrics[0])
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
    return [
        {
            "id": each[0].name,
            "title": each[0].title,
            "xLabel": each[0].axis,
            "yLabel": "Frames, in percent",
            "x": [_number(value) for value in each[0].thresholds],
            "lines": [[_number(100 * value) for value in plot.line] for plot in each],
            "headlineName": each[0].headline_name,
            "headline": [_number(100 * plot.headline) for plot in each],
            "mark": each[0].mark,
        }
        for each in zip(*(score.total.plots() for score in scores), strict=True)
    ]


def _attributes(findings: Findings) -> list[Tree]:
    """The score on the sequences of each attribute that any of them has."""
    rows, known = list(findings.by_attribute.values()), findings.attributes
    names = next(iter(findings.comparison.scores.values())).sequences
    return [
        {
            "name": name,
            "meaning": MEANINGS.get(name, ""),
            "sequences": sum(one in names for one in known.sequences(name)) if known else 0,
            "scores": [_number(row[name].percentages()[findings.metrics[0]]) for row in rows],
        }
        for name in rows[0]
    ]


def _number(value: float, decimals: int = _DECIMALS) -> float | None:
    return round(float(value), decimals) if math.isfinite(value) else None
