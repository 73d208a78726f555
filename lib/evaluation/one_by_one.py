"""One sequence after the other, each with all that can go wrong in it."""

import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.datasets.prefetch import Readers, reader_threads
from lib.datasets.sequence import Dataset, Video
from lib.evaluation.plan import RunOptions
from lib.evaluation.sequence import OnFrame, Outcome, SequenceSource, frame_writer, run_sequence
from lib.tracker.base import BaseTracker
from lib.utils.errors import SeqTrackError, out_of_memory
from lib.utils.files import is_disk_full

logger = logging.getLogger(__name__)


def failure(name: str, error: Exception) -> Outcome:
    """The outcome of a sequence that an error ended; an unexpected one is logged in full."""
    if isinstance(error, OSError):
        return Outcome(name, reason=str(error), disk_full=is_disk_full(error))
    if isinstance(error, SeqTrackError):
        return Outcome(name, reason=str(error))
    if (reason := out_of_memory(error)) is not None:
        return Outcome(name, reason=reason)
    text = "".join(traceback.format_exception(error))
    logger.error("sequence %s failed unexpectedly:\n%s", name, text)
    return Outcome(name, reason=f"{type(error).__name__}: {error}")


def after_frame(sequence: Video, debug_dir: Path | None, on_frame: Callable[[], object]) -> OnFrame:
    """What happens after each frame of a sequence: the picture, if wanted, and the count."""
    write = None if debug_dir is None else frame_writer(sequence, debug_dir)

    def after(index: int, image: np.ndarray, box: list[float]) -> None:
        if write is not None:
            write(index, image, box)
        on_frame()

    return after


@dataclass(frozen=True)
class OneByOne:
    """Tracks the sequences of a data set that a source names; picklable, so workers can have it.

    Every failure becomes an outcome with its reason: one bad sequence must not stop the rest.
    """

    dataset: Dataset
    options: RunOptions
    processes: int = 1

    def __call__(
        self, tracker: BaseTracker, source: SequenceSource, on_frame: Callable[[], object]
    ) -> Iterator[Outcome]:
        """Track all that `source` gives, calling `on_frame` after each frame."""
        with Readers(reader_threads(self.options.readers, self.processes)) as readers:
            while (name := source.take(wait=True)) is not None:
                yield self._track(tracker, name, on_frame, readers)

    def _track(
        self, tracker: BaseTracker, name: str, on_frame: Callable[[], object], readers: Readers
    ) -> Outcome:
        try:
            sequence = self.dataset.load(name)
            after = after_frame(sequence, self.options.debug_dir, on_frame)
            result = run_sequence(tracker, sequence, self.options.max_frames, after, readers)
        except Exception as error:
            return failure(name, error)
        return Outcome(name, result=result)
