"""How far targets move between frames, and so where a tracker sees them in its search region.

A tracker cuts the search region around its last box. Among things that look alike, the one that is
nearest to the middle is mostly the target, and by how much depends on how the targets of these
videos move. A network that was trained with larger shifts than those trusts the middle too little.
"""

import numpy as np

from lib.datasets.sequence import Dataset, Video
from lib.datasets.training.listing import has_area

# Of the steps; what is farther is a cut, or a wrong box.
_COVERED = 0.99
# How far off a tracker's last box may be itself, in units of sqrt(box area).
_OWN_ERROR = 0.25


def fitting_jitter(dataset: Dataset, most: float) -> float:
    """The DATA.SEARCH.CENTER_JITTER that videos with boxes in all frames ask for.

    It covers what targets move from one frame to the next, and a tracker's own error: twice their
    sum along one axis, in units of `sqrt(box area)`, for the range goes both ways.

    Args:
        dataset: the videos.
        most: it is never larger; and this if no target is visible in two frames in a row.

    Raises:
        DataError: an annotation cannot be read.
    """
    steps = [steps_of(dataset.load(name)) for name in dataset.sequence_names]
    moved = np.abs(np.concatenate(steps))
    if not moved.size:
        return most
    return min(most, 2 * (float(np.quantile(moved, _COVERED)) + _OWN_ERROR))


def steps_of(video: Video) -> np.ndarray:
    """How the target's centre moved between neighbouring frames, `(N, 2)`, in units of
    `sqrt(box area)` of the later one; frames without the target are left out with their steps."""
    boxes = np.asarray(video.ground_truth, np.float64)
    shown = has_area(boxes)
    if video.visible is not None and len(video.visible) == len(shown):
        shown &= video.visible
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    both = shown[1:] & shown[:-1]
    side = np.sqrt(boxes[1:, 2:].prod(axis=1))[both]
    return (centres[1:] - centres[:-1])[both] / side[:, None]
