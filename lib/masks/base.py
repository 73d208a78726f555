"""From a box to a mask: what follows the box tracker where a benchmark asks for masks.

A refiner looks at the frame and at the box that the tracker found, and says which pixels are
the target. It never talks back: the tracker's state, its templates and its search region depend
on its own boxes only, so a tracker with a refiner gives the boxes of the tracker alone.

`alpha_refine` is the published method; `sam2` is another method with the same two functions,
whose results must not be reported under the published name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lib.utils.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:  # the names of the kinds are wanted where torch is not
    import torch


class MaskRefiner(Protocol):
    """Turns boxes of one target into masks; reusable for the next target.

    A frame is a `(H, W, 3)` uint8 RGB image, a box is xywh in its pixels.
    """

    def initialise(self, image: np.ndarray, box: np.ndarray) -> None:
        """Start on a new target; nothing of an earlier one may remain.

        Raises:
            DataError: the box is not finite, or has no area.
        """

    def get_mask(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The target's pixels in a frame, given the box tracker's box in it.

        Returns:
            `(H, W)` uint8, contiguous, 1 on the target and 0 elsewhere; it may be empty.

        Raises:
            DataError: the box is not finite, or has no area.
        """


@dataclass(frozen=True)
class RefinerKind:
    """What there is to know of a kind of refiner without building it."""

    method: str  # its name, for people
    suffix: str  # what follows the configuration in the name of a tracker (`seqtrack_b256_ar`)
    published: bool  # whether tracker and refiner together are the method with published results


REFINERS: Mapping[str, RefinerKind] = {
    "alpha_refine": RefinerKind("Alpha-Refine", "ar", published=True),
    "sam2": RefinerKind("SAM 2", "sam2", published=False),
}


def build_refiner(
    kind: str, checkpoint: Path | None = None, device: "torch.device | str" = "cpu"
) -> MaskRefiner:
    """A refiner with its weights, ready for `initialise`.

    Args:
        kind: a key of `REFINERS`.
        checkpoint: the weights: a file for `alpha_refine`, a folder for `sam2`. None takes the
            documented place.

    Raises:
        ConfigError: there is no such kind.
        CheckpointError: the weights are missing, unsafe, damaged or of another network.
        MissingExtraError: `sam2` needs a package that is not installed.
    """
    if kind == "alpha_refine":
        from lib.masks.alpha_refine.stage import AlphaRefiner

        return AlphaRefiner.from_checkpoint(checkpoint, device)
    if kind == "sam2":
        from lib.masks.sam2 import Sam2Refiner

        return Sam2Refiner.from_folder(checkpoint, device)
    hint = did_you_mean(kind, REFINERS) or f"; choose of {', '.join(REFINERS)}"
    raise ConfigError(f"there is no mask refiner {kind!r}{hint}")


def fit_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask as large as the frame: zeros are added, or pixels dropped, right and below.

    VOT's masks end where the target does.

    Args:
        mask: `(h, w)`, any number type.
        height: rows of the frame.
        width: columns of the frame.

    Returns:
        `(height, width)` uint8, contiguous, 0 and 1.
    """
    full = np.zeros((height, width), np.uint8)
    part = mask[:height, :width]
    full[: part.shape[0], : part.shape[1]] = part != 0
    return full


def mask_bounds(mask: np.ndarray) -> np.ndarray:
    """The tight box around a mask: `(4,)` float32 xywh in pixels.

    Raises:
        DataError: the mask is empty.

    Example:
        >>> mask_bounds(np.array([[0, 0, 0], [0, 1, 1]]))
        array([1., 1., 2., 1.], dtype=float32)
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        height, width = mask.shape
        raise DataError(f"the mask of {width} x {height} pixels that starts the target is empty")
    x, y = columns[0], rows[0]
    return np.array([x, y, columns[-1] - x + 1, rows[-1] - y + 1], np.float32)
