"""The one square crop of SeqTrack, and the way back from it.

Template and search region are cut the same way in training and in testing: a square of
`factor` times the target's geometric mean side, sqrt(w * h), centred on a box, black where it
leaves the image, resized to a fixed side. Source: the reference framework's `sample_target`; the
rounding and the one-pixel border rule below decide which boxes released weights give, so they are
kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lib.utils.boxes import Box
from lib.utils.errors import DataError

# A square of this side takes 3 GB; only a box that is far larger than any image asks for more.
MAX_SIDE = 32000


@dataclass(frozen=True)
class Crop:
    """A square crop and what is needed to map a box back."""

    pixels: np.ndarray  # `(S, S, 3)` uint8, the channel order of the image it was cut from
    resize_factor: float  # crop pixels per image pixel
    box: Box  # the xywh box it is centred on, in image pixels


def crop_side(box: Sequence[float], factor: float) -> int:
    """Side in image pixels of the square around an xywh box.

    Raises:
        DataError: the square would be smaller than one pixel or absurdly large, or the box is
            not finite.

    Example:
        >>> crop_side((50, 40, 30, 20), 4.0)
        98
    """
    area = float(box[2]) * float(box[3])
    if not math.isfinite(area) or area < 0:
        raise DataError(f"cannot crop around the box {_text(box)}: width and height must be >= 0")
    side = math.ceil(math.sqrt(area) * factor)
    if side < 1:
        raise DataError(f"cannot crop around the box {_text(box)}: it is smaller than one pixel")
    if side > MAX_SIDE:
        raise DataError(
            f"cannot crop around the box {_text(box)}: the square of {side} pixels is larger "
            f"than {MAX_SIDE}"
        )
    return side


def square_at(box: Sequence[float], factor: float) -> tuple[int, int, int]:
    """Left, top and side in image pixels of the square around an xywh box.

    Raises:
        DataError: as `crop_side`.

    Example:
        >>> square_at((50, 40, 30, 20), 4.0)
        (16, 1, 98)
    """
    side = crop_side(box, factor)
    # Python's round: ties go to the even integer, as in the reference.
    left = round(float(box[0]) + 0.5 * float(box[2]) - 0.5 * side)
    top = round(float(box[1]) + 0.5 * float(box[3]) - 0.5 * side)
    return left, top, side


def cut_square(image: np.ndarray, box: Sequence[float], factor: float) -> np.ndarray:
    """Cut the square around an xywh box, black outside the image, without resizing.

    Args:
        image: `(H, W, 3)` uint8.
        box: xywh in image pixels; its centre may lie outside the image.
        factor: side of the square in units of `sqrt(w * h)`.

    Returns:
        `(side, side, 3)` uint8; a part of `image` itself where the square lies within it.

    Raises:
        DataError: the square is smaller than a pixel or does not touch the image.
    """
    height, width = image.shape[:2]
    x1, y1, side = square_at(box, factor)
    x2, y2 = x1 + side, y1 + side
    left, top = max(0, -x1), max(0, -y1)
    # The +1 blackens the last column or row as soon as the square reaches the border.
    right, bottom = max(0, x2 - width + 1), max(0, y2 - height + 1)
    inside = image[y1 + top : max(0, y2 - bottom), x1 + left : max(0, x2 - right)]
    if inside.size == 0:
        raise DataError(
            f"cannot crop around the box {_text(box)}: the square of {side} pixels lies outside "
            f"the image of {width} x {height}"
        )
    if not (left or top or right or bottom):
        return inside
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)


def crop_square(image: np.ndarray, box: Sequence[float], factor: float, size: int) -> Crop:
    """Cut the square around an xywh box and resize it (bilinear) to `(size, size, 3)`.

    Raises:
        DataError: the square is smaller than a pixel or does not touch the image.
    """
    square = cut_square(image, box, factor)
    pixels = cv2.resize(square, (size, size), interpolation=cv2.INTER_LINEAR)
    x, y, w, h = (float(v) for v in box)
    return Crop(pixels, size / square.shape[0], (x, y, w, h))


def map_box_back(
    cxcywh: Sequence[float], around: Sequence[float], resize_factor: float, size: int
) -> Box:
    """Map a predicted box from the crop's corner to the image.

    Args:
        cxcywh: predicted box in image pixels, relative to the crop's upper left corner.
        around: the xywh box the crop is centred on.
        resize_factor: crop pixels per image pixel.
        size: side of the resized crop.

    Returns:
        xywh in image pixels, not clipped.
    """
    cx, cy, w, h = (float(v) for v in cxcywh)
    half_side = 0.5 * size / resize_factor
    centre_x = cx + (float(around[0]) + 0.5 * float(around[2]) - half_side)
    centre_y = cy + (float(around[1]) + 0.5 * float(around[3]) - half_side)
    return centre_x - 0.5 * w, centre_y - 0.5 * h, w, h


def _text(box: Sequence[float]) -> str:
    return "(" + ", ".join(f"{float(v):g}" for v in box) + ")"


def box_in_crop(box: np.ndarray, crop: Crop) -> np.ndarray:
    """An image box `(..., 4)` xywh in a crop, as float32 xywh that is 0..1 inside it.

    The crop's first and last pixel are 0 and 1, so a side of S pixels counts as S - 1; the
    tracker maps back with S. Released weights were trained and measured so.
    """
    around = np.asarray(crop.box)
    last = crop.pixels.shape[0] - 1
    shift = (box[..., :2] + box[..., 2:] / 2) - (around[:2] + around[2:] / 2)
    centre = (last / 2 + shift * crop.resize_factor) / last
    size = box[..., 2:] * crop.resize_factor / last
    return np.concatenate([centre - size / 2, size], axis=-1).astype(np.float32)
