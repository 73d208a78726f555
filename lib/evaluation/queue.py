"""The results folder as a queue: each of the processes that write there takes what is left.

A worker claims a sequence by creating `.claims/<sequence>.claim`, which only one process can, and
removes the file when the result is written. As long as it lives it touches its heartbeat file.
What a dead worker has claimed is taken over, so a process or a machine that dies loses nothing. A
worker that is only slow may so be doubled: both write the same file, and whole.

Result files are the truth about what is done. Why a sequence failed is in `<sequence>.failed`;
what was written there before this run began is tried again.
"""

import contextlib
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lib.evaluation.plan import Plan
from lib.utils.files import atomic_write_text
from lib.utils.heartbeat import Heartbeat

# A process that starves on a busy machine still beats within this; a dead one is waited for.
PATIENCE = 15.0
_BEAT = 3.0
# Not more often than this does a worker without work look whether there is some.
_LOOK = 1.0
_CLAIM = ".claim"
# Milliseconds that the clock of a folder may stand still; some have whole seconds.
_TICKS = 3000


def new_worker() -> str:
    """A name for a worker that no other has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def folder_time(results: Path) -> float:
    """The present time by the clock that dates the files of a folder, which must exist.

    It returns when that clock has gone on, so that files written from then on are newer.
    """
    with tempfile.NamedTemporaryFile(dir=results, prefix=".") as probe:
        now = os.stat(probe.name).st_mtime
        for _ in range(_TICKS):
            time.sleep(0.001)
            os.utime(probe.name)
            if os.stat(probe.name).st_mtime > now:
                break
    return now


def end_claims(results: Path, worker: str, reason: str = "") -> list[str]:
    """Remove the claims of a worker that has ended; returns their sequences.

    Args:
        reason: if given, nobody is to try them again, for this reason.
    """
    names = []
    for path in _folder(results).glob(f"*{_CLAIM}"):
        if _read(path) == worker:
            name = path.name.removesuffix(_CLAIM)
            if reason:
                _mark(results, name, reason)
            path.unlink(missing_ok=True)
            names.append(name)
    _heartbeat(results, worker).unlink(missing_ok=True)
    return names


def failure_of(plan: Plan, name: str) -> str:
    """Why a sequence has failed in this run, whoever tried it; empty if nobody says so."""
    path = _failure(plan.job.folder.root, name)
    try:
        return _read(path) if path.stat().st_mtime > plan.started else ""
    except OSError:
        return ""


class FolderQueue:
    """Gives sequences that nobody else is on; a `SequenceSource`. Used as a context.

    Args:
        plan: which results are wanted, and where they go.
        names: the sequences, in the order in which they are given.
        wait: whether `take` may wait for those of other workers, to take over from the dead.
        idle: called while it waits.
        worker: name of this worker.
    """

    def __init__(
        self,
        plan: Plan,
        names: Iterable[str],
        wait: bool = True,
        idle: Callable[[], object] = lambda: None,
        worker: str = "",
    ) -> None:
        self._plan, self._wait, self._idle = plan, wait, idle
        self._results = plan.job.folder.root
        self._worker = worker or new_worker()
        self._open = dict.fromkeys(names)
        self._held: set[str] = set()
        self._next: str | None = None
        self._looked = -_LOOK
        # Of each worker, its last heartbeat and when it was first seen with that.
        self._seen: dict[str, tuple[float, float]] = {}
        self._heartbeat = Heartbeat(_heartbeat(self._results, self._worker).touch, _BEAT)

    def __enter__(self) -> "FolderQueue":
        heartbeat = _heartbeat(self._results, self._worker)
        while not heartbeat.exists():
            # Again where another worker has just removed the empty folder.
            with contextlib.suppress(FileNotFoundError):
                _folder(self._results).mkdir(parents=True, exist_ok=True)
                heartbeat.touch()
        self._heartbeat.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._heartbeat.stop()
        end_claims(self._results, self._worker)
        with contextlib.suppress(OSError):
            _folder(self._results).rmdir()

    @property
    def settled(self) -> bool:
        """Whether, as far as this worker knows, nobody is on anything any more."""
        return not self._open

    def has_work(self) -> bool:
        """Whether there is a sequence to track; it is what `take` gives next."""
        self._next = self.take(wait=True)
        return self._next is not None

    def take(self, wait: bool) -> str | None:
        """The next name; see `SequenceSource`."""
        name, self._next = self._next, None
        while name is None:
            if time.monotonic() - self._looked >= _LOOK:
                waiting = [one for one in self._open if one not in self._held]
                name = next((one for one in waiting if self._claim(one)), None)
            if name is None:
                self._looked = time.monotonic()
                if not (wait and self._wait and self._open):
                    return None
                self._idle()
                time.sleep(_LOOK)
        self._held.add(name)
        return name

    def settle(self, name: str, reason: str = "") -> None:
        """Say that a name is dealt with, its result written; or why there is none."""
        self._open.pop(name, None)
        self._held.discard(name)
        if reason:
            _mark(self._results, name, reason)
        else:
            _failure(self._results, name).unlink(missing_ok=True)
        self._release(name)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only worker in the block."""
        path = _folder(self._results) / f".folder{_CLAIM}"
        while not (self._create(path) or self._take_over(path)):
            time.sleep(0.05)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def _claim(self, name: str) -> bool:
        if self._is_over(name):
            return False
        path = self._path(name)
        if not (self._create(path) or self._take_over(path)):
            return False
        # Its worker may have finished it after the first look.
        if self._is_over(name):
            self._release(name)
            return False
        return True

    def _is_over(self, name: str) -> bool:
        over = self._plan.is_done(name) or bool(failure_of(self._plan, name))
        if over:
            self._open.pop(name, None)
        return over

    def _create(self, path: Path) -> bool:
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(self._worker)
        except FileExistsError:
            return False
        return True

    def _take_over(self, path: Path) -> bool:
        """Make a dead worker's claim this worker's; False if it lives, or another was quicker."""
        owner = _read(path)
        # Who died before it could write its name has none.
        if self._is_alive(owner or path.name):
            return False
        aside = path.with_name(f"{path.name}.{self._worker}")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        if _read(aside) != owner:
            # It is that of a living worker, which has taken it over meanwhile.
            os.rename(aside, path)
            return False
        aside.unlink()
        return self._create(path)

    def _is_alive(self, worker: str) -> bool:
        """Whether a worker's heartbeat is recent; one that is unknown gets the same time."""
        try:
            beat = _heartbeat(self._results, worker).stat().st_mtime
        except FileNotFoundError:
            beat = 0.0
        now = time.monotonic()
        known, since = self._seen.get(worker, (-1.0, now))
        if beat != known:
            self._seen[worker] = (beat, now)
            return True
        return now - since < PATIENCE

    def _release(self, name: str) -> None:
        path = self._path(name)
        if _read(path) == self._worker:
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return _folder(self._results) / f"{name}{_CLAIM}"


def _folder(results: Path) -> Path:
    return results / ".claims"


def _heartbeat(results: Path, worker: str) -> Path:
    return _folder(results) / f"{worker}.heartbeat"


def _failure(results: Path, name: str) -> Path:
    return _folder(results) / f"{name}.failed"


def _mark(results: Path, name: str, reason: str) -> None:
    # Without the mark another worker tries it again, and no more.
    with contextlib.suppress(OSError):
        atomic_write_text(_failure(results, name), reason)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
