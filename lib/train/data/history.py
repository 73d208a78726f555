"""The boxes before the search frame, as a tracker would know them.

A tracker cuts the search region around its last box, so the newest box of a sample's history is
the very box that its search region is cut around: the true one of the frame before, moved by the
jitter of DATA.SEARCH. The others are moved with it, and by noise of their own. So neither is the
target where the newest box is, nor can the present box be copied from the past; what the past does
tell is how the target was moving. Source of the idea: ARTrack (Wei et al., CVPR 2023).
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.config.schema.training import HistorySampling
from lib.datasets.text.boxes import read_boxes
from lib.datasets.training.sample import FrameSample
from lib.utils.boxes import iou_xywh
from lib.utils.errors import DataError

_ON_TARGET = 0.3  # least IoU with the truth of a box that a tracker would go on from
_RESIZING = 0.02  # standard deviation of the log size's change per frame, in made-up motions


class PastNoise(NamedTuple):
    """The random numbers of a history of N boxes."""

    normal: np.ndarray  # `(N, 4)`, for centres and log sizes; that of the newest one is not used
    known: int  # boxes that are known, the newest ones


def boxes_before(boxes: np.ndarray, visible: np.ndarray, index: int, count: int) -> np.ndarray:
    """The boxes `(count, 4)` of the frames before number `index`, oldest first; NaN where the
    target is not visible, or there is no frame."""
    frames = np.arange(index - count, index)
    there = (frames >= 0) & np.asarray(visible)[frames.clip(0)]
    return np.where(there[:, None], boxes[frames.clip(0)], np.nan)


def tracked_boxes(folder: Path, name: str, true: np.ndarray) -> np.ndarray:
    """The boxes `(N, 4)` that a tracker has found in a video; the true ones where it was off.

    Raises:
        DataError: there is no such file, or it is of another number of frames.
    """
    path = folder / f"{name}.txt"
    found = read_boxes(path)
    if len(found) != len(true):
        raise DataError(
            f"{path} has {len(found)} rows, and the video {len(true)} frames; track the videos of "
            "the training anew for DATA.HISTORY.TRACKED"
        )
    off = np.nan_to_num(iou_xywh(found, np.asarray(true, np.float64))) < _ON_TARGET
    return np.where(off[:, None], true, found)


def draw_noise(rng: np.random.Generator, rule: HistorySampling, count: int) -> PastNoise:
    """The random numbers of one sample."""
    known = int(rng.integers(count)) if rng.random() < rule.drop else count
    return PastNoise(rng.standard_normal((count, 4)), known)


def with_motion(
    rng: np.random.Generator, draw: FrameSample, rule: HistorySampling, count: int
) -> FrameSample:
    """A draw without frames before its search frame, as if its target had moved there steadily."""
    box = np.asarray(draw.sightings[-1].box, np.float64)
    way = rule.speed * np.sqrt(box[2:].prod()) * rng.standard_normal(2)
    growth = _RESIZING * rng.standard_normal(2)
    ago = np.arange(count, 0, -1)[:, None]
    sizes = box[2:] * np.exp(-ago * growth)
    centres = box[:2] + box[2:] / 2 - ago * way
    return replace(draw, before=np.concatenate([centres - sizes / 2, sizes], axis=1))


def past_boxes(
    before: np.ndarray, around: np.ndarray, noise: PastNoise, jitter: float
) -> np.ndarray:
    """What a tracker would know of the frames before.

    Args:
        before: `(N, 4)` true boxes xywh, oldest first, NaN where there is none.
        around: `(4,)` the box that the search region is cut around.
        noise: of this sample.
        jitter: see `HistorySampling`.

    Returns:
        `(N, 4)`; the last one is `around` unless it is not known.
    """
    newest, count = before[-1], len(before)
    scale = around[2:] / newest[2:]
    centres = before[:, :2] + before[:, 2:] / 2
    ways = (centres - centres[-1]) * np.sqrt(scale.prod())
    noisy = jitter * noise.normal
    noisy[-1] = 0
    sizes = before[:, 2:] * scale * np.exp(noisy[:, 2:])
    moved = around[:2] + around[2:] / 2 + ways + noisy[:, :2] * np.sqrt(around[2:].prod())
    found = np.concatenate([moved - sizes / 2, sizes], axis=1)
    found[: count - noise.known] = np.nan
    return found
