"""SIGTERM and Ctrl-C that wait until the running step is done."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal and a launcher may both pass on one Ctrl-C.
_SAME_SECONDS = 1.0


class StopRequest:
    """Inside `with`, a first SIGTERM or Ctrl-C only sets `number`; a second Ctrl-C acts at once."""

    def __init__(self) -> None:
        self.number = 0
        self._time = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Python delivers signals to the main thread and lets only that one ask for them.
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._note)
                for number in SIGNALS
                # A job in the background of a script ignores Ctrl-C from its start, and goes on so.
                if signal.getsignal(number) != signal.SIG_IGN
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            # None: the handler was not installed through Python.
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}

    def act(self, number: int) -> NoReturn:
        """Call the handlers of before, which leave."""
        with self.at_once():
            signal.raise_signal(number)
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Signals act at once in this block, while everything is saved anyway."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self._time = number, time.monotonic()
        # Schedulers repeat SIGTERM. For those who cannot wait there is SIGKILL.
        elif number == signal.SIGINT and time.monotonic() - self._time > _SAME_SECONDS:
            self.act(number)
