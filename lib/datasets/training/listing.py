"""What a row of the catalog says about a training set, and what its readers hand to the index.

A reader looks at what is there (`Listing`, quick) and reads the boxes only when the index asks
for them (`TrainingRecord`, slow for a big set). The key of a listing tells whether anything has
changed.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.datasets.sequence_files import NO_FILES, SequenceFiles
from lib.utils.errors import DataError

# Of the readers: raise it when one of them makes other records of the same files.
_VERSION = 2


@dataclass(frozen=True)
class TrainingRow:
    """One training set."""

    name: str  # as in DATA.TRAIN.DATASETS_NAME
    format: str  # 'text' (a text file of boxes per video), 'coco', 'vid', or 'generated'
    folder: str = ""  # default folder below the data root; '' for data that is generated
    subfolder: str = ""  # the part of the data set, such as 'train'; old set-ups lack it
    parts: tuple[str, ...] = ()  # folders that the videos are spread over
    split: str = ""  # packaged list of sequences: names, or positions in `list_file`
    list_file: str = ""  # list of sequences inside the data set
    listed: int = 0  # number of names in the whole `list_file`
    # Patterns, in which `{part}` is one of `parts`; in 'coco' and 'vid' the folder of all images,
    # and the file or folder of all boxes
    files: SequenceFiles = NO_FILES
    frame_pattern: str = ""  # name of a frame by its number
    first_frame: int = 1  # number of the first frame, where the boxes do not tell it


class TrainingRecord(NamedTuple):
    """One sequence of a training set."""

    name: str  # unique within the set
    folder: str  # of its frames, relative to the listing's base
    # Name of a frame by its number; the whole name in a set of single images; '' when the folder
    # has to be listed
    pattern: str
    first: int  # number of the first frame
    boxes: np.ndarray  # `(N, 4)` float32 xywh in pixels
    visible: np.ndarray  # `(N,)` bool


@dataclass(frozen=True)
class Listing:
    """What a training set consists of, before any box is read."""

    base: Path  # the folder that records are relative to
    key: str  # differs when a file of boxes was added, removed or changed
    # Each reads a part of the set, in order
    tasks: Sequence[Callable[[], Iterable[TrainingRecord]]]


@dataclass(frozen=True)
class FolderNames:
    """Which folders are there, by one listing of each parent: quick on network disks too."""

    base: Path
    _known: dict[str, frozenset[str]] = field(default_factory=dict)

    def __contains__(self, folder: str) -> bool:
        parent, _, name = folder.rpartition("/")
        if parent not in self._known:
            self._known[parent] = frozenset(list_names(self.base / parent))
        return name in self._known[parent]


def list_names(folder: Path) -> list[str]:
    """Names in `folder`, sorted, without hidden ones; none where there is no such folder.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror or error})") from None


def fingerprint(about: str, base: Path, files: Iterable[str]) -> str:
    """A key from the names, sizes and times of `files` (or folders), relative to `base`.

    Another version of the readers gives another key.

    Raises:
        DataError: one of them is missing.
    """
    digest = hashlib.sha256(f"{_VERSION} {about}".encode(errors="surrogateescape"))
    for file in files:
        path = os.path.join(base, file)
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        line = f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Which boxes `(N, 4)` xywh have a positive width and height, `(N,)` bool."""
    return (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
