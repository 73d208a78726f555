"""What the player shows of a sequence frame by frame: boxes, overlaps, confidences; packed."""

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from lib.analysis.compare import read_tracked
from lib.analysis.conventions import Convention, OpeConvention
from lib.analysis.frames import TrackedSequence, fit_length
from lib.datasets.sequence import Video
from lib.results.files import ResultsFolder, read_column
from lib.results.find import ResultFiles

# Whole numbers per pixel, per unit of overlap and per unit of confidence; the page divides again.
BOX_STEPS = 10
OVERLAP_STEPS = 1000
CONFIDENCE_STEPS = 1000
# Stands for "no value"; every value is kept clear of it.
MISSING = -(2**31)
_LARGEST = 2**30


@dataclass(frozen=True, eq=False)
class Track:
    """What one tracker did in one sequence of N frames."""

    boxes: np.ndarray  # (N, 4) x, y, w, h as they lie in the result file, NaN where it has none
    overlap: np.ndarray  # (N,) IoU by the rules of the convention, NaN where a frame is not scored
    # (N,) on the tracker's own scale, NaN where unknown; None without any
    confidence: np.ndarray | None = None


def read_track(video: Video, files: ResultFiles, kind: str, convention: Convention) -> Track:
    """Read what a tracker left about `video` among its result files.

    Raises:
        ResultsError: the boxes are missing or malformed, or refused by the convention.
        DataError: the ground truth is.
    """
    tracked = read_tracked(video, files, convention)
    rows = len(tracked.ground_truth)
    boxes = fit_length(np.asarray(tracked.predicted, dtype=np.float64), rows)
    boxes[len(tracked.predicted) :] = np.nan
    path = ResultsFolder(files.folder).confidence_file(video.name)
    confidence = read_column(path, rows) if path.is_file() else None
    return Track(boxes, frame_overlaps(tracked, kind, convention), confidence)


def frame_overlaps(tracked: TrackedSequence, kind: str, convention: Convention) -> np.ndarray:
    """IoU (N,) of every frame that the convention scores, NaN elsewhere.

    Raises:
        ResultsError: the protocol refuses the predictions.
        DataError: it refuses the ground truth.
    """
    overlap = np.full(len(tracked.ground_truth), np.nan)
    if isinstance(convention, OpeConvention):
        errors = convention.errors(tracked, kind)
        overlap[: len(errors.overlap)][errors.valid] = errors.overlap[errors.valid]
        return overlap
    found = convention.overlaps(tracked)
    counted = np.arange(1, len(overlap))
    if len(found) != len(counted) and tracked.cover is not None:
        counted = counted[np.asarray(tracked.cover)[1:] > 0]
    overlap[counted] = found
    return overlap


def pack(truth: np.ndarray, tracks: list[Track]) -> str:
    """Everything that changes from frame to frame as one short text.

    The rows are those of the ground truth's x, y, w, h, then of every tracker its x, y, w, h,
    overlap and, if it has one, confidence. Whole numbers; differences along the frames; all first
    bytes, all second bytes and so on, which makes long runs of zeros; deflate; base64.

    Args:
        truth: (N, 4) boxes.
        tracks: of the trackers, N frames each.
    """
    rows = [*_steps(truth.T, BOX_STEPS)]
    for track in tracks:
        rows += [*_steps(track.boxes.T, BOX_STEPS), _steps(track.overlap, OVERLAP_STEPS)]
        if track.confidence is not None:
            rows.append(_steps(track.confidence, CONFIDENCE_STEPS))
    steps = np.diff(np.array(rows), axis=1, prepend=0)
    # Differences of 32-bit numbers may take 33 bits; what is cut off comes back when they are
    # added up with the same overflow.
    planes = steps.astype(np.int64).astype("<u4", casting="unsafe").view(np.uint8)
    shuffled = planes.reshape(-1, 4).T.tobytes()
    return base64.b64encode(zlib.compress(shuffled, 9)).decode("ascii")


def _steps(values: np.ndarray, steps: int) -> np.ndarray:
    known = np.isfinite(values)
    rounded = np.rint(np.where(known, values, 0) * steps).clip(-_LARGEST, _LARGEST)
    return np.where(known, rounded, MISSING).astype(np.int64)
