"""Whether a certainty in [0, 1] means what it says, and whether a low one finds what is lost."""

from typing import NamedTuple

import numpy as np

BINS = 10


class ReliabilityBin(NamedTuple):
    """Frames whose certainty lies in one tenth: how many, what was said, and what was true."""

    frames: int
    certainty: float
    share_good: float


def reliability(certainty: np.ndarray, good: np.ndarray, bins: int = BINS) -> list[ReliabilityBin]:
    """The reliability diagram: one row for each of `bins` equal parts of [0, 1] with frames in it.

    Args:
        certainty: `(N,)` in [0, 1].
        good: `(N,)` whether the box overlaps the target by half or more.

    Example:
        >>> reliability(np.array([0.12, 0.18, 0.9]), np.array([False, True, True]))[1]
        ReliabilityBin(frames=1, certainty=0.9, share_good=1.0)
    """
    index = np.minimum((certainty * bins).astype(int), bins - 1)
    rows = []
    for i in range(bins):
        inside = index == i
        if inside.any():
            said, true = certainty[inside].mean(), good[inside].mean()
            rows.append(ReliabilityBin(int(inside.sum()), float(said), float(true)))
    return rows


def calibration_error(certainty: np.ndarray, good: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al., ICML 2017): mean |said - true| over the frames."""
    rows = reliability(certainty, good, bins)
    total = sum(row.frames for row in rows)
    return sum(row.frames * abs(row.certainty - row.share_good) for row in rows) / max(1, total)


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the precision-recall curve, in steps; equal scores are taken together.

    Args:
        scores: `(N,)`, high where a frame should be positive.
        positive: `(N,)` bool. Chance is their share.

    Example:
        >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]))
        0.8333333333333333
    """
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
