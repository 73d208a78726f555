"""What a training set gives for one sample: T + 1 frames of one target, each with its box."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from lib.utils.image_io import GreyRangeSource, decode_shrunk


class UnusableSampleError(Exception):
    """Nothing is broken, but this draw gives no sample; another one will."""


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image file in memory, to be decoded when it is known how much of it is needed."""

    data: bytes
    name: str
    grey_range: GreyRangeSource | None = None

    def decode(self, shrink: int) -> tuple[np.ndarray, int]:
        return decode_shrunk(self.data, self.name, shrink, self.grey_range)


class BoxedFrame(NamedTuple):
    """One look at the target."""

    image: np.ndarray | EncodedImage  # `(H, W, 3)` uint8 RGB, or the file of it
    box: np.ndarray  # `(4,)` float64 xywh in pixels of `image`; it may stick out


@dataclass(frozen=True)
class FrameSample:
    """The frames of one sample, before cropping."""

    sightings: tuple[BoxedFrame, ...]  # T templates, then the search frame
    source: str  # where it came from, for messages: `LASOT airplane-1, frames 3, 9, 12`
    recorded: bool = False  # whether the frames are of a video as a camera recorded it
    # `(N, 4)` true boxes of the N frames before the search frame, as that one's, oldest first; NaN
    # where the target is not seen. None where there are no frames before it.
    before: np.ndarray | None = None


class SampleSource(Protocol):
    """Something that samples are drawn from; picklable, so that loader processes can have it."""

    name: str

    def draw(self, rng: np.random.Generator, progress: float) -> FrameSample:
        """Draw the frames of one sample; everything random comes from `rng`.

        `progress`: how much of the training is done, 0..1.

        Raises:
            DataError: a file of the sample cannot be used; the message names it.
            UnusableSampleError: the draw gives no sample.
        """
