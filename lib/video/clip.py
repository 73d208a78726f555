"""What a clip is: frames with their times, and what was found in them."""

import contextlib
import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.utils.targets import TargetId

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
class TargetResult:
    """Where a target is.

    Attributes:
        box: xywh in image pixels.
        confidence: 0..1, how sure the tracker is of the box; 1 for a given box, None from a
            tracker that does not tell.
        state: `tracked`, `uncertain` or `lost`; None from a tracker that does not tell.
        given: whether the box was given for this frame, not found in it.
    """

    box: Box
    confidence: float | None = None
    state: str | None = None
    given: bool = False


@dataclass(frozen=True, eq=False)
class Result:
    """One frame of a clip with what was found in it.

    Attributes:
        frame: index of the frame, from 0; going backward it falls.
        time: seconds since the clip's first frame.
        image: `(H, W, 3)` uint8 RGB.
        targets: by the target's id, in the order in which they joined.
        duration: seconds that the frame is shown; None where only the next one's time tells.
        skipped: frames of a live source that came while others were tracked, so far.
        read_seconds: time it took to read the frame.
        track_seconds: time it took to find the targets.
    """

    frame: int
    time: float
    image: np.ndarray
    targets: dict[TargetId, TargetResult] = field(default_factory=dict)
    duration: float | None = None
    skipped: int = 0
    read_seconds: float = 0.0
    track_seconds: float = 0.0


@runtime_checkable
class Clip(Protocol):
    """A video: a recording, which can be read again, or a live source, which cannot."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second, the mean where the rate varies; nominal for a live source."""
        ...

    @property
    def length(self) -> int | None:
        """Number of frames; None where it is unknown, and for a live source."""
        ...

    @property
    def live(self) -> bool:
        """Whether frames arrive by the clock: a slow reader gets the newest, not the next."""
        ...

    @property
    def skipped(self) -> int:
        """Frames of a live source that nobody took so far; 0 for a recording."""
        ...

    def frames(self, start: int = 0, backward: bool = False) -> Generator[Frame, None, None]:
        """The frames in order, all of one size; closing the generator closes the source.

        Args:
            start: index of the first one to give.
            backward: give the frames `start`, `start - 1`, ..., 0, with these indices and the
                times that they have going forward.

        Raises:
            DataError: a frame cannot be read, its size differs from that of the first one, or
                the source is live or an iterator and cannot go backward.
            PartialFailure: after the last frame, if the clip should have had more.
        """
        ...


def frames_backward(
    forward: Callable[[int], Generator[Frame, None, None]],
    start: int,
    window: Callable[[int], int] = lambda stop: max(0, stop - 32),
) -> Generator[Frame, None, None]:
    """The frames `start`, ..., 0 of a clip that can only be read forward.

    Args:
        forward: the frames from an index on.
        start: index of the first one to give; a clip that ends before it gives its last ones.
        window: for the end of a stretch of frames its start; a stretch is in memory at once.
    """
    stop = start + 1
    while stop > 0:
        low = window(stop)
        with contextlib.closing(forward(low)) as frames:
            yield from reversed(list(itertools.islice(frames, stop - low)))
        stop = low


def check_size(frame: str, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    """Refuse a frame that is not as large as the first one.

    Args:
        frame: what to call it in the message.
        shape: of its image.
        first: of the first image.

    Raises:
        DataError: they differ.
    """
    if shape != first:
        raise DataError(
            f"{frame} is {picture_size(shape)}, but the frames before it are "
            f"{picture_size(first)}; the frames of a clip have one size"
        )


def picture_size(shape: tuple[int, ...]) -> str:
    """Width and height of an image's shape, in words."""
    return f"{shape[1]} x {shape[0]}"
