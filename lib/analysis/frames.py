"""What the metrics read and what they measure per frame; the box arithmetic they share."""

from dataclasses import dataclass

import numpy as np

from lib.datasets.sequence import Video
from lib.utils.errors import DataError, ResultsError


@dataclass(frozen=True, eq=False)
class TrackedSequence:
    """One sequence with its ground truth and the boxes that a tracker gave.

    Raises:
        DataError: ground truth or flags have the wrong shape.
        ResultsError: the predictions are not (M, 4).
    """

    name: str  # unique within the data set
    # (N, 4) x, y, w, h in pixels; NaN where the benchmark marks absence so
    ground_truth: np.ndarray
    predicted: np.ndarray  # (M, 4) x, y, w, h in pixels; M may differ from N, the protocol decides
    # (N,) true where the target is visible, None without such flags
    visible: np.ndarray | None = None
    cover: np.ndarray | None = None  # (N,) visible eighths of the target, 0..8 (GOT-10k)
    resolution: tuple[int, int] | None = None  # (width, height) of the frames in pixels (GOT-10k)
    results_file: str = ""  # what to call the predictions in a message, a path mostly
    annotation: str = ""  # what to call the ground truth in a message, a path mostly
    # (M,) in [0, 1], how sure a calibrated tracker was
    certainty: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that would be broadcast into wrong numbers."""
        rows, shape = len(self.ground_truth), np.shape(self.ground_truth)
        if shape != (rows, 4) or not rows:
            raise DataError(f"{self.truth_source}: ground truth is {shape}, expected (N, 4)")
        if np.shape(self.predicted) != (len(self.predicted), 4):
            shape = np.shape(self.predicted)
            raise ResultsError(f"{self.source}: results are {shape}, expected (M, 4)")
        for flags, word in ((self.visible, "visibility"), (self.cover, "cover")):
            if flags is not None and np.shape(flags) != (rows,):
                raise DataError(f"{self.truth_source}: {len(flags)} {word} flags for {rows} frames")

    @property
    def source(self) -> str:
        """What to call the predictions in a message."""
        return self.results_file or f"results of {self.name}"

    @property
    def truth_source(self) -> str:
        """What to call the ground truth in a message."""
        return self.annotation or f"ground truth of {self.name}"


def join(
    video: Video, predicted: np.ndarray, with_size: bool, results_file: str = ""
) -> TrackedSequence:
    """A sequence with the boxes that a tracker gave for it.

    Args:
        video: has the ground truth.
        predicted: (M, 4) x, y, w, h in pixels.
        with_size: read a frame for its size, which only GOT-10k's rules ask for.
        results_file: where the predictions come from.

    Raises:
        DataError: ground truth or flags have the wrong shape, or the frame cannot be read.
        ResultsError: the predictions are not (M, 4).
    """
    return TrackedSequence(
        name=video.name,
        ground_truth=video.ground_truth,
        predicted=predicted,
        visible=video.visible,
        cover=video.cover,
        resolution=video.resolution if with_size else None,
        results_file=results_file,
        annotation=video.annotation,
    )


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """How far off a tracker was in each frame, the special frames already marked.

    A value that no threshold passes makes the frame a miss, one that every threshold passes a
    hit: overlap -1 is a miss, an error of +inf a miss, an error of -1 a hit.
    """

    overlap: np.ndarray  # (N,) IoU
    center: np.ndarray  # (N,) distance of the centres in pixels
    # (N,) distance of the centres in units of the ground truth's width and height
    normalised: np.ndarray
    valid: np.ndarray  # (N,) frames with a usable ground truth
    counted: int  # number of frames that the counts are divided by
    predicted: np.ndarray  # (N, 4) boxes that were compared, xywh
    truth: np.ndarray  # (N, 4) what they were compared with


def rows_with_nan(boxes: np.ndarray) -> np.ndarray:
    """Which rows of `boxes` (N, 4) hold a NaN, as (N,) bool."""
    return np.isnan(boxes).any(axis=1)


def rows_not_finite(boxes: np.ndarray) -> np.ndarray:
    """Which rows of `boxes` (N, 4) hold a NaN or an infinity, as (N,) bool."""
    return np.logical_not(np.isfinite(boxes)).any(axis=1)


def first_row(flags: np.ndarray) -> int:
    """Line number (from 1) of the first true entry of `flags` (N,)."""
    return int(np.argmax(flags)) + 1


def fill_forward(boxes: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """A copy of `boxes` (N, 4) whose `bad` rows (N,) hold the last row that is not bad.

    Row 0 is never replaced, and hands its value on even if it is bad itself.

    Example:
        >>> fill_forward(np.arange(12).reshape(3, 4), np.array([False, True, True])).tolist()
        [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    """
    rows = np.arange(len(boxes))
    source = np.where(bad, 0, rows)
    return boxes[np.maximum.accumulate(source)]


def fit_length(boxes: np.ndarray, rows: int) -> np.ndarray:
    """A copy of `boxes` (M, 4) with exactly `rows` rows: cut, or padded with 0, 0, 0, 0."""
    fitted = np.zeros((rows, 4))
    kept = min(rows, len(boxes))
    fitted[:kept] = boxes[:kept]
    return fitted


def pixel_overlap(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU (N,) of boxes (N, 4) counted in whole pixels, as OTB's and PyTracking's code do it.

    The last pixel is x + w - 1, and one is added back to every extent: equal to the continuous
    IoU but for rounding, which is kept because a tie with a threshold depends on it. NaN where
    the union is empty or the ground truth is NaN.
    """
    start = np.maximum(predicted[:, :2], truth[:, :2])
    end = np.minimum(predicted[:, :2] + predicted[:, 2:] - 1.0, truth[:, :2] + truth[:, 2:] - 1.0)
    shared = np.maximum(end - start + 1.0, 0.0).prod(axis=1)
    union = predicted[:, 2:].prod(axis=1) + truth[:, 2:].prod(axis=1) - shared
    with np.errstate(divide="ignore", invalid="ignore"):
        return shared / union


def center_distance(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Euclidean distance (N,) of the centres x + (w - 1) / 2 of boxes (N, 4), in pixels."""
    return _length(centers(predicted) - centers(truth))


def normalised_distance(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance (N,) of the centres after division by the ground truth's width and height.

    Dividing before subtracting is what PyTracking's and LaSOT's code does; it rounds otherwise
    than the reverse, and real sequences have errors that tie with a threshold.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _length(centers(predicted) / truth[:, 2:] - centers(truth) / truth[:, 2:])


def bounded_normalised_distance(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The GOT-10k toolkit's normalised distance (N,): subtracts first, divides by 1 at least."""
    offset = centers(predicted) - centers(truth)
    return _length(offset / np.maximum(1.0, truth[:, 2:]))


def centers(boxes: np.ndarray) -> np.ndarray:
    """Centres (N, 2) of boxes (N, 4) whose last pixel is x + w - 1."""
    return boxes[:, :2] + 0.5 * (boxes[:, 2:] - 1.0)


def _length(offset: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(offset).sum(axis=1))
