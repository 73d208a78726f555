"""GOT-10k's own protocol: overlaps of the counted frames, to be pooled over all sequences."""

import numpy as np

from lib.analysis.frames import TrackedSequence, first_row, rows_not_finite
from lib.utils.boxes import iou_xywh
from lib.utils.errors import DataError, ResultsError


def counted_overlaps(
    tracked: TrackedSequence, *, cover: bool | None, bound: bool | None
) -> np.ndarray:
    """IoU (K,) of the frames that count: all but the first, and but hidden ones.

    Args:
        tracked: the sequence.
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
