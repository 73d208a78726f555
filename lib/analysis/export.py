"""All numbers of a comparison for other programs: CSV and JSON, percent, six decimals."""

import csv
import io
import json
import math
from collections.abc import Mapping
from typing import Any

from lib.analysis.compare import Comparison
from lib.analysis.findings import Difference, Findings, metric_names
from lib.analysis.statistics import Interval
from lib.analysis.tables import as_latex, as_markdown
from lib.analysis.text import tables

ALL_SEQUENCES = "(all)"
_DECIMALS = 6


def documents(findings: Findings) -> dict[str, str]:
    """The text of a file in every format, by its ending."""
    shown = list(tables(findings))
    return {
        ".csv": to_csv(findings.comparison),
        ".json": to_json(findings),
        ".md": "\n".join(map(as_markdown, shown)),
        ".tex": "\n".join(map(as_latex, shown)),
    }


def to_csv(comparison: Comparison) -> str:
    """One line per tracker and sequence; the sequence `(all)` is the data set's score.

    The column `notes` says there what the score must not be quoted without, and of a sequence
    whether it has fewer results than frames.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    metrics = metric_names(next(iter(comparison.scores.values())))
    writer.writerow(["dataset", "tracker", "sequence", *metrics, "notes"])
    for label, score in comparison.scores.items():
        notes = dict.fromkeys(comparison.short.get(label, ()), "fewer results than frames")
        notes[ALL_SEQUENCES] = "; ".join(comparison.notes(label))
        for name, one in {ALL_SEQUENCES: score.total, **score.sequences}.items():
            values = [_stored(value) for value in one.percentages().values()]
            writer.writerow([comparison.dataset, label, name, *values, notes.get(name, "")])
    return stream.getvalue()


def to_json(findings: Findings) -> str:
    """`{dataset: {tracker: {"AUC": percent, …, "sequences": {name: {…}}}}}`; no score is null.

    docs/scores.md names all keys.
    """
    return json.dumps(as_tree(findings), indent=2, allow_nan=False) + "\n"


def as_tree(findings: Findings) -> dict[str, Any]:
    """What `to_json` writes."""
    labels = findings.comparison.scores
    return {findings.comparison.dataset: {label: _tracker(findings, label) for label in labels}}


def _tracker(findings: Findings, label: str) -> dict[str, Any]:
    comparison = findings.comparison
    score = comparison.scores[label]
    tree: dict[str, Any] = {
        **_stored_all(score.total.percentages()),
        "protocol": comparison.kind,
        "convention": comparison.convention,
        "left_out": list(comparison.left_out),
        "cautions": list(comparison.cautions.get(label, ())),
        "short": list(comparison.short.get(label, ())),
        "intervals": {metric: _ends(one) for metric, one in findings.intervals[label].items()},
    }
    if score.runs:
        tree["runs"] = [
            {"run": number, **_stored_all(run.percentages())} for number, run in score.runs.items()
        ]
    if label == findings.first and findings.differences:
        tree["differences"] = {
            other: {"metric": findings.metrics[0], **_difference(one)}
            for other, one in findings.differences.items()
        }
    if findings.attributes is not None:
        tree["attributes"] = {
            name: _stored_all(one.percentages())
            for name, one in findings.by_attribute[label].items()
        }
    if findings.published is not None:
        tree["published"] = findings.published.get(label)
    tree["sequences"] = {
        name: _stored_all(one.percentages()) for name, one in score.sequences.items()
    }
    return tree


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "difference": _stored(found.test.difference),
        "interval": _ends(found.test.interval),
        "p_value": _stored(found.test.p_value),
        "sequences": {one.sequence: _stored(one.share) for one in found.sequences},
    }


def _ends(interval: Interval) -> list[float | None]:
    return [_stored(interval.low), _stored(interval.high)]


def _stored(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _DECIMALS)


def _stored_all(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: _stored(value) for key, value in values.items()}
