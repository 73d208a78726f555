"""Fit how sure a network's boxes are: track videos with truth, regress on what was seen.

In every other frame the target is also looked for at two places: one that may show it, and one
anywhere in the picture. So a frame by itself (`Calibration.alone`) is judged the same wherever its
search region lies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lib.datasets.sequence import Video
from lib.tracker.calibration import NOTHING, OF_LOOKS, OF_PLACE, Calibration, Regression
from lib.tracker.certainty import Witness
from lib.tracker.evidence import FEATURES
from lib.tracker.seqtrack import SeqTrackTracker, look_at, start_target, track_step
from lib.tracker.state import TargetState
from lib.utils.boxes import Box, iou_xywh
from lib.utils.errors import DataError

GOOD_OVERLAP = 0.5
_FOLDS = 5
# How far from the target a place is that may show it, in sides of its box, and the box there.
_NEAR, _SCALE = 1.2, 0.3
_EVERY = 2


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen of one video's N frames, the first one left out, and at M places besides.

    Attributes:
        evidence: `(N, K)`.
        good: `(N,)` whether the target was there and the box on it, by half or more.
        elsewhere: `(M, K)` evidence of the places.
        good_there: `(M,)` likewise.
        counts: `(N,)` how much each frame counts.
        counts_there: `(M,)` likewise.
    """

    evidence: np.ndarray
    good: np.ndarray
    elsewhere: np.ndarray
    good_there: np.ndarray
    counts: np.ndarray
    counts_there: np.ndarray


def observe(tracker: SeqTrackTracker, witness: Witness, video: Video) -> Observed:
    """Track a video; frames without truth are left out.

    Raises:
        SeqTrackError: a frame cannot be read.
    """
    engine, settings = tracker.engine, tracker.settings
    state = start_target(video.frames.read(0), video.init_box, settings, engine)
    rng = np.random.default_rng(len(video))
    seen: list[tuple[np.ndarray, bool]] = []
    there: list[tuple[np.ndarray, bool]] = []
    for index in range(1, min(len(video), len(video.ground_truth))):
        image, truth = video.frames.read(index), _truth(video, index)
        before = state
        (found,) = track_step(engine, settings, [state], [image], witness)
        state = found.state
        if truth is None:
            continue
        seen.append((found.sight.evidence, _good(state.box, truth)))
        if index % _EVERY == 0:
            places = _places(rng, before, truth, image.shape[:2])
            for one in look_at(engine, settings, before, image, places, witness):
                there.append((one.sight.evidence, _good(one.state.box, truth)))
    return Observed(*_columns(seen), *_columns(there), np.ones(len(seen)), np.ones(len(there)))


def _columns(rows: Sequence[tuple[np.ndarray, bool]]) -> tuple[np.ndarray, np.ndarray]:
    evidence = [row for row, _ in rows] or np.zeros((0, len(FEATURES)))
    return np.array(evidence), np.array([good for _, good in rows], bool)


def _truth(video: Video, index: int) -> np.ndarray | None:
    """Box xywh of a frame; of NaN where the target is known to be away; None: not known."""
    truth = video.ground_truth[index]
    if video.visible is not None and not video.visible[index]:
        # A target that is known to be away needs no box in the truth.
        return np.full(4, np.nan)
    return truth if np.isfinite(truth).all() else None


def _good(box: Box, truth: np.ndarray) -> bool:
    return bool(iou_xywh(np.array([box]), truth[None])[0] >= GOOD_OVERLAP)


def _places(
    rng: np.random.Generator, state: TargetState, truth: np.ndarray, size: tuple[int, int]
) -> list[Box]:
    """Two xywh boxes to look at: one near a target that is there, and one anywhere."""
    height, width = size
    w, h = state.box[2:]
    drawn = [((rng.uniform(0, width), rng.uniform(0, height)), (w, h)) for _ in range(2)]
    if np.isfinite(truth).all():
        scale = np.exp(rng.uniform(-_SCALE, _SCALE))
        reach = _NEAR * float(np.sqrt(truth[2:].prod()))
        centre = truth[:2] + truth[2:] / 2 + rng.uniform(-reach, reach, 2)
        drawn[0] = tuple(centre.clip(0, (width - 1, height - 1))), tuple(scale * truth[2:])
    return [(x - w / 2, y - h / 2, w, h) for (x, y), (w, h) in drawn]


def pooled(seen: Iterable[Observed]) -> Observed:
    """The frames of several videos as one."""
    rows = list(seen)
    columns = (np.concatenate([getattr(one, f.name) for one in rows]) for f in fields(Observed))
    return Observed(*columns)


def balanced(sets: Sequence[Sequence[Observed]]) -> list[Observed]:
    """The videos of several data sets, one after the other; each set counts as much as the others,
    so that many generated videos do not outweigh a few real ones."""
    found = []
    for videos in sets:
        share = 1 / max(1, sum(len(one.counts) for one in videos))
        found += [
            replace(one, counts=share * one.counts, counts_there=share * one.counts_there)
            for one in videos
        ]
    return found


def fit(seen: Sequence[Observed], record: Mapping[str, Any] | None = None) -> Calibration:
    """The calibration by which what was good in these videos is likeliest.

    Raises:
        DataError: all boxes were good, or none.
    """
    whole = pooled(seen)
    everywhere, good, counts = (
        np.concatenate(both)
        for both in (
            (whole.evidence, whole.elsewhere),
            (whole.good, whole.good_there),
            (whole.counts, whole.counts_there),
        )
    )
    return Calibration(
        Regression.fit(whole.evidence, whole.good, whole.counts),
        Regression.fit(everywhere, good, counts, OF_PLACE),
        Regression.fit(whole.evidence, whole.good, whole.counts, OF_LOOKS),
        record or {},
    )


def held_out(seen: Sequence[Observed]) -> np.ndarray:
    """Certainties of the pooled frames, each by a calibration fitted without its video.

    Raises:
        DataError: fewer than two videos, or too few with good and bad boxes.
    """
    if len(seen) < 2:
        raise DataError(f"{NOTHING}: at least two videos are needed")
    folds = min(_FOLDS, len(seen))
    found: list[np.ndarray] = []
    for i, one in enumerate(seen):
        others = pooled(row for j, row in enumerate(seen) if j % folds != i % folds)
        found.append(Regression.fit(others.evidence, others.good, others.counts)(one.evidence))
    return np.concatenate(found)
