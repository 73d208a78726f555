"""What there is to track, what of it is there already, and what is missing at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.datasets.sequence import Dataset
from lib.evaluation.one_by_one import RunOptions
from lib.evaluation.sequence import frames_to_run, has_pictures
from lib.results.files import ResultsFolder
from lib.utils.errors import DataError, SeqTrackError

# Where all sequences fail, the first few reasons tell why.
REASONS_SHOWN = 5
# Of failures that are listed at the end.
FAILURES_SHOWN = 20


@dataclass
class Plan:
    """The sequences of one run.

    Attributes:
        folder: where its results go.
        options: limits and formats.
        lengths: frames to track, for each sequence that can be started.
        failed: for each of the others, why it cannot.
    """

    folder: ResultsFolder
    options: RunOptions
    lengths: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def longest_first(self) -> list[str]:
        """Who starts last should not be who takes longest: the others would wait for it."""
        return sorted(self.lengths, key=lambda name: (-self.lengths[name], name))

    def is_done(self, name: str) -> bool:
        """Whether the results of a sequence are there and whole, and the pictures, if wanted."""
        frames, pictures = self.lengths[name], self.options.debug_dir
        drawn = pictures is None or has_pictures(pictures, name, frames)
        return drawn and self.folder.is_complete(name, frames)

    def missing(self) -> dict[str, str]:
        """What is not in the folder at the end, with words for it; only files are the truth."""
        return {
            name: f"{self.folder.boxes_file(name)} is not there or not whole; run the same again"
            for name in self.lengths
            if not self.folder.is_complete(name, self.lengths[name])
        }


def make_plan(
    dataset: Dataset, names: list[str], folder: ResultsFolder, options: RunOptions
) -> Plan:
    """Look at all sequences that are to be tracked; their annotations are read for it.

    Raises:
        DataError: not one of them can be started.
    """
    plan = Plan(folder, options)
    clashes = folder.clashes(dataset.sequence_names)
    for name in names:
        if name in clashes:
            plan.failed[name] = (
                f"its result file would also be that of the times or confidences of sequence "
                f"{clashes[name]!r}; rename one of them"
            )
            continue
        try:
            plan.lengths[name] = frames_to_run(dataset.load(name), options.max_frames)
        except SeqTrackError as error:
            plan.failed[name] = str(error)
    if len(plan.failed) == len(names):
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
