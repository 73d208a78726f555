"""One-pass evaluation: the errors of every frame, by the rules of each established toolkit.

The kinds of data sets differ in three places only. `lasot` needs visibility flags, refuses short
results and counts absent frames as misses everywhere; `uav` may mark absence by NaN and counts
invalid frames as precise; all others share one rule.
"""

from dataclasses import replace

import numpy as np

from lib.analysis.frames import (
    FrameErrors,
    TrackedSequence,
    bounded_normalised_distance,
    center_distance,
    fill_forward,
    first_row,
    fit_length,
    normalised_distance,
    pixel_overlap,
    rows_not_finite,
    rows_with_nan,
)
from lib.utils.boxes import iou_xywh
from lib.utils.errors import DataError, ResultsError

MISSED = np.inf
HIT = -1.0
NO_OVERLAP = -1.0


def pytracking_errors(
    tracked: TrackedSequence, kind: str, *, all_positive: bool = False, valid_only: bool = False
) -> FrameErrors:
    """The rules that PyTracking, SeqTrack, STARK, OSTrack and others share.

    The first prediction is replaced by the ground truth and counts. A prediction without area
    repeats the previous one. Longer results are cut, shorter ones padded with empty boxes.

    Args:
        kind: the kind of its data set.
        all_positive: a frame is valid if x, y, w and h are positive (PyTracking); by default only w
            and h need be (SeqTrack and its relatives).
        valid_only: divide by the number of valid frames instead of all.

    Raises:
        ResultsError: NaN or a negative size in the results; results too short for kind `lasot`.
        DataError: NaN in the ground truth, but for kind `uav`; no flags for kind `lasot`; no
            frame to divide by.
    """
    truth = np.asarray(tracked.ground_truth, dtype=np.float64)
    _check_predictions(tracked)
    _check_truth(tracked, kind)
    predicted = _repair_empty(tracked)
    if kind == "lasot":
        _check_length(tracked, "LaSOT")
    predicted = fit_length(predicted, len(truth))
    predicted[0] = truth[0]
    visible = _visible(tracked, kind)
    sized = truth > 0 if all_positive else truth[:, 2:] > 0
    valid = sized.all(axis=1) & visible
    overlap = pixel_overlap(predicted, truth)
    if np.isnan(overlap[valid]).any():
        line = first_row(np.isnan(overlap) & valid)
        raise DataError(f"{tracked.truth_source}:{line}: NaN beside a width and height")
    center = center_distance(predicted, truth)
    normalised = normalised_distance(predicted, truth)
    overlap[~valid] = NO_OVERLAP
    center[~valid] = HIT if kind == "uav" else MISSED
    normalised[~valid] = HIT
    if kind == "lasot":
        center[~visible] = MISSED
        normalised[~visible] = MISSED
    counted = int(valid.sum()) if valid_only else len(truth)
    if counted == 0:
        raise DataError(f"{tracked.truth_source}: no frame has a valid ground truth")
    return FrameErrors(overlap, center, normalised, valid, counted, predicted, truth)


def lasot_matlab_errors(tracked: TrackedSequence, kind: str) -> FrameErrors:
    """The rules of LaSOT's MATLAB toolkit (TNL2K's is a copy of it).

    Absent frames are no hits but are divided by; invalid predictions repeat the previous one;
    a visible frame with an unusable ground truth is precise, though it never overlaps. (The
    toolkit adds one epsilon to the divisor, which changes no double of this size.)

    Raises:
        ResultsError: results shorter than the ground truth, whatever the kind.
        DataError: no flags for kind `lasot`.
    """
    _check_length(tracked, "LaSOT")
    errors = otb_matlab_errors(tracked, kind)
    visible = _visible(tracked, kind)
    errors.overlap[~visible] = NO_OVERLAP
    errors.center[~visible] = errors.normalised[~visible] = MISSED
    return replace(errors, valid=errors.valid & visible)


def otb_matlab_errors(
    tracked: TrackedSequence, kind: str, *, decimals: int | None = None
) -> FrameErrors:
    """The rules of OTB's MATLAB toolkit.

    Missing and invalid predictions repeat the previous one; a frame is valid if x, y, w and h of
    its ground truth are positive, and precise if it is not; flags of absent targets are ignored.

    Args:
        kind: not looked at: the toolkit has one rule.
        decimals: to round errors of the centre to; the port to Python has 4.
    """
    truth = np.asarray(tracked.ground_truth, dtype=np.float64)
    predicted = fit_length(np.asarray(tracked.predicted, dtype=np.float64), len(truth))
    bad = rows_with_nan(predicted) | (predicted[:, 2:] <= 0).any(axis=1)
    predicted = fill_forward(predicted, bad & ~rows_with_nan(truth))
    predicted[0] = truth[0]
    positive = np.all(truth > 0, axis=1)
    overlap = pixel_overlap(predicted, truth)
    center = center_distance(predicted, truth)
    normalised = normalised_distance(predicted, truth)
    if decimals is not None:
        center = center.round(decimals)
    overlap[~positive] = NO_OVERLAP
    center[~positive] = normalised[~positive] = HIT
    return FrameErrors(overlap, center, normalised, positive, len(truth), predicted, truth)


def got10k_ope_errors(
    tracked: TrackedSequence, kind: str, *, skip_nan: bool = False
) -> FrameErrors:
    """The rules of the GOT-10k toolkit for OTB, NFS and TC128, with `skip_nan` UAV and LaSOT.

    Both sides are cut to the shorter one and there is no validity mask; `skip_nan` leaves frames
    with a NaN ground truth out of counts and divisor. Not the number that papers quote for UAV.

    Raises:
        DataError: `skip_nan` leaves no frame.
    """
    rows = min(len(tracked.ground_truth), len(tracked.predicted))
    truth = np.array(tracked.ground_truth[:rows], dtype=np.float64)
    predicted = np.array(tracked.predicted[:rows], dtype=np.float64)
    if rows:
        predicted[0] = truth[0]
    kept = np.ones(rows, dtype=bool)
    if skip_nan:
        kept &= ~rows_with_nan(truth)
    if not kept.any():
        raise DataError(f"{tracked.truth_source}: no frame has a ground truth to compare with")
    overlap = iou_xywh(predicted, truth)
    center = center_distance(predicted, truth)
    normalised = bounded_normalised_distance(predicted, truth)
    overlap[~kept] = NO_OVERLAP
    center[~kept] = normalised[~kept] = MISSED
    return FrameErrors(overlap, center, normalised, kept, int(kept.sum()), predicted, truth)


def trek150_errors(tracked: TrackedSequence, kind: str) -> FrameErrors:
    """The rules of TREK-150's toolkit, for one pass.

    Frames that do not show the target, four negative numbers in the ground truth, are left out of
    counts and divisor. The rest is as in the GOT-10k toolkit, which it is built on.

    Args:
        kind: not looked at: the toolkit has one rule.

    Raises:
        ResultsError: NaN or a negative size in the results, or results too short.
        DataError: no frame shows the target.
    """
    _check_predictions(tracked)
    _check_length(tracked, "TREK-150")
    truth = np.asarray(tracked.ground_truth, dtype=np.float64)
    absent = (truth < 0).all(axis=1, keepdims=True)
    shown = replace(tracked, ground_truth=np.where(absent, np.nan, truth))
    return got10k_ope_errors(shown, kind, skip_nan=True)


def _check_predictions(tracked: TrackedSequence) -> None:
    broken = rows_not_finite(tracked.predicted)
    if broken.any():
        line = first_row(broken)
        raise ResultsError(f"{tracked.source}:{line}: not four finite numbers")
    negative = tracked.predicted[:, 2:].min(axis=1) < 0
    if negative.any():
        line = first_row(negative)
        width, height = tracked.predicted[line - 1, 2:]
        raise ResultsError(f"{tracked.source}:{line}: negative size {width:g} x {height:g}")


def _check_truth(tracked: TrackedSequence, kind: str) -> None:
    absent = rows_with_nan(tracked.ground_truth)
    if kind != "uav" and absent.any():
        raise DataError(
            f"{tracked.truth_source}:{first_row(absent)}: NaN in the ground truth, "
            f"which only kind 'uav' allows (this is kind {kind!r})"
        )


def _check_length(tracked: TrackedSequence, protocol: str) -> None:
    found, rows = len(tracked.predicted), len(tracked.ground_truth)
    if found < rows:
        raise ResultsError(
            f"{tracked.source}: {found} rows for {rows} frames; "
            f"{protocol}'s protocol refuses short results: track the sequence again"
        )


def _repair_empty(tracked: TrackedSequence) -> np.ndarray:
    """Predictions (M, 4) whose empty boxes repeat the previous one where there is a target."""
    predicted = np.asarray(tracked.predicted, dtype=np.float64)
    empty = (predicted[:, 2:] == 0).any(axis=1)
    absent = rows_with_nan(tracked.ground_truth)
    shared = min(len(empty), len(absent))
    empty[:shared] &= ~absent[:shared]
    return fill_forward(predicted, empty)


def _visible(tracked: TrackedSequence, kind: str) -> np.ndarray:
    if tracked.visible is not None:
        return np.asarray(tracked.visible, dtype=bool)
    if kind == "lasot":
        raise DataError(
            f"{tracked.truth_source}: kind 'lasot' needs visibility flags "
            "(full_occlusion.txt and out_of_view.txt); score without them as kind 'otb'"
        )
    return np.ones(len(tracked.ground_truth), dtype=bool)
