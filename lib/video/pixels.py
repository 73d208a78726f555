"""Decoded pictures as upright RGB images, in the colours that players show."""

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.utils.grey_range import GreyRange

# Players take the matrix of HD for large pictures whose file does not name one.
_HD_WIDTH, _HD_HEIGHT = 1280, 576
_UNSPECIFIED, _BT709 = 2, 1

logger = logging.getLogger(__name__)


def is_hd(width: int, height: int) -> bool:
    """Whether players take BT.709 for a picture of this size that names no matrix, else BT.601."""
    return width >= _HD_WIDTH or height > _HD_HEIGHT


class PixelConverter:
    """Turns pictures into upright `(H, W, 3)` uint8 RGB, by the matrix and range that they name.

    Grey of more than 8 bits, as thermal cameras write, has one range for the file, that of its
    first picture.
    """

    def __init__(self, path: Path | str) -> None:
        from av.video.reformatter import VideoReformatter

        self.path = path
        self.reformatter = VideoReformatter()
        self.grey_range: GreyRange | None = None

    def __call__(self, picture: Any) -> np.ndarray:
        return upright(self._pixels(picture), _display_matrix(picture))

    def _pixels(self, picture: Any) -> np.ndarray:
        if picture.format.name.startswith("gray") and picture.format.components[0].bits > 8:
            return self._deep_grey(picture)
        if is_hd(picture.width, picture.height) and picture.colorspace == _UNSPECIFIED:
            picture.colorspace = _BT709
        return self.reformatter.reformat(picture, format="rgb24").to_ndarray()

    def _deep_grey(self, picture: Any) -> np.ndarray:
        values = self.reformatter.reformat(picture, format="gray16le").to_ndarray()
        if self.grey_range is None:
            self.grey_range = GreyRange.of(values)
            logger.warning(
                "%s: grey of more than 8 bits; values of %s become 0 to 255 in the whole clip (the "
                "range of its first frame, a little widened)",
                self.path,
                self.grey_range,
            )
        return cv2.cvtColor(self.grey_range.apply(values), cv2.COLOR_GRAY2RGB)


def _display_matrix(picture: Any) -> np.ndarray | None:
    """The 2 x 2 part of a picture's display matrix, None where it has none."""
    from av.sidedata.sidedata import Type

    data = picture.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return None
    return np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2]


def shown_shape(picture: Any) -> tuple[int, ...]:
    """Height and width of a decoded picture when it is upright."""
    pixels = np.empty((picture.height, picture.width), np.uint8)
    return upright(pixels, _display_matrix(picture)).shape


def upright(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """An image turned and mirrored as its display matrix says, by the nearest quarter turn.

    Args:
        image: `(H, W, 3)`.
        matrix: `(2, 2)`; a point (x, y) is shown at (x, y) @ matrix, up to a shift.
    """
    if matrix is None:
        return image
    (a, b), (c, d) = matrix.tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = cv2.transpose(image), c, b
    if a < 0 or d < 0:
        image = cv2.flip(image, -1 if a < 0 and d < 0 else int(a < 0))
    return image
