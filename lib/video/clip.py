"""What a clip is: frames with their times, and what was found in them."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lib.utils.boxes import Box

DEFAULT_FPS = 25.0
# A container may say anything, 0 and 90000 included; what lies outside is no rate of pictures.
FPS_RANGE = (0.1, 1000.0)


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    Attributes:
        index: 0-based.
        time: seconds since the first frame.
        image: `(H, W, 3)` uint8 RGB.
        duration: seconds that it is shown; None where only the next frame's time tells.
    """

    index: int
    time: float
    image: np.ndarray
    duration: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Where a target is.

    Attributes:
        box: xywh in image pixels.
        confidence: 0..1, the mean probability of the four tokens (the reference's score 0..40
            divided by 40); 1 for the given box, None where the tracker has no such scale.
    """

    box: Box
    confidence: float | None


@dataclass(frozen=True)
class Step:
    """One frame of a clip with the answers for it.

    Attributes:
        frame: the frame.
        estimates: one per target, in the order of the boxes.
        read_seconds: time it took to read the frame.
        track_seconds: time it took to find the targets.
    """

    frame: Frame
    estimates: list[Estimate]
    read_seconds: float
    track_seconds: float


class Clip(Protocol):
    """A video that can be read from its start."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second, the mean where the rate varies."""
        ...

    @property
    def length(self) -> int | None:
        """Number of frames as far as known; None for a live source."""
        ...

    def frames(self) -> Generator[Frame, None, None]:
        """The frames in order, all of one size.

        Raises:
            DataError: a frame cannot be read, or its size differs from that of the first one.
            PartialFailure: after the last frame, if the clip should have had more.
        """
        ...


def picture_size(shape: tuple[int, ...]) -> str:
    """Width and height of an image's shape, in words."""
    return f"{shape[1]} x {shape[0]}"
