"""Where the next sequence comes from: a list, a pipe to the parent, a queue of many machines."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from lib.evaluation.sequence import Outcome
from lib.tracker.base import BaseTracker


class SequenceSource(Protocol):
    """Gives names of sequences, each to one taker."""

    def take(self, wait: bool) -> str | None:
        """The next sequence.

        Args:
            wait: whether to wait until there is one. Who still has sequences to track must not
                wait: others may be waiting for those.

        Returns:
            its name; None where there is none just now, and after waiting, none ever.
        """
        ...


class ListSource:
    """Gives what is in a list.

    Args:
        names: in this order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = deque(names)

    def take(self, wait: bool) -> str | None:
        return self._names.popleft() if self._names else None


# Tracks what a source gives; the callback is called after each frame. Raises SeqTrackError only
# where nothing can be tracked at all.
Follow = Callable[[BaseTracker, SequenceSource, Callable[[], object]], Iterator[Outcome]]
