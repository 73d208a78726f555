"""How sure a score is: bootstrap intervals, and a paired test between two trackers.

A benchmark is a sample of sequences, so sequences are what is drawn again: frames of one video
resemble each other, and drawing frames would promise far too much. Percentile bootstrap of Efron
and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 16; paired over
sequences as in Koehn, "Statistical Significance Tests for Machine Translation Evaluation"
(EMNLP 2004). A seed makes every figure repeatable, whatever the order of calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SAMPLES = 10_000
LEVEL = 0.95
SEED = 0
# Sequences drawn at once: 16 MB of positions, so that thousands of sequences fit in memory.
_DRAWN_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of the values; both ends NaN where nothing is known.

    One sequence alone says nothing about others: its interval is unknown, not narrow.
    """

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there was enough to say anything."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


UNKNOWN = Interval(float("nan"), float("nan"))


@dataclass(frozen=True)
class PairedTest:
    """Whether two trackers differ on the same sequences."""

    difference: float  # score of the first less that of the second; NaN where nothing is scored
    interval: Interval  # of the difference
    # Two-sided. Below 1 - level where the interval leaves 0 out; but never below 2 / 2**D for D
    # sequences that differ, the least that any exact paired test gives.
    p_value: float
    sequences: int  # how many have scores of both


def bootstrap_pooled(
    sums: np.ndarray,
    counts: np.ndarray,
    *,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = SEED,
) -> Interval:
    """Interval of sum(sums) / sum(counts): frames pooled (GOT-10k), sequences drawn.

    Args:
        sums: (S,) sum over the frames of a sequence, such as its overlaps.
        counts: (S,) number of those frames; sequences with none are no part of the sample.
        samples: how often S sequences are drawn.
        level: share of the drawn ratios inside the interval.

    Raises:
        ValueError: not both (S,), or samples or level are out of range.

    Example:
        >>> scores = np.array([60.0, 62.0, 58.0, 61.0, 59.0, 63.0])
        >>> interval = bootstrap_pooled(scores, np.ones(6))
        >>> 58 < interval.low < scores.mean() < interval.high < 63
        True
    """
    sums, counts = _vector(sums), _vector(counts, like=sums)
    kept = counts > 0
    sums, counts = sums[kept], counts[kept]
    _check(samples, level)
    if len(sums) < 2:
        return UNKNOWN
    ratios = [
        sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        for drawn in _draws(len(sums), samples, seed)
    ]
    return _percentiles(np.concatenate(ratios), level)


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    *,
    counts_a: np.ndarray | None = None,
    counts_b: np.ndarray | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = SEED,
) -> PairedTest:
    """Whether tracker A and tracker B differ, both scored on the same sequences.

    Args:
        a: (S,) scores of A per sequence.
        b: (S,) scores of B, in the same order; sequences with a NaN in either are left out.
        counts_a: (S,) weights of A's sequences, such as numbers of frames that are pooled; all
            equal by default.
        counts_b: (S,) of B's; as `counts_a` by default.
        samples: how often S sequences are drawn, the same ones for both trackers.

    Raises:
        ValueError: not all (S,), or samples or level are out of range.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> easy = rng.uniform(20, 90, 100)
        >>> test = paired_bootstrap(easy + rng.normal(2, 4, 100), easy)
        >>> test.p_value < 0.01 and test.interval.low > 0
        True
    """
    a = _vector(a)
    b = _vector(b, like=a)
    counts_a = np.ones(len(a)) if counts_a is None else _vector(counts_a, like=a)
    counts_b = counts_a if counts_b is None else _vector(counts_b, like=a)
    _check(samples, level)
    kept = np.isfinite(a) & np.isfinite(b)
    a, b, counts_a, counts_b = a[kept], b[kept], counts_a[kept], counts_b[kept]
    if counts_a.sum() <= 0 or counts_b.sum() <= 0:
        return PairedTest(float("nan"), UNKNOWN, float("nan"), len(a))
    difference = float(np.average(a, weights=counts_a) - np.average(b, weights=counts_b))
    if len(a) < 2:
        return PairedTest(difference, UNKNOWN, 1.0, len(a))
    drawn = _drawn_differences(a * counts_a, counts_a, b * counts_b, counts_b, samples, seed)
    differing = int(np.count_nonzero((a != b) | (counts_a != counts_b)))
    p_value = max(_two_sided(drawn), min(1.0, 2.0 ** (1 - differing)))
    return PairedTest(difference, _percentiles(drawn, level), p_value, len(a))


def _drawn_differences(
    sums_a: np.ndarray,
    counts_a: np.ndarray,
    sums_b: np.ndarray,
    counts_b: np.ndarray,
    samples: int,
    seed: int,
) -> np.ndarray:
    """Score of A less that of B in every sample that has a score of both."""
    differences = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for drawn in _draws(len(sums_a), samples, seed):
            first = sums_a[drawn].sum(axis=1) / counts_a[drawn].sum(axis=1)
            second = sums_b[drawn].sum(axis=1) / counts_b[drawn].sum(axis=1)
            differences.append(first - second)
    together = np.concatenate(differences)
    return together[np.isfinite(together)]


def _two_sided(differences: np.ndarray) -> float:
    """Share of the drawn differences on the far side of 0, twice; never 0, as draws are finite."""
    below = np.count_nonzero(differences <= 0)
    above = np.count_nonzero(differences >= 0)
    return min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1))


def _draws(sequences: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Positions (n, sequences) drawn with replacement, `samples` rows in all."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // sequences)
    for start in range(0, samples, at_once):
        rows = min(at_once, samples - start)
        yield rng.integers(0, sequences, size=(rows, sequences))


def _percentiles(drawn: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _check(samples: int, level: float) -> None:
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples must be positive and level inside 0..1: {samples}, {level}")


def _vector(values: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or (like is not None and len(vector) != len(like)):
        wanted = "(S,)" if like is None else f"({len(like)},)"
        raise ValueError(f"one value per sequence is needed, {wanted}: found {vector.shape}")
    return vector
