"""What goes wrong with the files of a process: it is counted, and at a given operation it happens.

Python reports every opening, renaming and removal of a file before it happens (`sys.addaudithook`);
an error raised there is the error of the operation, so nothing has to be preloaded or mounted.
What the system itself cuts short, in the middle of a file, is a limit on the size of files.
"""

import contextlib
import errno
import os
import random
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.utime")
_DAY = 86_400.0


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: one of `KINDS`.
        at: the operation at which it happens, from 0; None where nothing does. Of kind `memory`
            it is a call of a module of a network.
        size: bytes that a file may have, of kind `short`.
    """

    kind: str = "none"
    at: int | None = None
    size: int = 0

    def __str__(self) -> str:
        if self.kind == "short":
            return f"files end after {self.size} bytes"
        if self.kind in ("late kill", "worker kill"):
            return KINDS[self.kind]
        return f"{KINDS[self.kind]} at operation {self.at}"


KINDS = {
    "none": "nothing",
    "kill": "killed",
    "late kill": "killed by the clock",
    "full": "disk full from then on",
    "short": "files end early",
    "read-only": "read-only from then on",
    "error": "one I/O error",
    "away": "the drive is gone from then on",
    "clock": "the clock jumps by a day",
    "memory": "the device is out of memory",
    "worker kill": "one of its processes killed",
}
# More than half of all rounds are kills.
USUAL = (*["kill"] * 6, "late kill", "full", "short", "error", "away", "read-only", "clock")


class FaultyFiles:
    """Counts operations on files below a folder, and breaks those that a fault says.

    It stays as long as the process.

    Args:
        folder: others are left alone.
        fault: what happens.
    """

    def __init__(self, folder: Path, fault: Fault) -> None:
        self.folder, self.fault = os.path.realpath(folder) + os.sep, fault
        self.count = 0
        # Operations by which files got their final names.
        self.moments: list[int] = []
        self._lock = threading.Lock()
        self._fsync, self._time = os.fsync, time.time
        if fault.kind == "short":
            # The signal is ignored by Python, so that the write ends with an error.
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.size, fault.size))
        os.fsync = self._synchronise  # type: ignore[assignment]
        time.time = self._now
        sys.addaudithook(self._audit)

    def operation(self, path: str, writes: bool, grows: bool = False, places: bool = False) -> None:
        """Count an operation, and do to it what the fault says.

        Args:
            path: of the file.
            writes: whether a read-only drive refuses it.
            grows: whether a full one does.
            places: whether a file gets its final name.
        """
        with self._lock:
            number = self.count
            self.count += 1
            if places:
                self.moments.append(number)
        at, kind = self.fault.at, self.fault.kind
        if at is None or number < at:
            return
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "full" and grows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if kind == "read-only" and writes:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        if kind == "away" or (kind == "error" and number == at):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path, _, flags = arguments
            writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            grows = writes
        elif event in _WRITES and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path, writes, grows = arguments[0], True, event == "os.mkdir"
        else:
            return
        text = os.path.abspath(os.fsdecode(path))
        if self._below(text):
            self.operation(text, writes, grows, event == "os.rename")

    def _synchronise(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = os.readlink(f"/proc/self/fd/{number}")
        if self._below(path):
            self.operation(path, writes=True, grows=True)
        self._fsync(descriptor)

    def _below(self, path: str) -> bool:
        return (os.path.realpath(os.path.dirname(path)) + os.sep).startswith(self.folder)

    def _now(self) -> float:
        late = self.fault.kind == "clock" and self.count > (self.fault.at or 0)
        # Back and forth: a clock that was wrong is set right.
        return self._time() + (_DAY * (-1) ** self.count if late else 0.0)


def family(process: int) -> Iterator[int]:
    """A process, and all that it and those have started."""
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


class ForkedWork:
    """A function that runs in a forked process group of its own.

    Args:
        work: gives the exit status.
    """

    def __init__(self, work: Callable[[], int]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # No file, because files may be cut short.
        self._output, sender = os.pipe()
        os.set_blocking(self._output, False)
        self._text = b""
        self.number = os.fork()
        if not self.number:
            self._run(work, sender)
        os.close(sender)

    def _run(self, work: Callable[[], int], sender: int) -> None:
        code = TRACEBACK
        try:
            os.setsid()
            os.dup2(sender, 1)
            os.dup2(sender, 2)
            # Those of the parent may stand for files, in which one can seek.
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def kill(self) -> None:
        """End it, and all that it has started, also in groups of their own."""
        started = list(family(self.number))[1:]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.number, signal.SIGKILL)
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def kill_worker(self, rng: random.Random, seconds: float) -> None:
        """End one of the processes that its launcher has started, within so many seconds."""
        while self._runs() and not self._workers():
            time.sleep(0.05)
        time.sleep(rng.random() * seconds)
        if self._runs() and (workers := self._workers()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)

    def _runs(self) -> bool:
        return os.waitid(os.P_PID, self.number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def _workers(self) -> list[int]:
        """Below this process comes the launcher, then the workers."""
        return list(family(self.number))[2:]

    def wait(self) -> tuple[int, str]:
        """Exit status, below 0 the signal that ended it, and the last that it printed."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])
        # Workers of its own, which nobody waits for.
        self.kill()
        self.listen()
        os.close(self._output)
        return code, self._text.decode(errors="replace").strip()

    def listen(self) -> None:
        """Take what it has printed; a full pipe would stop it for ever."""
        with contextlib.suppress(BlockingIOError):
            self._text = (self._text + os.read(self._output, 1 << 16))[-600:]


# Exit status of a process that ended by an error nobody expected.
TRACEBACK = 70
