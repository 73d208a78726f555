"""Bootstrap intervals and the paired test: known answers, coverage, and odd samples."""

from typing import Any

import numpy as np
import pytest

from lib.analysis import statistics
from lib.analysis.statistics import (
    Interval,
    bootstrap_pooled,
    paired_bootstrap,
)


def bootstrap_mean(values: np.ndarray, **drawing: Any) -> Interval:
    """The interval of a plain mean, as a score in which every sequence weighs the same."""
    return bootstrap_pooled(values, np.ones(len(values)), **drawing)


def scores(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(4, 2, count) * 100


def test_interval_of_a_mean_is_that_of_the_normal_theory() -> None:
    values = scores(400)
    interval = bootstrap_mean(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - error, abs=0.15)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.15)


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    """100 benchmarks of 60 sequences each; the mean of Beta(4, 2) is 2/3."""
    intervals = [bootstrap_mean(scores(60, seed), samples=800) for seed in range(200)]
    hits = np.mean([one.low <= 200 / 3 <= one.high for one in intervals])
    assert 0.90 <= hits <= 0.985
    narrow = [bootstrap_mean(scores(60, seed), samples=800, level=0.5) for seed in range(200)]
    assert 0.40 <= np.mean([one.low <= 200 / 3 <= one.high for one in narrow]) <= 0.60


def test_same_seed_same_figures_whatever_was_drawn_before() -> None:
    values = scores(50)
    first = bootstrap_mean(values)
    bootstrap_mean(scores(70))
    assert bootstrap_mean(values) == first
    assert bootstrap_mean(values, seed=1) != first


def test_drawing_in_parts_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_mean(scores(30), samples=500)
    monkeypatch.setattr(statistics, "_DRAWN_AT_ONCE", 100)
    assert bootstrap_mean(scores(30), samples=500) == whole


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="none"),
        pytest.param([70.0], id="one"),
    ],
)
def test_too_few_sequences_have_no_interval(values: list[float]) -> None:
    interval = bootstrap_mean(np.array(values))
    assert not interval.known
    assert np.isnan([interval.low, interval.high]).all()


def test_equal_scores_have_no_width() -> None:
    assert bootstrap_mean(np.full(5, 60.0)) == Interval(60.0, 60.0)
    assert bootstrap_mean(np.full(5, 60.0)).known


def test_pooling_weighs_sequences_by_their_frames() -> None:
    """One long sequence decides the pooled score; a mean over sequences would say 15."""
    counts = np.array([1000.0, *[10.0] * 9])
    means = np.array([60.0, *[10.0] * 9])
    interval = bootstrap_pooled(means * counts, counts)
    assert interval.high > 55
    assert bootstrap_mean(means).high < 35
    same = bootstrap_pooled(means * 7.0, np.full(10, 7.0))
    plain = bootstrap_mean(means)
    assert (same.low, same.high) == pytest.approx((plain.low, plain.high))


def test_pooling_leaves_sequences_without_frames_out() -> None:
    sums, counts = np.array([5.0, 8.0, 6.0]), np.array([10.0, 10.0, 12.0])
    assert bootstrap_pooled(np.append(sums, np.nan), np.append(counts, 0)) == bootstrap_pooled(
        sums, counts
    )


def test_real_difference_is_found_though_sequences_vary_more() -> None:
    rng = np.random.default_rng(3)
    b = scores(280)
    a = b + rng.normal(1.0, 4.0, 280)
    test = paired_bootstrap(a, b)
    assert test.difference == pytest.approx((a - b).mean())
    assert test.interval.low > 0
    assert test.p_value < 0.01
    # Unpaired, the intervals of the two overlap by far.
    assert bootstrap_mean(a).low < bootstrap_mean(b).high
    mirrored = paired_bootstrap(b, a)
    assert mirrored.difference == pytest.approx(-test.difference)
    assert mirrored.p_value == pytest.approx(test.p_value, abs=0.002)


def test_chance_is_called_chance_as_often_as_it_should() -> None:
    """Trackers that differ by noise only: one in twenty is 'significant' at 0.05."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        b = rng.uniform(20, 90, 60)
        found.append(paired_bootstrap(b + rng.normal(0, 5, 60), b, samples=800).p_value < 0.05)
    assert 0.02 <= np.mean(found) <= 0.10


def test_p_value_and_interval_say_the_same() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        b = rng.uniform(20, 90, 40)
        test = paired_bootstrap(b + rng.normal(1, 3, 40), b)
        excludes = test.interval.low > 0 or test.interval.high < 0
        if abs(test.p_value - 0.05) > 0.002:
            assert excludes == (test.p_value < 0.05)


def test_equal_trackers_do_not_differ() -> None:
    test = paired_bootstrap(scores(30), scores(30))
    assert (test.difference, test.p_value) == (0, 1)
    assert test.interval == Interval(0, 0)


@pytest.mark.parametrize(("count", "least"), [(1, 1.0), (2, 0.5), (3, 0.25), (5, 0.0625)])
def test_few_sequences_prove_nothing(count: int, least: float) -> None:
    """Three wins of three are one coin in four; only resampling would call that certain."""
    a = np.linspace(80, 90, count)
    assert paired_bootstrap(a, a - 20).p_value == least
    # Sequences on which both are equal do not add to the proof.
    more = np.concatenate([a, np.full(50, 70.0)])
    other = np.concatenate([a - 20, np.full(50, 70.0)])
    assert paired_bootstrap(more, other).p_value >= least


def test_sequences_without_a_score_are_left_out_in_pairs() -> None:
    a, b = scores(20), scores(20, 1)
    holes_a, holes_b = a.copy(), b.copy()
    holes_a[3], holes_b[7] = np.nan, np.nan
    kept = np.delete(np.arange(20), [3, 7])
    test = paired_bootstrap(holes_a, holes_b)
    assert test == paired_bootstrap(a[kept], b[kept])
    assert test.sequences == 18


def test_paired_pooling_is_the_difference_of_the_pooled_scores() -> None:
    counts = np.array([100.0, 10.0, 50.0, 0.0])
    a = np.array([60.0, 20.0, 70.0, np.nan])
    b = np.array([50.0, 90.0, 60.0, np.nan])
    test = paired_bootstrap(a, b, counts_a=counts)
    assert test.difference == pytest.approx((100 * 10 - 10 * 70 + 50 * 10) / 160)
    # Each side may leave out sequences of its own (LaSOT's toolkit drops lost ones).
    own = paired_bootstrap(a, b, counts_a=np.array([1, 1, 1, 0]), counts_b=np.array([1, 0, 1, 0]))
    assert own.difference == pytest.approx(50.0 - 55.0)


def test_nothing_in_common_is_no_difference() -> None:
    test = paired_bootstrap(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))
    assert np.isnan([test.difference, test.p_value]).all()
    assert test.sequences == 0
    weightless = paired_bootstrap(np.ones(3), np.ones(3), counts_a=np.zeros(3))
    assert np.isnan(weightless.difference)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: bootstrap_mean(np.ones((2, 2))), id="a table"),
        pytest.param(lambda: bootstrap_mean(np.ones(3), samples=0), id="no samples"),
        pytest.param(lambda: bootstrap_mean(np.ones(3), level=95), id="level in percent"),
        pytest.param(lambda: bootstrap_pooled(np.ones(3), np.ones(2)), id="other counts"),
        pytest.param(lambda: paired_bootstrap(np.ones(3), np.ones(2)), id="other sequences"),
    ],
)
def test_wrong_shapes_are_refused(call) -> None:
    with pytest.raises(ValueError, match=r"per sequence|samples"):
        call()


def test_the_least_p_value_of_10_000_draws() -> None:
    a = scores(20)
    assert paired_bootstrap(a + 1, a).p_value == 2 / 10_001
    assert paired_bootstrap(a, a + 1).p_value == 2 / 10_001
    assert paired_bootstrap(a, a + 1, samples=99).p_value == 2 / 100


def test_draws_without_a_difference_speak_for_neither() -> None:
    b = np.array([10.0, 20.0, 30.0, 40.0])
    assert paired_bootstrap(b + np.array([1, -1, 1, -1]), b).p_value == 1


def test_weights_that_differ_are_a_difference() -> None:
    """Equal scores that are weighed differently: one tracker's easy sequence is long."""
    values = np.array([90.0, *[10.0] * 19])
    heavy = np.array([1000.0, *[1.0] * 19])
    test = paired_bootstrap(values, values, counts_a=heavy, counts_b=np.full(20, 1.0))
    assert test.difference == pytest.approx(1000 / 1019 * 80 - 4)
    # Only one sequence differs, which proves nothing.
    assert test.p_value == 1
    weightless = paired_bootstrap(values, values, counts_b=np.zeros(20))
    assert np.isnan(weightless.difference)


def test_two_sequences_have_an_interval_and_one_draw_is_a_sample() -> None:
    assert bootstrap_mean(np.array([0.0, 10.0])) == Interval(0.0, 10.0)
    one = bootstrap_mean(scores(9), samples=1)
    assert one.known and one.low == one.high


def test_an_interval_with_one_end_is_not_known() -> None:
    assert not Interval(float("nan"), 1.0).known and not Interval(0.0, float("inf")).known


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5])
def test_a_level_lies_between_none_and_all(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean(scores(5), level=level)
