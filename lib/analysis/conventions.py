"""The named choices of scoring: kinds of data sets, and conventions of the toolkits.

A convention is one toolkit's reading of the rules; `docs/scores.md` says in words where they
differ and which numbers were made with which.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from lib.analysis.frames import FrameErrors, TrackedSequence, first_row, rows_not_finite
from lib.analysis.ope import (
    got10k_ope_errors,
    lasot_matlab_errors,
    otb_matlab_errors,
    pytracking_errors,
    trek150_errors,
)
from lib.utils.boxes import iou_xywh
from lib.utils.errors import DataError, ResultsError, SeqTrackError, did_you_mean


def counted_overlaps(
    tracked: TrackedSequence, *, cover: bool | None, bound: bool | None
) -> np.ndarray:
    """IoU (K,) of the frames that count: all but the first, and but hidden ones.

    Args:
        cover: leave out frames where nothing of the target is visible; None: if flags are there.
        bound: clip both boxes to the image first; None: if its size is there.

    Raises:
        ResultsError: another number of rows than frames, or a value that is not finite.
        DataError: flags or image size are asked for and missing.
    """
    found, rows = len(tracked.predicted), len(tracked.ground_truth)
    if found != rows:
        raise ResultsError(
            f"{tracked.source}: {found} rows for {rows} frames; "
            "GOT-10k's protocol needs as many: track the sequence again"
        )
    for boxes, source, error in (
        (tracked.predicted, tracked.source, ResultsError),
        (tracked.ground_truth, tracked.truth_source, DataError),
    ):
        broken = rows_not_finite(boxes)
        if broken.any():
            raise error(f"{source}:{first_row(broken)}: not four finite numbers")
    truth = np.asarray(tracked.ground_truth, dtype=np.float64)
    predicted = np.asarray(tracked.predicted, dtype=np.float64)
    if bound or (bound is None and tracked.resolution is not None):
        size = _required(tracked, tracked.resolution, "the size of its images")
        truth, predicted = clip_to_image(truth, size), clip_to_image(predicted, size)
    overlap = iou_xywh(predicted, truth)[1:]
    if cover or (cover is None and tracked.cover is not None):
        return overlap[_required(tracked, tracked.cover, "its cover flags")[1:] > 0]
    return overlap


def clip_to_image(boxes: np.ndarray, size: tuple[int, int] | np.ndarray) -> np.ndarray:
    """Boxes (N, 4) inside an image of `size` (width, height), in the toolkit's way.

    The corner is clipped first and the size after it, so a box that starts left of the image is
    moved, not cropped.

    Example:
        >>> clip_to_image(np.array([[-10.0, 5.0, 40.0, 90.0]]), (100, 80)).tolist()
        [[0.0, 5.0, 40.0, 75.0]]
    """
    limit = np.asarray(size, dtype=np.float64)
    corner = np.clip(boxes[:, :2], 0.0, limit)
    return np.concatenate([corner, np.clip(boxes[:, 2:], 0.0, limit - corner)], axis=1)


def _required(tracked: TrackedSequence, value: object, words: str) -> np.ndarray:
    if value is None:
        raise DataError(
            f"{tracked.truth_source}: GOT-10k's protocol needs {words}; "
            "convention 'got10k_toolkit' uses what there is, 'no_cover_no_bound' neither"
        )
    return np.asarray(value)


KINDS = (
    "lasot",
    "lasot_extension_subset",
    "otb",
    "uav",
    "nfs",
    "tnl2k",
    "tc128",
    "avist",
    "itb",
    "vasttrack",
    "got10k_val",
    "trek150",
)
# Conventions of the protocols that are not SeqTrack's reading of one-pass evaluation.
_OFFICIAL = {"got10k_val": "cover_bound", "trek150": "trek150_toolkit"}


@dataclass(frozen=True)
class OpeConvention:
    """How one toolkit reads one-pass evaluation."""

    # (sequence, kind) to the errors of its frames
    errors: Callable[[TrackedSequence, str], FrameErrors]
    accepts_nan: bool = False  # whether NaN in the results is repaired instead of refused
    drops_lost_sequences: bool = False  # whether curves that are zero throughout leave the mean
    # What becomes of frames without a result, for messages
    short_results: str = "the frames without a result count as lost"


@dataclass(frozen=True)
class Got10kConvention:
    """How GOT-10k's own protocol is applied; `overlaps` gives those that count, to be pooled."""

    overlaps: Callable[[TrackedSequence], np.ndarray]


Convention = OpeConvention | Got10kConvention


def _toolkit_ope(skip_nan: bool) -> OpeConvention:
    return OpeConvention(
        partial(got10k_ope_errors, skip_nan=skip_nan),
        short_results="the frames without a result are left out",
    )


def _otb(decimals: int | None) -> OpeConvention:
    return OpeConvention(
        partial(otb_matlab_errors, decimals=decimals),
        accepts_nan=True,
        short_results="the last box is repeated",
    )


def _toolkit_own(cover: bool | None, bound: bool | None) -> Got10kConvention:
    return Got10kConvention(partial(counted_overlaps, cover=cover, bound=bound))


OPE_CONVENTIONS: Mapping[str, OpeConvention] = MappingProxyType(
    {
        "seqtrack_lib_test": OpeConvention(pytracking_errors),
        "pytracking": OpeConvention(partial(pytracking_errors, all_positive=True)),
        "seqtrack_exclude_invalid_frames": OpeConvention(
            partial(pytracking_errors, valid_only=True)
        ),
        "pytracking_exclude_invalid_frames": OpeConvention(
            partial(pytracking_errors, all_positive=True, valid_only=True)
        ),
        "lasot_matlab_port": OpeConvention(
            lasot_matlab_errors, accepts_nan=True, drops_lost_sequences=True
        ),
        "otb_matlab": _otb(decimals=None),
        "otb_python_port": _otb(decimals=4),
        "got10k_toolkit_OPE_otb": _toolkit_ope(skip_nan=False),
        "got10k_toolkit_OPE_nfs": _toolkit_ope(skip_nan=False),
        "got10k_toolkit_OPE_tc128": _toolkit_ope(skip_nan=False),
        "got10k_toolkit_OPE_uav": _toolkit_ope(skip_nan=True),
        "got10k_toolkit_OPE_lasot": _toolkit_ope(skip_nan=True),
        "trek150_toolkit": OpeConvention(trek150_errors),
    }
)
GOT10K_CONVENTIONS: Mapping[str, Got10kConvention] = MappingProxyType(
    {
        "cover_bound": _toolkit_own(cover=True, bound=True),
        "cover": _toolkit_own(cover=True, bound=False),
        "bound": _toolkit_own(cover=False, bound=True),
        "no_cover_no_bound": _toolkit_own(cover=False, bound=False),
        "got10k_toolkit": _toolkit_own(cover=None, bound=None),
    }
)


def check_kind(kind: str) -> None:
    """Raise DataError unless `kind` is one of KINDS."""
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS)
        raise DataError(f"unknown scoring protocol {kind!r}{hint} (known: {', '.join(KINDS)})")


def default_convention(kind: str) -> str:
    """The convention of the official protocol of `kind`. Raises DataError: unknown kind."""
    check_kind(kind)
    return _OFFICIAL.get(kind, "seqtrack_lib_test")


def convention_names() -> list[str]:
    return [*OPE_CONVENTIONS, *GOT10K_CONVENTIONS]


def convention_named(name: str) -> Convention:
    """The convention called `name`.

    Raises:
        SeqTrackError: there is none; the message lists them.
    """
    found: Convention | None = OPE_CONVENTIONS.get(name) or GOT10K_CONVENTIONS.get(name)
    if found is None:
        names = convention_names()
        hint = did_you_mean(name, names)
        raise SeqTrackError(
            f"unknown scoring convention {name!r}{hint} (known: {', '.join(names)})"
        )
    return found
