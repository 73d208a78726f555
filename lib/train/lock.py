"""One training at a time in a folder: two would write the same files and one log.

`training.lock` names the process that trains there, and the system locks it until that process ends
in whatever way: the file of a killed training hinders nobody on this machine. Elsewhere (another
machine, a file system without locks) the file's age decides: a training touches it regularly.
"""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, TextIO

from lib.utils.errors import SeqTrackError
from lib.utils.heartbeat import Heartbeat
from lib.utils.json_text import parse_json

LOCK_NAME = "training.lock"
_HEARTBEAT_SECONDS = 20.0
_DEAD_SECONDS = 120.0


class TrainingLock:
    """The lock of a folder of checkpoints, which is made if need be; free until `acquire`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self._stream: TextIO | None = None
        self._heartbeat = Heartbeat(self._touch, _HEARTBEAT_SECONDS)

    def acquire(self) -> None:
        """Take the lock and keep it fresh.

        Raises:
            SeqTrackError: another training has it, and nothing was written; or nothing can be.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            stream, locked = _open_and_lock(self.path)
        except OSError as error:
            reason = error.strerror or error
            raise SeqTrackError(f"{self.path}: cannot write there ({reason})") from None
        stream.seek(0)
        holder = _holder(stream.read())
        fresh = time.time() - os.fstat(stream.fileno()).st_mtime < _DEAD_SECONDS
        here = holder.get("host") == socket.gethostname()
        if locked is False or (holder and fresh and not (locked and here)):
            stream.close()
            raise self._refusal(holder, here)
        stream.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S%z")
        json.dump({"process": os.getpid(), "host": socket.gethostname(), "since": since}, stream)
        stream.flush()
        self._stream = stream
        self._heartbeat.start()

    def close(self) -> None:
        self._heartbeat.stop()
        if self._stream is not None:
            self.path.unlink(missing_ok=True)
            self._stream.close()
            self._stream = None

    def _touch(self) -> None:
        os.utime(self.path)

    def _refusal(self, holder: dict[str, Any], here: bool) -> SeqTrackError:
        who = f"process {holder.get('process', '?')} on {holder.get('host', '?')}"
        advice = "" if here else (
            f"; if it was killed, {self.path} is void {_DEAD_SECONDS:.0f} s later, or remove it"
        )  # fmt: skip
        return SeqTrackError(
            f"{self.path.parent}: a training runs there ({who}, since "
            f"{holder.get('since', 'just now')}); end it, or give another --save-dir{advice}"
        )


def _open_and_lock(path: Path) -> tuple[TextIO, bool | None]:
    """The file at `path`, and whether this process has the system's lock of it.

    The lock is False where another process has it, None where the system knows no locks.
    """
    while True:
        stream = open(path, "a+", encoding="utf-8")
        locked = _lock(stream)
        try:
            if locked is False or os.path.samestat(os.fstat(stream.fileno()), os.stat(path)):
                return stream, locked
        except FileNotFoundError:
            pass
        # Whoever had it removed the file in between.
        stream.close()


def _lock(stream: TextIO) -> bool | None:
    try:
        import fcntl  # not on every system
    except ImportError:
        return None
    try:
        # A record lock, which child processes (they load data) do not inherit.
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _holder(text: str) -> dict[str, Any]:
    try:
        content = parse_json(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
