"""Boxes drawn on pictures, in the colours that they have everywhere in this project."""

from collections.abc import Sequence

import cv2
import numpy as np

Colour = tuple[int, int, int]

# RGB.
TRUTH_COLOUR: Colour = (64, 255, 64)
PREDICTION_COLOUR: Colour = (255, 64, 64)


def draw_box(
    picture: np.ndarray, box: Sequence[float] | np.ndarray, colour: Colour, line: int = 2
) -> None:
    """Draw a box into the picture itself; one that is not finite is left out.

    Args:
        picture: `(H, W, 3)` uint8.
        box: xywh in pixels; it may lie anywhere.
        colour: in the order of the picture's channels.
        line: width of the line in pixels.
    """
    x, y, w, h = (float(value) for value in box)
    corners = np.array([x, y, x + w, y + h])
    if not np.isfinite(corners).all():
        return
    # A wild answer of an untrained network may lie beyond what OpenCV can count.
    reach = 10 * max(picture.shape[:2])
    x1, y1, x2, y2 = np.rint(corners.clip(-reach, reach)).astype(int).tolist()
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, line)
