"""One queue of sequences for many processes and machines, over the store of `torchrun`.

A counter hands the sequences out, each once. That alone is not enough: what a killed worker was
on would never be tracked. So every worker writes its name to what it takes and lets its heart
beat in the store; what belongs to a heart that stands still is taken over. A worker that is only
slow may so be doubled. Nothing is lost by that: both write the same file, and whole.

Result files are the truth about what is done, the store only says who is on what. Its keys are
scoped by the run and by torchrun's count of restarts, because the store outlives the workers: a
second attempt on the counter of the first would leave out what the first had in hand.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from torch import distributed as dist

from lib.utils.errors import SeqTrackError

# A process that starves on a busy machine still beats within this; a dead one is waited for.
PATIENCE = 15.0
_BEAT = 1.0
# Not more often than this does a worker without work look whether there is some.
_LOOK = 1.0
_STORE_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True)
class Place:
    """Which worker of a run this process is, as torchrun has told it.

    Attributes:
        run: name of the run.
        attempt: how often torchrun has restarted the workers.
        local_rank: number of the worker on its machine.
        local_size: workers on this machine.
        address: host of the store.
        port: its port.
    """

    run: str
    attempt: int
    local_rank: int
    local_size: int
    address: str
    port: int

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "Place | None":
        """The place that the environment gives; None where torchrun has not started this process.

        Raises:
            SeqTrackError: the launcher has no store that outlives a worker.
        """
        if "TORCHELASTIC_RUN_ID" not in env:
            return None
        if env.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise SeqTrackError(
                "torchrun does not share its store with the workers, and the queue lives there; "
                "unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
            )
        try:
            return cls(
                run=env["TORCHELASTIC_RUN_ID"],
                attempt=int(env["TORCHELASTIC_RESTART_COUNT"]),
                local_rank=int(env["LOCAL_RANK"]),
                local_size=int(env["LOCAL_WORLD_SIZE"]),
                address=env["MASTER_ADDR"],
                port=int(env["MASTER_PORT"]),
            )
        except (KeyError, ValueError) as error:
            raise SeqTrackError(
                f"the environment of torchrun is not complete ({error}); start the workers with "
                "torchrun, or unset TORCHELASTIC_RUN_ID"
            ) from None


class Hearts:
    """This worker's heartbeat, and who else still has one.

    Args:
        store: shared by all workers.
        patience: seconds without a beat after which a worker counts as dead.
    """

    def __init__(self, store: dist.Store, patience: float = PATIENCE) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._store = store
        self._patience = patience
        self._stop = threading.Event()
        # Of each worker, its number of beats and when it was first seen with that.
        self._seen: dict[str, tuple[int, float]] = {}

    @contextlib.contextmanager
    def beating(self, store: dist.Store) -> Iterator[None]:
        """Beat while the block runs, by a connection of its own."""
        thread = threading.Thread(target=self._beat, args=(store,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _beat(self, store: dist.Store) -> None:
        # Where the store is gone, the worker itself finds out when it asks for more.
        with contextlib.suppress(RuntimeError):
            while not self._stop.wait(_BEAT):
                store.add(f"beat/{self.name}", 1)

    def is_alive(self, name: str) -> bool:
        """Whether a worker has been heard of lately; one that is unknown gets the same time."""
        beats = self._store.add(f"beat/{name}", 0)
        now = time.monotonic()
        known, since = self._seen.get(name, (-1, now))
        if beats != known:
            self._seen[name] = (beats, now)
            return True
        return now - since < self._patience


class SharedQueue:
    """Hands out names, each to one worker, and those of dead workers again.

    Args:
        store: shared by all workers that have the same names in the same order.
        names: what is to be done.
        is_done: whether the result of a name is there, in a file that all workers can see.
        hearts: of this worker.

    Raises:
        SeqTrackError: another worker of the run has other names.
    """

    def __init__(
        self,
        store: dist.Store,
        names: Sequence[str],
        is_done: Callable[[str], bool],
        hearts: Hearts,
    ) -> None:
        self._store = store
        self._names = list(names)
        self._is_done = is_done
        self._hearts = hearts
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._open = set(self._names)
        self._mine: set[str] = set()
        self._handed_out = False
        self._looked = -_LOOK
        self.lost = False
        self._compare()

    @property
    def settled(self) -> bool:
        """Whether, as far as this worker knows, nobody is on anything any more."""
        return not self._open

    def take(self, wait: bool) -> str | None:
        """The next name; see `Source`. A lost store has none: see `lost`."""
        try:
            while True:
                name = self._fresh() or self._orphan()
                if name is not None:
                    self._mine.add(name)
                    return name
                if not (wait and self._open):
                    return None
                time.sleep(_LOOK)
        except RuntimeError:
            self.lost = True
            return None

    def settle(self, name: str, reason: str = "") -> None:
        """Say that a name is dealt with, its result written; or why it never will be."""
        self._open.discard(name)
        try:
            self._store.set(f"end/{self._numbers[name]}", reason)
        except RuntimeError:
            self.lost = True

    def reasons(self) -> dict[str, str]:
        """Of the names that failed, why, whoever tried them."""
        found = {}
        try:
            for number, name in enumerate(self._names):
                key = f"end/{number}"
                if self._store.check([key]) and (reason := self._store.get(key).decode()):
                    found[name] = reason
        except RuntimeError:
            self.lost = True
        return found

    def _compare(self) -> None:
        """Make sure that all workers mean the same by a number."""
        ours = f"{len(self._names)} {uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(self._names))}"
        first = self._store.compare_set("names", "", ours).decode()
        if first != ours:
            raise SeqTrackError(
                f"another worker of this run has {first.split()[0]} sequences to share out, and "
                f"this one has {len(self._names)}, or others; give all machines the same "
                "arguments and the same data"
            )

    def _fresh(self) -> str | None:
        """One that nobody has had."""
        while not self._handed_out:
            number = self._store.add("next", 1) - 1
            if number >= len(self._names):
                self._handed_out = True
                break
            name = self._names[number]
            if not self._is_done(name):
                self._store.set(f"owner/{number}", self._hearts.name)
                return name
            self._open.discard(name)
        return None

    def _orphan(self) -> str | None:
        """One whose worker is dead."""
        if time.monotonic() - self._looked < _LOOK:
            return None
        for name in sorted(self._open - self._mine, key=self._numbers.__getitem__):
            number = self._numbers[name]
            if self._store.check([f"end/{number}"]) or self._is_done(name):
                self._open.discard(name)
                continue
            key = f"owner/{number}"
            # Who died before it could write its name has none.
            owner = self._store.get(key).decode() if self._store.check([key]) else ""
            if self._hearts.is_alive(owner or key):
                continue
            if self._store.compare_set(key, owner, self._hearts.name).decode() == self._hearts.name:
                return name
        self._looked = time.monotonic()
        return None


def connect(place: Place) -> dist.Store:
    """A connection to the store of the run, with keys of its own for this attempt.

    Raises:
        SeqTrackError: nobody answers there.
    """
    try:
        store = dist.TCPStore(place.address, place.port, is_master=False, timeout=_STORE_TIMEOUT)
    except RuntimeError as error:
        raise SeqTrackError(
            f"the store of torchrun cannot be reached at {place.address}:{place.port} "
            f"({str(error).splitlines()[0]})"
        ) from None
    return dist.PrefixStore(f"seqtrack/{place.run}", store)
