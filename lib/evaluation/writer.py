"""Writes the results of a run as they come, and ends it when there is no room left for them."""

from lib.evaluation.plan import Plan
from lib.evaluation.sequence import Outcome
from lib.results.files import RunRecord, claim_folder
from lib.utils.errors import PartialFailure, counted
from lib.utils.files import is_disk_full


class ResultWriter:
    """Writes results into the folder of a run, which is claimed with the first of them.

    Args:
        plan: which sequences, where the results go, and in which format.
        record: what makes these results.
        overwrite: results that are there already are to be replaced.
    """

    def __init__(self, plan: Plan, record: RunRecord, overwrite: bool = False) -> None:
        self.plan, self.record, self.overwrite = plan, record, overwrite
        self.written: set[str] = set()
        self._claimed = False

    def write(self, outcome: Outcome) -> str:
        """Write the result of a sequence; returns why there is none, or an empty string.

        Raises:
            ResultsError: another run has claimed the folder meanwhile.
            PartialFailure: the disk is full: all other sequences would be tracked for nothing.
        """
        if outcome.disk_full:
            raise self._stop(outcome.reason)
        if outcome.result is None:
            return outcome.reason
        folder = self.plan.folder
        try:
            if not self._claimed:
                claim_folder(folder, self.record, self.overwrite)
                self._claimed = True
            folder.write(outcome.name, outcome.result, self.plan.options.as_float)
        except OSError as error:
            if is_disk_full(error):
                raise self._stop(str(error)) from error
            return f"its results cannot be written: {error}"
        self.written.add(outcome.name)
        return ""

    def _stop(self, reason: str) -> PartialFailure:
        left = [
            name
            for name in self.plan.lengths
            if name not in self.written and (self.overwrite or not self.plan.is_done(name))
        ]
        again = "the same command"
        if self.plan.options.overwrite:
            again += " without --overwrite"
        return PartialFailure(
            f"{self.plan.folder.root}: the disk is full ({reason}); "
            f"{len(left)} of {counted(len(self.plan.lengths), 'sequence')} are left, the others "
            f"are saved: make room, and {again} goes on with them"
        )


def ending(outcome: Outcome, reason: str) -> str:
    """How a sequence ended, in words; `reason` is why there is no result, or empty."""
    if outcome.result is None or reason:
        return f"FAILED: {reason}"
    frames = len(outcome.result.boxes)
    return f"{frames} frames, {frames / outcome.result.times.sum():.1f} frames/s"
