"""Grey pictures of more than 8 bits: which of their values become 0 and 255.

A thermal camera uses 12 or 14 of 16 bits, and little of those at a time: the upper byte alone is
nearly black. One range for a whole clip keeps a target's brightness from frame to frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Of the range, on both sides: what later becomes warmer or colder than the first frame.
_MARGIN = 1 / 8
# Where all pixels are equal, the range is that of the smallest of these that holds them.
_BITS = (8, 10, 12, 14, 16, 32)


@dataclass(frozen=True)
class GreyRange:
    """The values that become 0 and 255; what lies beyond them becomes that, too."""

    low: float
    high: float

    @classmethod
    def of(cls, image: np.ndarray) -> "GreyRange":
        """The range of an image `(H, W)`, a little widened; single dead pixels do not count."""
        values = image if image.dtype == np.uint16 else image.astype(np.float32)
        finite = np.isfinite(values)
        if not finite.any():
            return cls(0.0, 1.0)
        values = np.where(finite, values, values[finite].min())
        if min(values.shape) >= 3:
            values = cv2.medianBlur(values, 3)
        low, high = float(values.min()), float(values.max())
        if low == high:
            return cls(0.0, next((2.0**bits - 1 for bits in _BITS if abs(high) < 2**bits), 1.0))
        margin = (high - low) * _MARGIN
        # Where no value is negative, a range that begins below 0 would lose levels for nothing.
        return cls(max(low - margin, 0.0) if low >= 0 else low - margin, high + margin)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """An image `(H, W)` of numbers as uint8; no number (NaN) becomes 0."""
        values = np.nan_to_num(image.astype(np.float32), nan=self.low)
        scaled = (values - self.low) * (255 / (self.high - self.low))
        return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)

    def __str__(self) -> str:
        """For messages.

        Example:
            >>> str(GreyRange(6692.4, 9250.0))
            '6692.4 to 9250'
        """
        return f"{self.low:.5g} to {self.high:.5g}"
