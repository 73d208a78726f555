"""Something done again and again as long as a process lives, for those who look from elsewhere."""

import contextlib
import threading
from collections.abc import Callable


class Heartbeat:
    """Calls `beat` every `seconds` from `start` to `stop`, in a thread of its own."""

    def __init__(self, beat: Callable[[], object], seconds: float) -> None:
        self._call, self._seconds = beat, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for a beat that is under way; nothing happens before `start`."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(self._seconds):
            # A disk that is away for a moment must not end it.
            with contextlib.suppress(OSError):
                self._call()
