"""What training samples are drawn from: sequences by number, wherever they are stored."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.datasets.sequence import FrameSource, ImageFiles, NumberedFiles
from lib.datasets.text.ground_truth import list_images
from lib.datasets.training.index import TrainingIndex
from lib.utils.errors import DataError, counted
from lib.utils.grey_range import GreyRange

# A video is drawn from only if it is this long.
MIN_LENGTH = 20


class StoredFrames(FrameSource, Protocol):
    """Frames whose files can be had as they are."""

    @property
    def grey_range(self) -> GreyRange | None:
        """The range of the clip's grey of more than 8 bits; None where it has none."""

    def read_bytes(self, index: int) -> bytes: ...


@dataclass(frozen=True, eq=False)
class TrainingSequence:
    """One target with its boxes."""

    name: str  # unique within its set
    frames: StoredFrames  # the images, one per box; reading is lazy
    # `(N, 4)` float32 xywh in pixels; without meaning where the target is not visible
    boxes: np.ndarray
    visible: np.ndarray  # `(N,)` bool


class TrainingSet(Protocol):
    """Sequences by number; cheap to pickle, so that every loader process can have it.

    Attributes:
        name: as in DATA.TRAIN.DATASETS_NAME.
        is_video: False for stills: every sequence has one frame.
    """

    name: str
    is_video: bool

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """Number of frames of every sequence, `(n,)` int32."""

    @property
    def visible_counts(self) -> np.ndarray:
        """Number of frames of every sequence in which the target is visible, `(n,)` int32."""

    def load(self, index: int) -> TrainingSequence:
        """Sequence `index`; no image is opened."""

    def describe(self, index: int) -> str: ...


@dataclass(eq=False)
class IndexedSet:
    """A training set on disk: frames below `base`, boxes in an index. See `TrainingSet`."""

    name: str
    is_video: bool
    base: Path
    index: TrainingIndex

    def __len__(self) -> int:
        return len(self.index.sequences)

    @property
    def lengths(self) -> np.ndarray:
        return np.array(self.index.sequences["length"])

    @property
    def visible_counts(self) -> np.ndarray:
        return np.array(self.index.sequences["visible"])

    def load(self, index: int) -> TrainingSequence:
        """Sequence `index`; no image is opened.

        Raises:
            DataError: the frames have to be listed, and are not those of the index any more.
        """
        entry = self.index.sequences[index]
        start, length = int(entry["start"]), int(entry["length"])
        rows = slice(start, start + length)
        return TrainingSequence(
            name=os.fsdecode(entry["name"]),
            frames=self._frames(entry, length),
            # Copies: a view would pickle with the whole index behind it.
            boxes=np.array(self.index.boxes[rows]),
            visible=np.array(self.index.visible[rows]),
        )

    def stored(self, index: int) -> StoredFrames:
        entry = self.index.sequences[index]
        return self._frames(entry, int(entry["length"]))

    def describe(self, index: int) -> str:
        entry = self.index.sequences[index]
        place = self._folder(entry) if self.is_video else self._folder(entry) / _pattern(entry)
        return f"{self.name} {os.fsdecode(entry['name'])} ({place})"

    @property
    def frames_base(self) -> Path:
        return self.base

    def _folder(self, entry: np.void) -> Path:
        return self.base / os.fsdecode(entry["folder"])

    def _frames(self, entry: np.void, length: int) -> StoredFrames:
        folder, pattern = self._folder(entry), _pattern(entry)
        if not self.is_video:
            return ImageFiles(folder, (pattern,))
        if pattern:
            return NumberedFiles(folder, pattern, int(entry["first"]), length)
        names = list_images(folder)
        if len(names) != length:
            raise DataError(f"{folder}: {len(names)} frames, but {length} when it was indexed")
        return ImageFiles(folder, names)


def _pattern(entry: np.void) -> str:
    return os.fsdecode(entry["pattern"])


def enough_frames(templates: int) -> int:
    """A video is drawn from only if more frames than this are visible."""
    return 2 * (templates + 1)


def can_be_drawn_from(visible: np.ndarray, lengths: np.ndarray, templates: int) -> np.ndarray:
    """Which videos training samples can be drawn from, `(n,)` bool."""
    return (visible > enough_frames(templates)) & (lengths >= MIN_LENGTH)


def left_out(usable: np.ndarray, templates: int, name_of: Callable[[int], str]) -> str:
    """How many videos can be drawn from, why not the others, and the first of those; '' if all can.

    Example:
        >>> left_out(np.array([True, False, False]), 2, str).partition("; ")[0]
        '1 of 3 sequences can be drawn from, 2 cannot: fewer than 20 frames or 7 visible ones'
    """
    unused = np.flatnonzero(~usable)
    if not len(unused):
        return ""
    return (
        f"{usable.sum()} of {counted(len(usable), 'sequence')} can be drawn from, {len(unused)} "
        f"cannot: fewer than {MIN_LENGTH} frames or {enough_frames(templates) + 1} visible ones; "
        f"the first is {name_of(int(unused[0]))}"
    )
