"""The sequences of a workspace: truth, anchors, and the runs that an experiment starts in them.

sequences/list.txt                  a name per line
sequences/<name>/sequence           key=value lines: width, height, length, channels.color, …
sequences/<name>/groundtruth.txt    a region per line
sequences/<name>/anchor.value       a number per line: 1 starts forward there, -1 backward
"""

import itertools
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lib.datasets.text.boxes import read_text
from lib.utils.errors import DataError
from lib.utils.files import is_folder_name
from lib.utils.image_io import IMAGE_SUFFIXES, read_rgb
from lib.vot.regions import UNKNOWN, Region, read_regions, special
from lib.vot.stacks import Experiment
from lib.vot.toolkit import is_plain

LIST_FILE = "list.txt"
# Numbers of so many digits are no number of frames or pixels.
_DIGITS = 9
_FRAME = re.compile(r"[^%]*%0?\d?d[^%]*")


@dataclass(frozen=True)
class VotRun:
    """One start of a tracker: its file, and which frames it goes through."""

    stem: str  # name of the result file without its suffix
    frames: range  # 0-based numbers of the frames, in the order they are shown


@dataclass(frozen=True)
class VotSequence:
    """A sequence in VOT's format; what is read is kept."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @cached_property
    def facts(self) -> dict[str, str]:
        """The key=value lines of the file `sequence`.

        Raises:
            DataError: the file is missing or cannot be read.
        """
        path = self.root / "sequence"
        if not path.is_file():
            raise DataError(
                f"{path}: not found; a sequence of VOT has this file, a folder of frames and "
                "groundtruth.txt"
            )
        lines = read_text(path).splitlines()
        pairs = (line.partition("=") for line in lines if "=" in line)
        return {key.strip(): value.strip() for key, _, value in pairs}

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames, from `sequence` or else from the first frame."""
        width, height = self.facts.get("width", ""), self.facts.get("height", "")
        if width.isdecimal() and height.isdecimal() and len(width + height) < _DIGITS:
            return int(width), int(height)
        rows, columns = read_rgb(self.frame_file(0)).shape[:2]
        return columns, rows

    @property
    def truth_file(self) -> Path:
        """The file of its regions."""
        return self._inside("groundtruth", "groundtruth.txt")

    def _inside(self, key: str, default: str) -> Path:
        """The path that `sequence` states. Raises DataError: it leads out of the folder."""
        stated = self.facts.get(key, default)
        if os.path.isabs(stated) or ".." in Path(stated).parts or "\0" in stated:
            raise DataError(
                f"{self.root / 'sequence'}: {key} {stated!r:.80} leads out of the folder"
            )
        return self.root / stated

    @cached_property
    def regions(self) -> list[Region]:
        """The regions of the file of truth, however many there are.

        Raises:
            DataError: the file is missing, malformed or empty.
        """
        regions = read_regions(self.truth_file)
        if not regions:
            raise DataError(f"{self.truth_file}: holds no regions")
        return regions

    @cached_property
    def truth(self) -> list[Region]:
        """The target in every frame; frames after the last line of the file have none.

        Raises:
            DataError: as `regions`.
        """
        missing = (self.stated_length or 0) - len(self.regions)
        return self.regions + [special(UNKNOWN)] * max(0, missing)

    @property
    def stated_length(self) -> int | None:
        """The number of frames that the file `sequence` states."""
        length = self.facts.get("length", "")
        return int(length) if length.isdecimal() and len(length) < _DIGITS else None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.truth)

    def frame_file(self, index: int) -> Path:
        path = self._inside("channels.color", "color/%08d.jpg")
        pattern = str(path if path.suffix.lower() in IMAGE_SUFFIXES else path / "%08d.jpg")
        # The folder's own name may hold a %.
        folder, name = str(self.root), pattern[len(str(self.root)) :]
        if not _FRAME.fullmatch(name):
            raise DataError(
                f"{self.root / 'sequence'}: channels.color {name[1:]!r:.80} is no pattern of image "
                "files; expected something like color/%08d.jpg"
            )
        return Path(folder + name % (index + 1))

    def check(self) -> None:
        """Look for what the toolkit would stumble over, or score without a word.

        Raises:
            DataError: a frame is missing, the truth has not one region per frame, or a path cannot
                be sent to a tracker.
        """
        first = self.frame_file(0)
        if not is_plain(first.relative_to(self.root.parent)):
            raise DataError(
                f"{first}: the VOT toolkit needs names of ASCII letters without %, of sequences "
                "and of frames; rename it, a sequence in list.txt too"
            )
        try:
            there = set(os.listdir(first.parent))
        except OSError as error:
            raise DataError(f"{first}: not found ({error.strerror})") from None
        rows, frames = len(self.regions), self.stated_length
        if frames is None:
            # As the toolkit counts: up to the first number that is missing.
            frames = next(i for i in itertools.count() if self.frame_file(i).name not in there)
        if rows != frames and frames:
            raise DataError(f"{self.truth_file}: {rows} rows for {frames} frames")
        for index in range(rows):
            if self.frame_file(index).name not in there:
                raise DataError(f"{self.frame_file(index)}: not found")

    @cached_property
    def anchors(self) -> list[tuple[int, bool]]:
        """Frames to start from, and whether backward: the forward ones first, as in the toolkit.

        Raises:
            DataError: there are none, or the file is missing or malformed.
        """
        path = self.root / "anchor.value"
        if not path.is_file():
            raise DataError(
                f"{path}: not found; every experiment but the unsupervised one starts at anchors"
            )
        try:
            values = [float(line) for line in read_text(path).splitlines() if line.strip()]
        except ValueError as error:
            raise DataError(f"{path}: not a number per line ({error!s:.80})") from None
        if len(values) > len(self):
            raise DataError(f"{path}: {len(values)} lines for {len(self)} frames")
        forward = [(i, False) for i, value in enumerate(values) if value > 0]
        found = forward + [(i, True) for i, value in enumerate(values) if value < 0]
        if not found:
            raise DataError(f"{path}: has no anchor (a line that is not 0)")
        return found

    def runs(self, experiment: Experiment) -> list[VotRun]:
        """The runs of an experiment in this sequence, in the order of the toolkit."""
        length = len(self)
        if not experiment.multistart:
            return [VotRun(f"{self.name}_001", range(length))]
        return [
            VotRun(f"{self.name}_{i:08d}", range(i, -1, -1) if backward else range(i, length))
            for i, backward in self.anchors
        ]


def read_names(folder: Path) -> list[str]:
    """The names in `list.txt` of a folder of sequences; none if there is no such file.

    Raises:
        DataError: it cannot be read, or a name is a path.
    """
    path = folder / LIST_FILE
    if not path.is_file():
        return []
    names = dict.fromkeys(line.strip() for line in read_text(path).splitlines() if line.strip())
    if odd := [name for name in names if not is_folder_name(name)]:
        raise DataError(f"{path}: {odd[0]!r:.80} is not the name of a folder beside it")
    return list(names)


def found_names(folder: Path) -> list[str]:
    """The folders that look like sequences, for where `list.txt` is missing."""
    if not folder.is_dir():
        return []
    return sorted(
        one.name
        for one in folder.iterdir()
        if (one / "sequence").is_file() and (one / "groundtruth.txt").is_file()
    )
