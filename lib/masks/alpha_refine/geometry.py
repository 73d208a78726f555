"""The window that the mask network looks at, and the way back to the frame.

Twice the box in width and in height, each resized to the network's side, so the aspect ratio is
not kept, unlike in the box tracker's square crop. The rounding and the border rule below decide
which pixels released weights give, so they are kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lib.utils.crop import MAX_SIDE
from lib.utils.errors import DataError

# Window per box, in width and in height.
FACTOR = 2.0


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels; it may leave the frame."""

    x: int  # its first column
    y: int  # its first row
    width: int  # columns
    height: int  # rows

    @classmethod
    def around(cls, box: Sequence[float] | np.ndarray) -> "Window":
        """The window of an xywh box.

        Raises:
            DataError: the box is not finite, has no area, or is larger than any image.
        """
        x, y, w, h = (float(v) for v in box)
        text = f"the box ({x:g}, {y:g}, {w:g}, {h:g})"
        if not all(map(math.isfinite, (x, y, w, h))):
            raise DataError(f"no mask can be found in {text}: it is not finite")
        if w <= 0 or h <= 0:
            raise DataError(f"no mask can be found in {text}: width and height must be above 0")
        if FACTOR * max(w, h) > MAX_SIDE:
            raise DataError(
                f"no mask can be found in {text}: twice its size is more than {MAX_SIDE} pixels"
            )
        width, height = math.ceil(FACTOR * w), math.ceil(FACTOR * h)
        # Python's round: ties go to the even integer, as in the reference.
        return cls(
            round(x + 0.5 * w - 0.5 * width), round(y + 0.5 * h - 0.5 * height), width, height
        )

    def scale(self, side: int) -> tuple[float, float]:
        """Network pixels per frame pixel, across and down, for a network of this side."""
        return side / self.width, side / self.height

    def cut(self, image: np.ndarray, side: int) -> np.ndarray:
        """The window out of a frame, resized.

        Args:
            image: `(H, W, 3)` uint8.
            side: pixels along a side of the result.

        Returns:
            `(side, side, 3)` uint8, black where the window leaves the frame.
        """
        rows, columns = image.shape[:2]
        # A window that reaches the last column or row does not see it.
        columns -= self.x + self.width >= columns
        rows -= self.y + self.height >= rows
        window = np.zeros((self.height, self.width, 3), np.uint8)
        there, here = self._overlap(rows, columns)
        window[here] = image[there]
        return cv2.resize(window, (side, side), interpolation=cv2.INTER_LINEAR)

    def map_back(self, values: np.ndarray, rows: int, columns: int) -> np.ndarray:
        """Put a map over the window into the frame.

        Args:
            values: `(S, S)` float32.

        Returns:
            `(rows, columns)` float64, 0 outside the window. Here the last row and column count.
        """
        canvas = np.zeros((rows, columns))
        resized = cv2.resize(values, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        there, here = self._overlap(rows, columns)
        canvas[there] = resized[here]
        return canvas

    def _overlap(self, rows: int, columns: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part of the window that lies in a frame, as slices of the frame and of the window."""
        top, bottom = _clipped(self.y, self.height, rows)
        left, right = _clipped(self.x, self.width, columns)
        there = slice(top, bottom), slice(left, right)
        here = slice(top - self.y, bottom - self.y), slice(left - self.x, right - self.x)
        return there, here


def _clipped(start: int, length: int, size: int) -> tuple[int, int]:
    """Where `[start, start + length)` begins and ends within `[0, size)`."""
    first = min(max(start, 0), start + length)
    return first, max(first, min(start + length, size))


def box_in_window(box: np.ndarray, window: Window, side: int) -> np.ndarray:
    """The xywh box that the window was made around, in pixels of the resized window.

    Its centre is the middle of the window: the rounding of the window's place is left out.

    Args:
        box: `(4,)` float32 xywh in the frame.
        window: the window around it.
        side: pixels along a side of the resized window.

    Returns:
        `(4,)` float32 xywh, its corners within [0, side].
    """
    half = np.asarray(box, np.float32)[2:] * np.asarray(window.scale(side), np.float32) / 2
    middle = np.float32((side - 1) / 2)
    first = np.clip(middle - half, 0, side).astype(np.float32)
    last = np.clip(middle + half, 0, side).astype(np.float32)
    return np.concatenate([first, last - first])
