"""Raw result files of a workspace: what belongs there, what is there, what is half-written.

    results/<tracker>/<experiment>/<sequence>/<run>.bin          or .txt: a region per frame
    results/<tracker>/<experiment>/<sequence>/<run>_time.value   seconds per frame

A run is named `<sequence>_<start frame, 8 digits>`, or `<sequence>_001` without anchors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.utils.errors import DataError, ResultsError
from lib.vot.regions import Region, read_regions
from lib.vot.sequences import VotRun, VotSequence
from lib.vot.stacks import Experiment

# The toolkit reads text where both are there.
_SUFFIXES = (".txt", ".bin")


@dataclass(frozen=True)
class RunFile:
    """Where the result of one run belongs.

    Attributes:
        folder: `results/<tracker>/<experiment>/<sequence>`.
        experiment: what the run is of.
        run: the run.
    """

    folder: Path
    experiment: Experiment
    run: VotRun

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
