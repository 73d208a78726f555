"""The sequences of a workspace: truth, anchors, and the runs that an experiment starts in them.

sequences/list.txt                  a name per line
sequences/<name>/sequence           key=value lines: width, height, length, channels.color, …
sequences/<name>/groundtruth.txt    a region per line
sequences/<name>/anchor.value       a number per line: 1 starts forward there, -1 backward
"""

import itertools
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lib.utils.errors import DataError
from lib.utils.image_io import IMAGE_SUFFIXES, read_rgb
from lib.vot.regions import UNKNOWN, Region, read_regions, special
from lib.vot.stacks import Experiment
from lib.vot.toolkit import is_plain

LIST_FILE = "list.txt"


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
        """The key=value lines of the file `sequence`. Raises DataError: the file is missing."""
        path = self.root / "sequence"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError(
                f"{path}: not found; a sequence of VOT has this file, a folder of frames and "
                "groundtruth.txt"
            ) from None
        pairs = (line.partition("=") for line in lines if "=" in line)
        return {key.strip(): value.strip() for key, _, value in pairs}

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames, from `sequence` or else from the first frame."""
        width, height = self.facts.get("width", ""), self.facts.get("height", "")
        if width.isdecimal() and height.isdecimal():
            return int(width), int(height)
        rows, columns = read_rgb(self.frame_file(0)).shape[:2]
        return columns, rows

    @property
    def truth_file(self) -> Path:
        """The file of its regions."""
        return self.root / self.facts.get("groundtruth", "groundtruth.txt")

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
        return int(length) if length.isdecimal() else None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.truth)

    def frame_file(self, index: int) -> Path:
        pattern = self.facts.get("channels.color", "color/%08d.jpg")
        if Path(pattern).suffix.lower() not in IMAGE_SUFFIXES:
            pattern = f"{pattern.rstrip('/')}/%08d.jpg"
        return self.root / (pattern % (index + 1))

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
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            values = [float(line) for line in lines if line.strip()]
        except FileNotFoundError:
            raise DataError(
                f"{path}: not found; every experiment but the unsupervised one starts at anchors"
            ) from None
        except ValueError as error:
            raise DataError(f"{path}: not a number per line ({error})") from None
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
    """The names in `list.txt` of a folder of sequences; none if there is no such file."""
    path = folder / LIST_FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def found_names(folder: Path) -> list[str]:
    """The folders that look like sequences, for where `list.txt` is missing."""
    if not folder.is_dir():
        return []
    return sorted(
        one.name
        for one in folder.iterdir()
        if (one / "sequence").is_file() and (one / "groundtruth.txt").is_file()
    )
