"""Intervals, tests and contributions of scores: they fit the totals that are printed."""

from typing import Any

import numpy as np
import pytest

from lib.analysis.findings import (
    contributions,
    metric_names,
    paired_test,
    run_spread,
    score_interval,
    sequence_values,
)
from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import DatasetScore, average_runs, mean_score, score_dataset
from lib.utils.errors import DataError

BOX = (20.0, 30.0, 40.0, 50.0)
FAR = (500.0, 600.0, 40.0, 50.0)
FRAMES = 8


def score(hits: list[int], kind: str = "otb", convention: str | None = None) -> DatasetScore:
    """One sequence per entry, which says in how many of its first frames the target is found."""
    known: dict[str, Any] = {}
    if kind == "lasot":
        known["visible"] = np.ones(FRAMES)
    tracked = [
        TrackedSequence(
            f"s{i}", np.array([BOX] * FRAMES), np.array([BOX] * k + [FAR] * (FRAMES - k)), **known
        )
        for i, k in enumerate(hits)
    ]
    return score_dataset(tracked, kind, convention)


def pooled(hits: list[int], lengths: list[int]) -> DatasetScore:
    tracked = [
        TrackedSequence(
            f"s{i}", np.array([BOX] * (n + 1)), np.array([BOX] * (k + 1) + [FAR] * (n - k))
        )
        for i, (k, n) in enumerate(zip(hits, lengths, strict=True))
    ]
    return score_dataset(tracked, "got10k_val", "no_cover_no_bound")


ANY_SCORES = [
    pytest.param(score([8, 4, 2, 7]), score([6, 5, 2, 1]), id="one-pass evaluation"),
    pytest.param(pooled([9, 1, 3], [9, 2, 40]), pooled([5, 2, 3], [9, 2, 40]), id="GOT-10k"),
]


@pytest.mark.parametrize(("one", "other"), ANY_SCORES)
def test_every_headline_score_has_its_own_curve(one: DatasetScore, other: DatasetScore) -> None:
    """A score without one would be weighed by the curve of another."""
    for row in (one.total, other.total):
        curves, percentages = row.curves(), row.percentages()
        assert list(curves) == list(percentages)
        for name, curve in curves.items():
            value = percentages[name] / 100
            near = np.abs(curve - value).min() < 1e-9
            assert near or curve.mean() == pytest.approx(value, abs=0.01), name


@pytest.mark.parametrize(("one", "other"), ANY_SCORES)
def test_weighted_sequences_make_the_total(one: DatasetScore, other: DatasetScore) -> None:
    for metric in metric_names(one):
        values, weights = sequence_values(one, metric)
        total = one.total.percentages()[metric]
        assert np.average(values, weights=weights) == pytest.approx(total)
        interval = score_interval(one, metric)
        assert interval.low <= total <= interval.high


@pytest.mark.parametrize(("one", "other"), ANY_SCORES)
def test_contributions_add_up_to_the_gap(one: DatasetScore, other: DatasetScore) -> None:
    for metric in metric_names(one):
        gap = one.total.percentages()[metric] - other.total.percentages()[metric]
        rows = contributions(one, other, metric)
        assert sum(row.share for row in rows) == pytest.approx(gap)
        assert paired_test(one, other, metric).difference == pytest.approx(gap)
        shares = [abs(row.share) for row in rows]
        assert shares == sorted(shares, reverse=True)


def test_largest_contribution_comes_first() -> None:
    rows = contributions(score([8, 4, 2]), score([8, 4, 8]), "OP50")
    assert (rows[0].sequence, rows[0].first, rows[0].second) == ("s2", 25, 100)
    assert rows[0].share == pytest.approx(-25)
    assert rows[1].share == 0


def test_conventions_that_drop_lost_sequences_drop_them_here_too() -> None:
    """LaSOT's toolkit leaves a curve that is 0 throughout out of its mean."""
    kept = score([8, 4], "lasot", "lasot_matlab_port")
    lost = score([8, 4], "lasot", "lasot_matlab_port").sequences["s1"]
    zero = type(lost)({name: 0 * line for name, line in lost.lines.items()})
    rows = {**kept.sequences, "lost": zero}
    total = mean_score([*rows.values()], "lasot_matlab_port")
    with_lost = DatasetScore("lasot", "lasot_matlab_port", total, rows)
    for metric in metric_names(kept):
        values, weights = sequence_values(with_lost, metric)
        assert weights.tolist() == [1, 1, 0]
        assert np.average(values, weights=weights) == pytest.approx(total.percentages()[metric])
    all_lost = DatasetScore("lasot", "lasot_matlab_port", zero, {"a": zero, "b": zero})
    assert sequence_values(all_lost, "AUC")[1].tolist() == [1, 1]


def test_sequences_without_counted_frames_weigh_nothing() -> None:
    cover = np.array([8, 0, 0])
    tracked = [
        TrackedSequence("hidden", np.array([BOX] * 3), np.array([BOX] * 3), cover=cover),
        TrackedSequence("seen", np.array([BOX] * 3), np.array([BOX] * 3), cover=np.full(3, 8)),
    ]
    values, weights = sequence_values(score_dataset(tracked, "got10k_val", "cover"), "AO")
    assert values.tolist() == pytest.approx([0, 100])
    assert weights.tolist() == [0, 2]


def test_runs_are_averaged_per_sequence_and_spread() -> None:
    runs = [score([8, 4]), score([6, 4])]
    rows = {name: average_runs([run.sequences[name] for run in runs]) for name in runs[0].sequences}
    totals = {number: run.total for number, run in enumerate(runs)}
    both = DatasetScore(
        "otb", "seqtrack_lib_test", mean_score([*rows.values()], runs[0].convention), rows, totals
    )
    assert both.total.percentages()["OP50"] == pytest.approx((75 + 62.5) / 2)
    assert rows["s0"].percentages()["OP50"] == pytest.approx(87.5)
    values, spread = run_spread(both, "OP50")
    assert values == pytest.approx([75, 62.5])
    assert spread == pytest.approx(np.std([75, 62.5], ddof=1))
    assert np.isnan(run_spread(runs[0], "OP50")[1])
    assert average_runs([runs[0].total]) is runs[0].total
    with pytest.raises(DataError, match="no run"):
        average_runs([])


def test_repetitions_of_got10k_are_pooled() -> None:
    first, second = pooled([9], [9]).total, pooled([3], [9]).total
    both = average_runs([first, second])
    assert both.percentages()["AO"] == pytest.approx(100 * 12 / 18)
    assert both.frames == 18
