"""What makes the sequences of a benchmark hard, and the scores on those that share it.

The attributes of LaSOT's test sequences ship with the package. OTB, UAV123, DTB70 and VisDrone
publish theirs as a text file of 0 and 1 per sequence; where these files lie in the data set, they
are read. Any data
set can have its own in an `attributes.csv`: a column `sequence`, then one of 0 and 1 for every
attribute.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.analysis.metrics import DatasetScore, Score, mean_score
from lib.datasets.sequence import Dataset
from lib.datasets.sequence_files import packaged_list
from lib.datasets.text.boxes import read_flags, read_text
from lib.results.find import spelling_key
from lib.utils.errors import DataError

OWN_FILE = "attributes.csv"
_LASOT_FILE = "lasot_attributes.csv"
_LASOT = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")
_OTB = ("IV", "OPR", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OV", "BC", "LR")
_DTB = ("SV", "ARV", "OCC", "DEF", "FCM", "IPR", "OPR", "OV", "BC", "SOA", "MB")
# The order of VisDrone's toolkit (perfPlot.m), in UAV123's words.
_VISDRONE = ("ARC", "BC", "CM", "FM", "FOC", "IV", "LR", "OV", "POC", "SOB", "SV", "VC")
_UAV = ("SV", "ARC", "LR", "FM", "FOC", "POC", "OV", "BC", "IV", "VC", "CM", "SOB")

MEANINGS: Mapping[str, str] = {
    "ARC": "aspect ratio change",
    "ARV": "aspect ratio variation",
    "BC": "background clutter",
    "CM": "camera motion",
    "DEF": "deformation",
    "FCM": "fast camera motion",
    "FM": "fast motion",
    "FOC": "full occlusion",
    "IPR": "in-plane rotation",
    "IV": "illumination variation",
    "LR": "low resolution",
    "MB": "motion blur",
    "OCC": "occlusion",
    "OPR": "out-of-plane rotation",
    "OV": "out of view",
    "POC": "partial occlusion",
    "ROT": "rotation",
    "SOA": "similar objects around",
    "SOB": "similar object",
    "SV": "scale variation",
    "VC": "viewpoint change",
}


class NoAttributesError(DataError):
    """Nobody says what makes the sequences of a data set hard."""


@dataclass(frozen=True)
class _Published:
    """Attribute files of a benchmark: the meaning of their values, and folders to look in."""

    names: tuple[str, ...]
    folders: tuple[str, ...]
    ending: str = ""  # of the names of the files, after that of the sequence


_FILES: Mapping[str, _Published] = {
    "lasot": _Published(_LASOT, ("att", "attributes")),
    "lasot_extension_subset": _Published(_LASOT, ("att", "attributes")),
    "otb": _Published(_OTB, ("att", "anno/att")),
    "uav": _Published(_UAV, ("anno/UAV123/att", "att")),
    "uav20l": _Published(_UAV, ("anno/UAV20L/att", "att")),
    "uav123_10fps": _Published(_UAV, ("anno/UAV123_10fps/att", "att")),
    "dtb70": _Published(_DTB, ("att", "anno/att")),
    "visdrone_sot": _Published(_VISDRONE, ("attributes",), "_attr"),
}


@dataclass(frozen=True)
class Attributes:
    """Attributes of the sequences of a data set."""

    # Short names, in the order of the source; `MEANINGS` has the words of most
    names: tuple[str, ...]
    # Name of a sequence to its attributes; without any it is ()
    by_sequence: Mapping[str, tuple[str, ...]]
    source: str  # where they come from, for people

    def sequences(self, attribute: str) -> tuple[str, ...]:
        return tuple(name for name, found in self.by_sequence.items() if attribute in found)


def read_attributes(dataset: Dataset) -> Attributes:
    """The attributes of the sequences of `dataset`.

    Raises:
        NoAttributesError: there are none.
        DataError: the files are not as they should be.
    """
    own = Path(dataset.source) / OWN_FILE
    if own.is_file():
        return _of_table(read_text(own), str(own), dataset)
    published = _FILES.get(dataset.name, _Published((), ()))
    for folder in published.folders:
        if (Path(dataset.source) / folder).is_dir():
            return _of_files(Path(dataset.source) / folder, published, dataset)
    shipped = packaged_list(_LASOT_FILE)
    if set(dataset.sequence_names) <= {row.partition(",")[0] for row in shipped.splitlines()}:
        return _of_table(shipped, _LASOT_FILE, dataset)
    looked = [OWN_FILE, *(f"{folder}/" for folder in published.folders)]
    raise NoAttributesError(
        f"{dataset.name}: no attributes of its sequences; looked for {', '.join(looked)} in "
        f"{dataset.source} (attributes.csv: a column `sequence`, then a column of 0 and 1 for "
        "every attribute)"
    )


def score_attributes(score: DatasetScore, attributes: Attributes) -> dict[str, Score]:
    """The score on the sequences of each attribute, combined as that of the whole data set.

    Attributes that no scored sequence has are left out.
    """
    found = {}
    for attribute in attributes.names:
        members = [
            one
            for name, one in score.sequences.items()
            if attribute in attributes.by_sequence.get(name, ())
        ]
        if members:
            found[attribute] = mean_score(members, score.convention)
    return found


def _of_table(text: str, name: str, dataset: Dataset) -> Attributes:
    """Attributes of a CSV with a header; lines about other sequences are passed over."""
    try:
        lines = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise DataError(f"{name}: not a CSV table ({error})") from None
    header = lines[0] if lines else []
    if len(header) < 2 or header[0] != "sequence" or len(set(header)) < len(header):
        raise DataError(
            f"{name}:1: the header is {','.join(header)[:60]!r}; expected `sequence` and then "
            "the names of the attributes, each once"
        )
    names = tuple(header[1:])
    found: dict[str, tuple[str, ...]] = {}
    for number, cells in enumerate(lines[1:], start=2):
        if not cells:
            continue
        if len(cells) != len(header) or set(cells[1:]) - {"0", "1"}:
            raise DataError(
                f"{name}:{number}: {','.join(cells)[:60]!r} is not a sequence and "
                f"{len(names)} values of 0 or 1"
            )
        found[cells[0]] = _chosen(names, [int(cell) for cell in cells[1:]])
    missing = [one for one in dataset.sequence_names if one not in found]
    if missing:
        raise DataError(
            f"{name}: no line for sequence {missing[0]} ({len(missing)} of "
            f"{len(dataset)} are missing)"
        )
    return Attributes(names, {one: found[one] for one in dataset.sequence_names}, name)


def _of_files(folder: Path, published: _Published, dataset: Dataset) -> Attributes:
    """Attributes of a folder with a file of 0 and 1 per sequence."""
    names, ending = published.names, published.ending
    files = sorted(folder.glob(f"*{ending}.txt"))
    by_key = {spelling_key(path.stem.removesuffix(ending)): path for path in files}
    found = {}
    for name in dataset.sequence_names:
        path = by_key.get(spelling_key(name), folder / f"{name}{ending}.txt")
        found[name] = _chosen(names, read_flags(path).tolist(), str(path))
    return Attributes(names, found, str(folder))


def _chosen(names: Sequence[str], flags: Sequence[int], source: str = "") -> tuple[str, ...]:
    if len(flags) != len(names):
        raise DataError(
            f"{source}:1: {len(flags)} values, expected {len(names)} ({', '.join(names)})"
        )
    return tuple(name for name, flag in zip(names, flags, strict=True) if flag)
