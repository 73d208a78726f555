"""Training sets: how one is opened, by its name in the catalog or by the path of a folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.config.paths import Paths
from lib.datasets.catalog import TRAINING_CATALOG, looks_like_path, place_of
from lib.datasets.coco import list_coco
from lib.datasets.ground_truth import list_images
from lib.datasets.listing import Listing, TrainingRow
from lib.datasets.sequence import FrameSource, ImageFiles, NumberedFiles
from lib.datasets.training_folder import list_folder_videos
from lib.datasets.training_index import TrainingIndex, load_or_build
from lib.datasets.training_text import list_text_videos
from lib.datasets.vid import list_vid
from lib.utils.errors import DataError, did_you_mean

_READERS: dict[str, Callable[[TrainingRow, Path, str], Listing]] = {
    "text": list_text_videos,
    "coco": list_coco,
    "vid": list_vid,
}


@dataclass(frozen=True, eq=False)
class TrainingSequence:
    """One target with its boxes.

    Attributes:
        name: unique within its set.
        frames: the images, one per box; reading is lazy.
        boxes: `(N, 4)` float32 xywh in pixels; without meaning where the target is not visible.
        visible: `(N,)` bool.
    """

    name: str
    frames: FrameSource
    boxes: np.ndarray
    visible: np.ndarray


class TrainingSet(Protocol):
    """Sequences by number; cheap to pickle, so that every loader process can have it.

    Attributes:
        name: as in DATA.TRAIN.DATASETS_NAME.
        is_video: False for stills: every sequence has one frame.
    """

    name: str
    is_video: bool

    def __len__(self) -> int:
        """Number of sequences."""
        ...

    @property
    def lengths(self) -> np.ndarray:
        """Number of frames of every sequence, `(n,)` int32."""
        ...

    @property
    def visible_counts(self) -> np.ndarray:
        """Number of frames of every sequence in which the target is visible, `(n,)` int32."""
        ...

    def load(self, index: int) -> TrainingSequence:
        """Sequence `index`; no image is opened."""
        ...

    def describe(self, index: int) -> str:
        """What to call sequence `index` in a message."""
        ...


@dataclass(eq=False)
class IndexedSet:
    """A training set on disk: frames below `base`, boxes in an index. See `TrainingSet`."""

    name: str
    is_video: bool
    base: Path
    index: TrainingIndex

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.index.sequences)

    @property
    def lengths(self) -> np.ndarray:
        """Number of frames of every sequence, `(n,)` int32."""
        return np.array(self.index.sequences["length"])

    @property
    def visible_counts(self) -> np.ndarray:
        """Number of frames of every sequence in which the target is visible, `(n,)` int32."""
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

    def describe(self, index: int) -> str:
        """Name of the set and the sequence, and its folder (or image)."""
        entry = self.index.sequences[index]
        place = self._folder(entry) if self.is_video else self._folder(entry) / _pattern(entry)
        return f"{self.name} {os.fsdecode(entry['name'])} ({place})"

    def _folder(self, entry: np.void) -> Path:
        return self.base / os.fsdecode(entry["folder"])

    def _frames(self, entry: np.void, length: int) -> FrameSource:
        folder, pattern = self._folder(entry), _pattern(entry)
        if not self.is_video:
            return ImageFiles(folder, (pattern,))
        if pattern:
            return NumberedFiles(folder, pattern, int(entry["first"]), length)
        names = list_images(folder)
        if len(names) != length:
            raise DataError(f"{folder}: {len(names)} frames, but {length} when it was indexed")
        return ImageFiles(folder, names)


def training_set_names() -> list[str]:
    """Names that DATA.TRAIN.DATASETS_NAME knows; a path works too."""
    return [row.name for row in TRAINING_CATALOG]


def open_training_set(name: str, paths: Paths, cache_dir: Path | None = None) -> IndexedSet:
    """Open a training set; the first time, all its annotation is read and indexed.

    Args:
        name: in the catalog, or the path of a folder of sequences with ground truth (a name wins
            over a folder that is called the same; write `./LASOT` for the folder).
        paths: where data lies and outputs go.
        cache_dir: where the index is kept; `paths.index_dir` by default.

    Raises:
        DataError: no such name or folder, the data is not where the settings say, or a file of
            boxes is malformed.
    """
    row = next((row for row in TRAINING_CATALOG if row.name == name), None)
    if row is None:
        if not looks_like_path(name):
            known = training_set_names()
            raise DataError(
                f"unknown training set {name!r}{did_you_mean(name, known)}; known are "
                f"{', '.join(known)}, or the path of a folder of sequences"
            )
        listing = list_folder_videos(name)
    elif row.format not in _READERS:
        raise DataError(f"training set {name!r} is generated; it has no sequences to open")
    else:
        place = place_of(row.name, row.folder, paths)
        if not place.root.is_dir():
            raise DataError(f"training set {name!r}: no folder {place.root}; {place.remedy}")
        listing = _READERS[row.format](row, place.root, place.remedy)
    index = load_or_build(listing, cache_dir or paths.index_dir, name)
    return IndexedSet(name, row is None or row.format != "coco", listing.base, index)


def _pattern(entry: np.void) -> str:
    return os.fsdecode(entry["pattern"])
