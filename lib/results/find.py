"""Where the raw results of a tracker are, in the forms that people publish.

Ours and most others are flat, `<sequence>.txt`. GOT-10k's toolkit writes a folder for every
sequence and a file for every repetition, `<sequence>/<sequence>_001.txt`; some zips hold those
files flat. Toolkits also spell sequences differently: `Jogging-1`, `Jogging.1` and `Jogging_1`
are one, and so are `uav_bike1` and `bike1`.
"""

import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from lib.datasets.sequence import Dataset
from lib.results.files import RUN_FILE
from lib.utils.errors import ResultsError, did_you_mean, some

# Put before the sequences' own names by PyTracking and its relatives.
_PREFIXES = ("uav_", "nfs_")
# What trackers write beside the boxes.
BESIDE = ("_time", "_confidence", "_certainty", "_score", "_scores", "_all_boxes", "_all_scores")


def spelling_key(name: str) -> str:
    """What all spellings of a sequence's name have in common.

    Example:
        >>> spelling_key("Jogging-1") == spelling_key("jogging.1") == spelling_key("Jogging_1")
        True
        >>> spelling_key("uav_bike1")
        'bike1'
    """
    key = re.sub(r"[-. ]", "_", name.casefold())
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


class ResultFiles:
    """The result files in one folder, by sequence; the folder is listed at most once."""

    def __init__(self, folder: Path, sequence_names: Iterable[str] = ()) -> None:
        """`sequence_names` are all of the data set: none of them is a repetition of another."""
        self.folder = folder
        self._names = frozenset(sequence_names)

    def of(self, sequence: str) -> list[Path]:
        """The files of `sequence`: one, or one for every repetition; none where it is missing.

        Raises:
            ResultsError: two files are spelled like it, and none exactly.
        """
        exact = self.folder / f"{sequence}.txt"
        if exact.is_file():
            return [exact]
        repeated = self._repetitions(self.folder / sequence, sequence)
        repeated = repeated or self._repetitions(self.folder, sequence)
        return repeated or self._spelled_otherwise(sequence)

    def hint(self, sequence: str) -> str:
        """Which file may have been meant for the missing `sequence`; empty if none is like it."""
        word = re.compile(rf"(?<![^\W_]){re.escape(sequence)}(?![^\W_])", re.IGNORECASE)
        others = self._keys - {spelling_key(sequence)}
        for name in filter(_may_be_boxes, self._listing):
            # Its name between other words or before another suffix, but no other sequence's.
            if word.search(name) and spelling_key(Path(name).stem) not in others:
                return f"; there is {self._shown(name)}"
        stems = [path.stem for paths in self._by_key.values() for path in paths]
        return did_you_mean(sequence, [stem for stem in stems if not stem.endswith(BESIDE)])

    def seen(self) -> str:
        """What lies in the folder, for a message that no results were found there."""
        names = [self._shown(name) for name in self._listing if _may_be_boxes(name)]
        if not names:
            return "nothing like results is there"
        return f"there {'is' if len(names) == 1 else 'are'} {some(names, 2)}"

    def _repetitions(self, folder: Path, sequence: str) -> list[Path]:
        """`<sequence>_001.txt` and so on in `folder`, in order."""
        if not folder.is_dir():
            return []
        listed = self._listing if folder == self.folder else sorted(os.listdir(folder))
        return [
            folder / name
            for name in listed
            if name.startswith(sequence)
            and re.fullmatch(r"_\d{3}\.txt", name[len(sequence) :])
            and name[:-4] not in self._names
        ]

    def _spelled_otherwise(self, sequence: str) -> list[Path]:
        found = self._by_key.get(spelling_key(sequence), [])
        if len(found) > 1:
            names = " and ".join(path.name for path in found[:2])
            raise ResultsError(
                f"{self.folder}: both {names} could be the results of {sequence}; "
                f"keep one, or call it {sequence}.txt"
            )
        if found and found[0].is_dir():
            return self._repetitions(found[0], found[0].name)
        return found

    def _shown(self, name: str) -> str:
        return f"{name}/" if (self.folder / name).is_dir() else name

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(map(spelling_key, self._names))

    @cached_property
    def _listing(self) -> list[str]:
        return sorted(os.listdir(self.folder)) if self.folder.is_dir() else []

    @cached_property
    def _by_key(self) -> dict[str, list[Path]]:
        """Files and folders that are not exactly called like a sequence, by their key."""
        found: dict[str, list[Path]] = {}
        for name in self._listing:
            path = self.folder / name
            stem = path.stem if path.suffix == ".txt" else name
            if stem not in self._names and (path.suffix == ".txt" or path.is_dir()):
                found.setdefault(spelling_key(stem), []).append(path)
        return found


def _may_be_boxes(name: str) -> bool:
    """Whether a file or folder is none of those that trackers write beside the boxes."""
    return not (name.startswith(".") or name == RUN_FILE or Path(name).stem.endswith(BESIDE))


def results_below(folder: Path, dataset: Dataset, other_names: Sequence[str] = ()) -> Path:
    """The folder with the results on `dataset`: `folder` itself, or one called like the data set.

    Args:
        folder: what the user gave, such as an unpacked zip.
        other_names: what else the data set is called.

    Raises:
        ResultsError: there is no result of any of its sequences.
    """
    if not folder.is_dir():
        problem = "not a folder" if folder.exists() else "no such folder"
        raise ResultsError(f"{folder}: {problem}; expected raw results, a text file per sequence")
    called = (dataset.results_folder, dataset.name, Path(dataset.source).stem, *other_names)
    names = {name.casefold() for name in called}
    inner = [
        folder / name
        for name in sorted(os.listdir(folder))
        if name.casefold() in names and (folder / name).is_dir()
    ]
    for candidate in (folder, *inner):
        files = ResultFiles(candidate, dataset.sequence_names)
        if any(files.of(name) for name in dataset.sequence_names):
            return candidate
    first = dataset.sequence_names[0]
    seen = ResultFiles(inner[-1] if inner else folder).seen()
    raise ResultsError(
        f"{folder}: no results on {dataset.name}; looked for {first}.txt, {first}/{first}_001.txt "
        f"and so on there and in {dataset.results_folder}/; {seen}"
    )
