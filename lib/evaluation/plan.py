"""What there is to track, what of it is there already, and what is missing at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib.datasets.sequence import Dataset
from lib.evaluation.sequence import frames_to_run, has_pictures
from lib.results.files import ResultsFolder, RunRecord
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import DataError, SeqTrackError

# Where all sequences fail, the first few reasons tell why.
REASONS_SHOWN = 5
# Of failures that are listed at the end.
FAILURES_SHOWN = 20


@dataclass(frozen=True)
class RunOptions:
    """How a data set is run."""

    max_frames: int | None = None  # frames per sequence, or None for all
    as_float: bool = False  # keep decimals in the raw results
    debug_dir: Path | None = None  # where frames with drawn boxes go, or None
    overwrite: bool = False  # track again what is complete already
    batch_size: int = 1  # sequences that one process tracks at a time, in lock-step
    readers: int = 0  # threads of one process that read frames ahead; 0 chooses by the cores


@dataclass(frozen=True, eq=False)
class Job:
    """One configuration on a data set."""

    dataset: Dataset  # where the sequences come from
    names: list[str]  # which of them
    spec: TrackerSpec  # builds the tracker
    folder: ResultsFolder  # where the results go; complete ones in it are not tracked again
    record: RunRecord  # what makes these results, and has made those in the folder
    options: RunOptions = RunOptions()  # limits and formats

    @property
    def title(self) -> str:
        return f"{self.spec.tracker}/{self.spec.config_name}"


@dataclass
class Plan:
    """The sequences of a job."""

    job: Job  # what is asked for
    # Frames to track, for each sequence that can be started
    lengths: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)  # for each of the others, why it cannot
    # When the run began, by the clock of the folder; results that are to be overwritten are older
    started: float = 0.0

    @property
    def longest_first(self) -> list[str]:
        """Who starts last should not be who takes longest: the others would wait for it."""
        return sorted(self.lengths, key=lambda name: (-self.lengths[name], name))

    def has_result(self, name: str) -> bool:
        """Whether the result of a sequence is there, whole, and none that is to be replaced."""
        folder = self.job.folder
        if not folder.is_complete(name, self.lengths[name]):
            return False
        if not self.job.options.overwrite:
            return True
        return folder.boxes_file(name).stat().st_mtime > self.started

    def is_done(self, name: str) -> bool:
        """Whether the result of a sequence is there, and the pictures, if wanted."""
        pictures = self.job.options.debug_dir
        drawn = pictures is None or has_pictures(pictures, name, self.lengths[name])
        return drawn and self.has_result(name)

    def missing(self) -> dict[str, str]:
        """What is not in the folder at the end, with words for it; only files are the truth."""
        return {
            name: f"{self.job.folder.boxes_file(name)} is not there or not whole; "
            "run the same again"
            for name in self.lengths
            if not self.has_result(name)
        }


def make_plan(job: Job) -> Plan:
    """Look at all sequences that are to be tracked; their annotations are read for it.

    Raises:
        DataError: not one of them can be started.
    """
    plan = Plan(job)
    clashes = job.folder.clashes(job.dataset.sequence_names)
    for name in job.names:
        if name in clashes:
            plan.failed[name] = (
                f"its result file would also be that of the times or confidences of sequence "
                f"{clashes[name]!r}; rename one of them"
            )
            continue
        try:
            plan.lengths[name] = frames_to_run(job.dataset.load(name), job.options.max_frames)
        except SeqTrackError as error:
            plan.failed[name] = str(error)
    if len(plan.failed) == len(job.names):
        raise DataError(f"no sequence can be started{_listed(plan.failed)}")
    return plan


def failure_lines(failed: Mapping[str, str], word: str = "failed") -> list[str]:
    """Every failed sequence, the first ones with their reason; hundreds fit one screen."""
    names = list(failed)
    lines = [f"{word}: {name}: {failed[name]}" for name in names[:FAILURES_SHOWN]]
    if more := names[FAILURES_SHOWN:]:
        lines.append(f"{word}: {len(more)} more: {', '.join(more)}")
    return lines


def _listed(failed: dict[str, str]) -> str:
    reasons = [f"{name}: {reason}" for name, reason in failed.items()]
    if len(reasons) == 1:
        return f": {reasons[0]}"
    more = len(reasons) - REASONS_SHOWN
    shown = reasons[:REASONS_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return "\n  " + "\n  ".join(shown)
