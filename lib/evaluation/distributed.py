"""Which of the workers of torchrun this process is.

What they share is the results folder (see the queue). Its results are to be replaced once per
launch, and not again when torchrun restarts the workers; that is kept in torchrun's store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from lib.utils.errors import SeqTrackError

_STORE_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True)
class WorkerRank:
    """A worker of a launch of torchrun."""

    local_rank: int  # number of the worker on its machine
    local_size: int  # workers on this machine
    # Host and port of the launch's store; None where it has none that outlives a worker
    store: tuple[str, int] | None = None

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "WorkerRank | None":
        """The rank that the environment gives; None where torchrun has not started this process.

        Raises:
            SeqTrackError: it gives only a part of it.
        """
        if "TORCHELASTIC_RUN_ID" not in env:
            return None
        try:
            store = env["MASTER_ADDR"], int(env["MASTER_PORT"])
            outlives = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            ranks = int(env["LOCAL_RANK"]), int(env["LOCAL_WORLD_SIZE"])
            return cls(*ranks, store if outlives else None)
        except (KeyError, ValueError) as error:
            raise SeqTrackError(
                f"the environment of torchrun is not complete ({error}); start the workers with "
                "torchrun, or unset TORCHELASTIC_RUN_ID"
            ) from None

    def shared(self, key: str, value: float) -> float:
        """The value of the first worker of the launch that calls this with `key`.

        Raises:
            SeqTrackError: there is no store, or nobody answers there.
        """
        from torch import distributed as dist

        if self.store is None:
            raise SeqTrackError(
                "--overwrite needs the store of torchrun, which it does not share with the "
                "workers; unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
            )
        host, port = self.store
        try:
            store = dist.TCPStore(host, port, is_master=False, timeout=_STORE_TIMEOUT)
            return float(store.compare_set(f"seqtrack/{key}", "", repr(value)))
        except RuntimeError as error:
            raise SeqTrackError(
                f"the store of torchrun cannot be reached at {host}:{port} "
                f"({str(error).splitlines()[0]})"
            ) from None
