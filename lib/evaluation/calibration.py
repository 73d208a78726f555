"""Fit how sure a network's boxes are: track videos with truth, regress on what was seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.datasets.sequence import Video
from lib.tracker.certainty import Calibration, Witness
from lib.tracker.seqtrack import SeqTrackTracker, start_target, track_step
from lib.utils.boxes import iou_xywh

GOOD_OVERLAP = 0.5
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen of one video's N frames, the first one left out.

    Attributes:
        evidence: `(N, K)`.
        good: `(N,)` whether the target was there and the box on it, by half or more.
    """

    evidence: np.ndarray
    good: np.ndarray


def observe(tracker: SeqTrackTracker, witness: Witness, video: Video) -> Observed:
    """Track a video; frames without truth are left out.

    Raises:
        SeqTrackError: a frame cannot be read.
    """
    engine, settings = tracker.engine, tracker.settings
    state = start_target(video.frames.read(0), video.init_box, settings, engine)
    boxes, evidence = [], []
    for index in range(1, min(len(video), len(video.ground_truth))):
        image = video.frames.read(index)
        (found,) = track_step(engine, settings, [state], [image], witness)
        state = found.state
        boxes.append(state.box)
        evidence.append(found.sight.evidence)
    truth = video.ground_truth[1 : len(boxes) + 1]
    overlap = iou_xywh(np.array(boxes), truth)
    good = overlap >= GOOD_OVERLAP
    known = np.isfinite(truth).all(axis=1)
    if video.visible is not None:
        there = np.asarray(video.visible[1 : len(boxes) + 1], bool)
        # A target that is known to be away needs no box in the truth.
        good, known = good & there, known | ~there
    return Observed(np.array(evidence)[known], good[known])


def pooled(seen: Iterable[Observed]) -> Observed:
    """The frames of several videos as one."""
    rows = list(seen)
    return Observed(
        np.concatenate([one.evidence for one in rows]), np.concatenate([one.good for one in rows])
    )


def held_out(seen: Sequence[Observed]) -> np.ndarray:
    """Certainties of the pooled frames, each by a calibration fitted without its video.

    Raises:
        ValueError: fewer than two videos, or too few with good and bad boxes.
    """
    if len(seen) < 2:
        raise ValueError("at least two videos are needed")
    folds = min(_FOLDS, len(seen))
    found: list[np.ndarray] = []
    for i, one in enumerate(seen):
        others = pooled(row for j, row in enumerate(seen) if j % folds != i % folds)
        found.append(Calibration.fit(others.evidence, others.good)(one.evidence))
    return np.concatenate(found)
