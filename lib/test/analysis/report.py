"""Scores as an aligned table, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping

from lib.test.analysis.compare import Comparison
from lib.test.analysis.metrics import DatasetScore

ALL_SEQUENCES = "(all)"
_DECIMALS = 2
_STORED_DECIMALS = 6


def format_table(comparison: Comparison) -> str:
    """The headline scores in percent, one line per tracker, the best value of a column marked."""
    rows = {label: score.total.percentages() for label, score in comparison.scores.items()}
    keys = list(next(iter(rows.values())))
    best = {key: _best([row[key] for row in rows.values()]) for key in keys}
    cells = [["tracker", *(f"{key} " for key in keys)]]
    for label, row in rows.items():
        marks = ["*" if best[key] == _shown(row[key]) else " " for key in keys]
        cells.append([label, *(_shown(row[key]) + m for key, m in zip(keys, marks, strict=True))])
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in cells
    ]
    return "\n".join([_title(comparison), *lines])


def to_csv(comparison: Comparison) -> str:
    """One line per tracker and sequence, percent; the sequence `(all)` is the data set's score."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    first = next(iter(comparison.scores.values()))
    keys = list(first.total.percentages())
    writer.writerow(["dataset", "tracker", "sequence", *keys])
    for label, score in comparison.scores.items():
        for name, one in {ALL_SEQUENCES: score.total, **score.sequences}.items():
            values = [_stored(value) for value in one.percentages().values()]
            writer.writerow([comparison.dataset, label, name, *values])
    return stream.getvalue()


def to_json(comparison: Comparison) -> str:
    """`{dataset: {tracker: {"AUC": percent, …, "sequences": {name: {…}}}}}`; no score is null."""
    trackers = {label: _as_tree(comparison, score) for label, score in comparison.scores.items()}
    return json.dumps({comparison.dataset: trackers}, indent=2, allow_nan=False) + "\n"


def _as_tree(comparison: Comparison, score: DatasetScore) -> dict[str, object]:
    return {
        **_stored_all(score.total.percentages()),
        "protocol": comparison.kind,
        "convention": comparison.convention,
        "left_out": list(comparison.left_out),
        "sequences": {
            name: _stored_all(one.percentages()) for name, one in score.sequences.items()
        },
    }


def _title(comparison: Comparison) -> str:
    count = len(next(iter(comparison.scores.values())).sequences)
    left_out = f" ({len(comparison.left_out)} left out)" if comparison.left_out else ""
    marked = ", * best" if len(comparison.scores) > 1 else ""
    noun = "sequence" if count == 1 else "sequences"
    return (
        f"{comparison.dataset}: {count} {noun}{left_out}, protocol {comparison.kind}, "
        f"convention {comparison.convention}, percent{marked}"
    )


def _best(values: list[float]) -> str:
    """The best value as shown, so that what looks equal is marked alike; '' without rivals."""
    known = [value for value in values if not math.isnan(value)]
    return _shown(max(known)) if known and len(values) > 1 else ""


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.{_DECIMALS}f}"


def _stored(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _STORED_DECIMALS)


def _stored_all(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: _stored(value) for key, value in values.items()}
