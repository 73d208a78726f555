"""What a data set gives: sequences of frames with their ground truth, loaded one at a time."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lib.utils.errors import DataError, did_you_mean
from lib.utils.grey_range import GreyRange
from lib.utils.image_io import (
    TIFF_SUFFIXES,
    PageReader,
    count_pictures,
    decode_rgb,
    grey_range_of,
    read_file,
)

logger = logging.getLogger(__name__)


@runtime_checkable
class FrameSource(Protocol):
    """Frames by 0-based index; picklable, so that a worker process can read them."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> np.ndarray:
        """Frame `index` as (H, W, 3) uint8 RGB; raises DataError naming it."""

    def describe(self, index: int) -> str:
        """What to call frame `index` in a message: its path, mostly."""


class ClipFrames(ABC):
    """Frames whose grey of more than 8 bits (thermal cameras) has one range.

    It is that of the first frame, in whatever order and process they are read.
    """

    @abstractmethod
    def describe(self, index: int) -> str: ...

    @abstractmethod
    def _first_range(self) -> GreyRange | None: ...

    @cached_property
    def grey_range(self) -> GreyRange | None:
        """The range of the clip's grey; None where its first frame has colours, or 8 bits."""
        return self._first_range()


def announce_range(frames: FrameSource) -> None:
    """Say in a line how grey of more than 8 bits is scaled, if the frames have any.

    Raises:
        DataError: the first frame cannot be read.
    """
    if isinstance(frames, ClipFrames) and frames.grey_range is not None:
        logger.warning(
            f"{frames.describe(0)}: grey of more than 8 bits; values of {frames.grey_range} become "
            "0 to 255 in the whole clip (the range of its first frame, a little widened)"
        )


class EncodedFrames(ClipFrames):
    """Frames that are image files, wherever these lie; see `FrameSource`."""

    @abstractmethod
    def read_bytes(self, index: int) -> bytes: ...

    def read(self, index: int) -> np.ndarray:
        return decode_rgb(self.read_bytes(index), self.describe(index), lambda: self.grey_range)

    def _first_range(self) -> GreyRange | None:
        return grey_range_of(self.read_bytes(0), self.describe(0))


@dataclass(frozen=True)
class ImageFiles(EncodedFrames):
    """Image files of one folder, in order. Only names are kept: it stays small when pickled."""

    folder: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def read_bytes(self, index: int) -> bytes:
        return read_file(self.folder / self.names[index])

    def describe(self, index: int) -> str:
        return str(self.folder / self.names[index])


@dataclass(frozen=True)
class NumberedFrames:
    """Frames named by consecutive numbers: nothing is listed, and nothing large is kept."""

    folder: Path  # of the frames
    pattern: str  # name of a frame below it by its number, such as `%08d.jpg`
    first: int  # number of the first frame
    count: int  # number of frames

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return self.pattern % (self.first + index)


class NumberedFiles(NumberedFrames, EncodedFrames):
    """Image files of one folder, named by consecutive numbers; see `FrameSource`."""

    def read_bytes(self, index: int) -> bytes:
        return read_file(self.folder / self.name(index))

    def describe(self, index: int) -> str:
        return str(self.folder / self.name(index))


class StackPages(ClipFrames):
    """The pages of a TIFF stack; see `FrameSource`."""

    def __init__(self, path: Path) -> None:
        self._pages = PageReader(path)

    def __len__(self) -> int:
        return len(self._pages)

    def read(self, index: int) -> np.ndarray:
        return self._pages.read(index, lambda: self.grey_range)

    def describe(self, index: int) -> str:
        return self._pages.describe(index)

    def _first_range(self) -> GreyRange | None:
        return self._pages.grey_range(0)


def folder_frames(folder: Path, names: tuple[str, ...]) -> "ImageFiles | StackPages":
    """Images of a folder, or the pages of the only one.

    Raises:
        DataError: the only one is damaged, or an animation.
    """
    first = folder / names[0]
    tiff = first.suffix.lower() in TIFF_SUFFIXES
    pictures = count_pictures(first) if tiff or len(names) == 1 else 1
    if pictures > 1 and len(names) == 1:
        if tiff:
            return StackPages(first)
        raise DataError(
            f"{first}: an animation of {pictures} pictures; unpack it into a file for each"
        )
    if pictures > 1:
        logger.warning(
            f"{first.name} has {pictures} pages; of every file in {folder} the first page is a "
            "frame, and the others are not read"
        )
    return ImageFiles(folder, names)


@dataclass(frozen=True)
class PatchedFrames:
    """Frames of which some are known to be broken in the data set as it is published.

    Where one of them cannot be read, the frame before it stands in, so that the sequence is not
    lost; any other damage is an error, as everywhere.
    """

    frames: FrameSource  # as they are
    broken: frozenset[int]  # 0-based indices that this is allowed for

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> np.ndarray:
        try:
            return self.frames.read(index)
        except DataError:
            if index < 1 or index not in self.broken:
                raise
            return self.read(index - 1)

    def describe(self, index: int) -> str:
        return self.frames.describe(index)


@dataclass(frozen=True, eq=False)
class Video:
    """One video with its ground truth. Boxes are x, y, w, h in pixels, float64."""

    name: str  # unique within its data set; names the result files
    frames: FrameSource  # the images; reading is lazy
    ground_truth: np.ndarray  # (N, 4), or (1, 4) where only the first box is public
    visible: np.ndarray | None = None  # (N,) bool where the data set flags absent targets
    cover: np.ndarray | None = None  # (N,) int 0..8, visible eighths of the target (GOT-10k)
    annotation: str = ""  # the ground-truth file, or how it was made; for messages

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def init_box(self) -> tuple[float, float, float, float]:
        x, y, w, h = (float(value) for value in self.ground_truth[0])
        return x, y, w, h

    def annotated_up_to(self, count: int) -> "Video":
        """The video with the annotations of its first frames only."""
        visible = None if self.visible is None else self.visible[:count]
        cover = None if self.cover is None else self.cover[:count]
        truth = self.ground_truth[:count]
        return replace(self, ground_truth=truth, visible=visible, cover=cover)

    @cached_property
    def resolution(self) -> tuple[int, int]:
        """(width, height) of the first frame, read when first asked for."""
        height, width = self.frames.read(0).shape[:2]
        return width, height


@dataclass(frozen=True)
class Dataset:
    """A list of sequence names and a way to load each; picklable for worker processes."""

    name: str  # the row's name, or the folder's own name
    results_folder: str  # folder of the raw results below the configuration's
    update_key: str  # key of the template-update settings, 'DEFAULT' for folders
    protocol: str  # scoring rules, such as 'lasot' or 'got10k_val'
    source: str  # the folder it was opened from, or 'built-in'
    sequence_names: tuple[str, ...]  # in evaluation order
    # `loader(name)` reads the annotation of one sequence; a picklable callable
    loader: Callable[[str], Video]

    def __len__(self) -> int:
        return len(self.sequence_names)

    def load(self, name: str) -> Video:
        """Read the annotation of sequence `name`; frames are read later, one by one.

        Raises:
            DataError: no such sequence, or its annotation or frames are not as they should be.
        """
        if name not in self.sequence_names:
            raise DataError(
                f"sequence {name!r} is not in data set {self.name!r} ({len(self)} sequences, "
                f"first {self.sequence_names[0]!r}){did_you_mean(name, self.sequence_names)}"
            )
        return self.loader(name)
