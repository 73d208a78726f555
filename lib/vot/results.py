"""Raw results of a workspace: what belongs there, what is there or half-written, what made it.

    results/<tracker>/<experiment>/<sequence>/<run>.bin          or .txt: a region per frame
    results/<tracker>/<experiment>/<sequence>/<run>_time.value   seconds per frame

    results/<tracker>/run.json                                   what made them all

A run is named `<sequence>_<start frame, 8 digits>`, or `<sequence>_001` without anchors. The
toolkit keeps whatever is there: `run.json` tells results of other weights from a tracker's own.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.results.files import RUN_FILE, read_run_record, record_changes
from lib.utils.errors import DataError, ResultsError
from lib.utils.files import atomic_write_text
from lib.vot.regions import Region, read_regions
from lib.vot.sequences import VotRun, VotSequence
from lib.vot.stacks import Experiment

# The toolkit reads text where both are there.
_SUFFIXES = (".txt", ".bin")


@dataclass(frozen=True)
class RunFile:
    """Where the result of one run belongs."""

    folder: Path  # `results/<tracker>/<experiment>/<sequence>`
    experiment: Experiment  # what the run is of
    run: VotRun  # the run

    def find(self) -> Path | None:
        """The file that is there."""
        paths = (self.folder / f"{self.run.stem}{suffix}" for suffix in _SUFFIXES)
        return next((path for path in paths if path.is_file()), None)

    def read(self) -> list[Region]:
        """The regions, one for each frame of the run.

        Raises:
            ResultsError: missing, malformed, or of another length.
        """
        path = self.find()
        if path is None:
            raise ResultsError(f"{self.folder / self.run.stem}.bin: not found")
        try:
            regions = read_regions(path)
        except DataError as error:
            raise ResultsError(str(error)) from error
        if len(regions) != len(self.run.frames):
            raise ResultsError(
                f"{path}: {len(regions)} regions for a run of {len(self.run.frames)} frames; "
                "these are results on other sequences"
            )
        return regions

    @property
    def companions(self) -> list[Path]:
        """The files beside it: times, and what the tracker reported."""
        return sorted(self.folder.glob(f"{self.run.stem}_*.value"))

    def is_cut(self) -> bool:
        """Whether the file was left half-written by a toolkit that was killed.

        It writes the regions first and its times last, so that times which are missing or too
        few tell as well.
        """
        path = self.find()
        if path is None:
            return False
        if path.suffix == ".bin":
            try:
                read_regions(path)
            except DataError:
                return True
        times = self.folder / f"{self.run.stem}_time.value"
        return not times.is_file() or times.read_bytes().count(b"\n") < len(self.run.frames)

    def remove(self) -> None:
        """Remove the file and what is beside it."""
        for path in (self.find(), *self.companions):
            if path is not None:
                path.unlink()


def run_files(
    results: Path, experiments: Iterable[Experiment], sequences: Sequence[VotSequence]
) -> Iterator[RunFile]:
    """All that belongs to a tracker, whose folder is `results`."""
    for experiment in experiments:
        for sequence in sequences:
            folder = results / experiment.name / sequence.name
            for run in sequence.runs(experiment):
                yield RunFile(folder, experiment, run)


def has_results(results: Path) -> bool:
    """Whether a tracker's folder holds any result file."""
    return any(path.suffix in _SUFFIXES for path in results.glob("*/*/*"))


@dataclass(frozen=True)
class VotRecord:
    """What decides the answers of a tracker; all but the version must stay the same."""

    tracker: str  # kind of tracker
    config_name: str  # its configuration
    settings: Mapping[str, Any]  # those of the configuration that decide boxes, by dotted key
    checkpoint_sha256: str | None  # of the weights; None for trackers without
    refiner: str | None  # kind of mask refiner; None for boxes
    refiner_sha256: str | None  # of its weights; None without
    stack: str  # name of the stack
    version: str = ""  # of the project, for information


def other_maker(results: Path, record: VotRecord) -> str:
    """In words, what else made the results in a tracker's folder; empty if nothing did.

    Also empty where there are no results.
    """
    if not has_results(results):
        return ""
    path = results / RUN_FILE
    if not path.is_file():
        return f"{results}: holds results but no {RUN_FILE} that says what made them"
    try:
        known = read_run_record(path)
    except ResultsError as error:
        return str(error)
    now = json.loads(json.dumps(asdict(record)))
    differing = record_changes(known, now, ("version",))
    return f"{path}: results of another run ({', '.join(differing)})" if differing else ""


def check_maker(results: Path, record: VotRecord) -> None:
    """Make sure that a tracker's folder holds results of `record`, or none.

    Raises:
        ResultsError: there are results of something else.
    """
    if problem := other_maker(results, record):
        raise ResultsError(
            f"{problem}; --overwrite removes them and runs anew, or move the folder away to keep "
            "them"
        )


def claim_results(results: Path, record: VotRecord, overwrite: bool) -> None:
    """Make a tracker's folder that of `record` before the toolkit writes into it.

    Args:
        record: what will run now.
        overwrite: remove results of anything else.

    Raises:
        ResultsError: without `overwrite`, there are results of something else.
        OSError: the folder cannot be written.
    """
    if not overwrite:
        check_maker(results, record)
    elif results.is_dir():
        shutil.rmtree(results)
    text = json.dumps(asdict(record), indent=2) + "\n"
    path = results / RUN_FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        atomic_write_text(path, text)
