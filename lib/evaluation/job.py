"""What `seqtrack test` has made of its arguments; nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from lib.datasets.sequence import Dataset
from lib.results.files import ResultsFolder, RunRecord
from lib.tracker.spec import TrackerSpec


@dataclass(frozen=True)
class Job:
    """One configuration on a data set.

    Attributes:
        dataset: where the sequences come from.
        names: which of them.
        spec: builds the tracker.
        folder: where the results go.
        record: what makes them.
        debug_dir: where frames with drawn boxes go, or None.
    """

    dataset: Dataset
    names: list[str]
    spec: TrackerSpec
    folder: ResultsFolder
    record: RunRecord
    debug_dir: Path | None
