"""What a comparison says, as tables for people."""

import math
from collections.abc import Iterator
from itertools import islice

from lib.analysis.attributes import MEANINGS
from lib.analysis.compare import Comparison
from lib.analysis.conventions import default_convention
from lib.analysis.findings import Findings, metric_names, run_spread
from lib.analysis.statistics import LEVEL, SAMPLES, Interval
from lib.analysis.tables import UNKNOWN, Table, as_text, best_cells
from lib.datasets.benchmarks.open import find_row
from lib.utils.errors import counted

_DECIMALS = 2
_LEVEL = f"{100 * LEVEL:g}%"


def format_table(comparison: Comparison) -> str:
    """The headline scores in percent, one line per tracker, the best value of a column marked."""
    return as_text(score_table(comparison)).rstrip("\n")


def tables(findings: Findings, top: int = 3) -> Iterator[Table]:
    """All tables of a comparison, the scores first.

    Args:
        findings: what there is to say.
        top: how many sequences to name that make the difference between two trackers.
    """
    yield score_table(findings.comparison)
    yield interval_table(findings)
    if any(score.runs for score in findings.comparison.scores.values()):
        yield run_table(findings)
    if findings.differences:
        yield difference_table(findings)
        if top:
            several = (sequence_table(findings, other, top) for other in findings.differences)
            # Trackers that are equal on every sequence have none to name.
            yield from (one for one in several if one.rows)
    if findings.attributes is not None:
        yield attribute_table(findings)
    if findings.published is not None:
        yield published_table(findings)


def score_table(comparison: Comparison) -> Table:
    """The headline scores in percent, one line per tracker, the best value of a column marked."""
    rows = tuple(
        (label, *map(_shown, score.total.percentages().values()))
        for label, score in comparison.scores.items()
    )
    best = best_cells(rows) if len(rows) > 1 else frozenset()
    metrics = metric_names(next(iter(comparison.scores.values())))
    return Table(_title(comparison), ("tracker", *metrics), rows, best, _notes(comparison))


def interval_table(findings: Findings) -> Table:
    rows = tuple(
        (label, *(_range(row[metric]) for metric in findings.metrics))
        for label, row in findings.intervals.items()
    )
    return Table(
        f"{findings.comparison.dataset}: {_LEVEL} intervals "
        f"(bootstrap over sequences, {SAMPLES:,} draws)",
        ("tracker", *findings.metrics),
        rows,
    )


def run_table(findings: Findings) -> Table:
    """The headline scores of trackers with several runs, and how far the runs spread."""
    rows = []
    for label, score in findings.comparison.scores.items():
        for run, total in score.runs.items():
            rows.append((f"{label}: run {run}", *map(_shown, total.percentages().values())))
        if score.runs:
            spreads = (run_spread(score, metric)[1] for metric in findings.metrics)
            rows.append((f"{label}: deviation", *map(_shown, spreads)))
    return Table(
        f"{findings.comparison.dataset}: single runs and their standard deviation, percent",
        ("run", *findings.metrics),
        tuple(rows),
    )


def difference_table(findings: Findings) -> Table:
    """Whether the first tracker differs from each of the others in the score that ranks them."""
    metric = findings.metrics[0]
    rows = []
    for other, found in findings.differences.items():
        test = found.test
        cells = (f"{test.difference:+.2f}", _range(test.interval, "+"), f"{test.p_value:.4f}")
        rows.append((f"{findings.first} - {other}", *cells))
    return Table(
        f"{findings.comparison.dataset}: differences in {metric} (paired bootstrap over sequences)",
        ("trackers", metric, f"{_LEVEL} interval", "p"),
        tuple(rows),
    )


def sequence_table(findings: Findings, other: str, top: int) -> Table:
    """The sequences that make most of the difference between the first tracker and another."""
    found = findings.differences[other]
    rows = tuple(
        (one.sequence, _shown(one.first), _shown(one.second), f"{one.share:+.2f}")
        for one in islice((one for one in found.sequences if one.share), top)
    )
    return Table(
        f"{findings.comparison.dataset}: sequences that make the difference of "
        f"{found.test.difference:+.2f} in {findings.metrics[0]}",
        ("sequence", findings.first, other, "points"),
        rows,
    )


def attribute_table(findings: Findings) -> Table:
    """The ranking score on the sequences of each attribute, the best tracker marked."""
    metric = findings.metrics[0]
    scored = findings.comparison.scores[findings.first].sequences
    rows = []
    for attribute in findings.by_attribute[findings.first]:
        with_it = findings.attributes.sequences(attribute) if findings.attributes else ()
        count = len([name for name in with_it if name in scored])
        name = " ".join(filter(None, (attribute, MEANINGS.get(attribute))))
        found = (row[attribute].percentages()[metric] for row in findings.by_attribute.values())
        rows.append((f"{name} ({count})", *map(_shown, found)))
    several = len(findings.by_attribute) > 1
    return Table(
        f"{findings.comparison.dataset}: {metric} by attribute (number of sequences), percent",
        ("attribute", *findings.by_attribute),
        tuple(rows),
        best_cells(rows, along_rows=True) if several else frozenset(),
    )


def published_table(findings: Findings) -> Table:
    comparison, metric = findings.comparison, findings.metrics[0]
    published = findings.published or {}
    rows = []
    for label, score in comparison.scores.items():
        here = score.total.percentages()[metric]
        other = (UNKNOWN, UNKNOWN)
        if label in published:
            other = (f"{published[label]:.1f}", f"{here - published[label]:+.2f}")
        rows.append((label, _shown(here), *other))
    note = "" if published else "; none is published for these trackers on this data set"
    if default_convention(comparison.kind) != comparison.convention:
        note += f"; {comparison.convention} is not the convention of published numbers"
    row = find_row(comparison.dataset)
    if published and row is not None and row.protocol != comparison.kind:
        note += f"; {comparison.kind} is not their protocol"
    if published and comparison.left_out:
        note += f"; they are of all sequences, {len(comparison.left_out)} are left out here"
    return Table(
        f"{comparison.dataset}: {metric} beside the published number{note}",
        ("tracker", "here", "published", "delta"),
        tuple(rows),
        notes=_notes(comparison),
    )


def _title(comparison: Comparison) -> str:
    count = len(next(iter(comparison.scores.values())).sequences)
    left_out = f" ({len(comparison.left_out)} left out)" if comparison.left_out else ""
    return (
        f"{comparison.dataset}: {counted(count, 'sequence')}{left_out}, protocol "
        f"{comparison.kind}, convention {comparison.convention}, percent"
    )


def _notes(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    return tuple((label, note) for label in comparison.scores for note in comparison.notes(label))


def _shown(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:.{_DECIMALS}f}"


def _range(interval: Interval, sign: str = "") -> str:
    if not interval.known:
        return UNKNOWN
    return f"[{interval.low:{sign}.{_DECIMALS}f}, {interval.high:{sign}.{_DECIMALS}f}]"
