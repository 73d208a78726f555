"""Scores of a tracker that also says how sure it is: long-term measures, and reliability.

Long-term precision, recall and F: Lukežič et al., "Now you see me" (2018), the measures of VOT-LT.
A tracker that answers only from a threshold of its certainty on has

    precision   mean overlap over the frames that it answers; where the target is away it is 0
    recall      mean overlap over the frames where the target is there; without an answer it is 0

Both are means over sequences, F is their harmonic mean, the threshold with the highest F counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib.analysis.frames import TrackedSequence
from lib.analysis.reliability import BINS, calibration_error, reliability
from lib.utils.boxes import iou_xywh

GOOD_OVERLAP = 0.5
# Dense near 0, where the certainties of a tracker that nobody calibrated lie.
THRESHOLDS = (np.arange(101) / 100) ** 2


@dataclass(frozen=True, eq=False)
class CertainFrames:
    """The frames of a sequence, the first one left out, whose truth is known.

    Attributes:
        certainty: `(N,)` in [0, 1].
        overlap: `(N,)` IoU, 0 where the target is away.
        present: `(N,)` whether it is there.
    """

    certainty: np.ndarray
    overlap: np.ndarray
    present: np.ndarray

    @property
    def good(self) -> np.ndarray:
        """`(N,)` whether the box overlaps the target by half or more."""
        return self.overlap >= GOOD_OVERLAP


def certain_frames(tracked: TrackedSequence) -> CertainFrames | None:
    """What is known of a sequence; None where the tracker said no certainty."""
    if tracked.certainty is None:
        return None
    rows = min(len(tracked.ground_truth), len(tracked.predicted), len(tracked.certainty))
    frames = slice(1, rows)
    truth = tracked.ground_truth[frames]
    present = np.isfinite(truth).all(axis=1) & (truth[:, 2:] > 0).all(axis=1)
    known = present.copy()
    if tracked.visible is not None:
        flags = np.asarray(tracked.visible[frames], bool)
        present, known = present & flags, known | ~flags
    overlap = np.zeros(len(truth))
    overlap[present] = iou_xywh(tracked.predicted[frames][present], truth[present])
    known &= np.isfinite(tracked.certainty[frames])
    return CertainFrames(tracked.certainty[frames][known], overlap[known], present[known])


def precision_recall_f(rows: Sequence[CertainFrames]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F `(T,)` over `THRESHOLDS`, means over the sequences."""
    precision, recall = [], []
    for one in rows:
        answered = one.certainty[:, None] >= THRESHOLDS
        gained = (one.overlap[:, None] * answered).sum(axis=0)
        count = answered.sum(axis=0)
        # Who answers nothing says nothing wrong.
        precision.append(np.where(count > 0, gained / np.maximum(count, 1), 1.0))
        recall.append(gained / max(1, one.present.sum()))
    p, r = np.mean(precision, axis=0), np.mean(recall, axis=0)
    return p, r, 2 * p * r / np.maximum(p + r, 1e-12)


def _longterm_scores(rows: Sequence[CertainFrames]) -> dict[str, float]:
    precision, recall, f = precision_recall_f(rows)
    best = int(f.argmax())
    return {
        "LT-F": float(f[best]),
        "LT-Precision": float(precision[best]),
        "LT-Recall": float(recall[best]),
    }


def _pooled(rows: Sequence[CertainFrames]) -> tuple[np.ndarray, np.ndarray]:
    certainty = np.concatenate([one.certainty for one in rows])
    return certainty, np.concatenate([one.good for one in rows])


def _share_good(rows: Sequence[CertainFrames]) -> np.ndarray:
    line = np.full(BINS, np.nan)
    for one in reliability(*_pooled(rows)):
        line[min(int(one.certainty * BINS), BINS - 1)] = one.share_good
    return line


@dataclass(frozen=True)
class CertaintyMetric:
    """A curve of a tracker that says how sure it is, and its headline scores.

    Attributes:
        title: of its plot.
        axis: of its plot, what the thresholds are.
        thresholds: (T,).
        curve: sequences to (T,), fractions.
        scores: sequences to the headline scores, fractions; the first is named in the plot.
    """

    title: str
    axis: str
    thresholds: np.ndarray
    curve: Callable[[Sequence[CertainFrames]], np.ndarray]
    scores: Callable[[Sequence[CertainFrames]], dict[str, float]]


CERTAINTY_METRICS: Mapping[str, CertaintyMetric] = {
    "longterm": CertaintyMetric(
        "Long-term F",
        "Answers from this certainty on",
        THRESHOLDS,
        lambda rows: precision_recall_f(rows)[2],
        _longterm_scores,
    ),
    "reliability": CertaintyMetric(
        "Reliability: overlap of half or more",
        "Certainty; the diagonal is right",
        (np.arange(BINS) + 0.5) / BINS,
        _share_good,
        lambda rows: {"Calibrated": 1 - calibration_error(*_pooled(rows))},
    ),
}
