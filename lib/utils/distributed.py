"""One process or many: which of them this is, and the few things they do together."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from lib.utils.advice import advice
from lib.utils.device import resolve_device
from lib.utils.errors import PartialFailure, SeqTrackError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Others may wait while the first process validates or saves; the launcher sees dead ones.
_TIMEOUT = timedelta(hours=2)

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them.

    With one process every method is the trivial one and no process group is needed.
    """

    rank: int = 0  # number of this process, from 0
    size: int = 1  # number of processes
    local_rank: int = 0  # number of this process on its machine
    # Where this process computes
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def barrier(self) -> None:
        self.all_reduce_max(0)

    def all_reduce_max(self, number: int) -> int:
        """The highest of the numbers that the processes give."""
        if self.size == 1:
            return number
        # On the CPU: it must not wait for the work that the GPU still has to do.
        reduced = torch.tensor(number)
        dist.all_reduce(reduced, dist.ReduceOp.MAX)
        return int(reduced)

    def all_reduce_sum(self, numbers: Sequence[int]) -> list[int]:
        """The sums of the numbers that the processes give, element by element."""
        if self.size == 1:
            return list(numbers)
        reduced = torch.tensor(numbers)
        dist.all_reduce(reduced)
        return reduced.tolist()

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Means over the processes of scalars that all of them give under the same names.

        The order of the names may differ between processes. The scalars stay on their device
        and are not read.
        """
        scalars = {name: value.detach().float() for name, value in values.items()}
        if self.size == 1 or not scalars:
            return scalars
        together = torch.stack([scalars[name] for name in sorted(scalars)])
        dist.all_reduce(together)
        means = dict(zip(sorted(scalars), together / self.size, strict=True))
        return {name: means[name] for name in scalars}

    def on_main(self, action: Callable[[], T]) -> T:
        """Run `action` in the main process; all processes get the plain value that it returns.

        Raises:
            SeqTrackError: `action` raised it, in the main process.
            SystemExit: the same in the others, with its exit code: one process says why for all.
        """
        if self.size == 1:
            return action()
        outcome: list[tuple[T | None, int]] = [(None, 0)]
        failure: SeqTrackError | None = None
        if self.is_main:
            try:
                outcome = [(action(), 0)]
            except SeqTrackError as error:
                failure, outcome = error, [(None, error.exit_code)]
        dist.broadcast_object_list(outcome, 0, device=torch.device("cpu"))
        if failure is not None:
            raise failure
        value, code = outcome[0]
        if code:
            raise SystemExit(code)
        return value  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        """The plain values of all processes by rank, in the main one; nothing in the others."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        dist.gather_object(value, values if self.is_main else None)
        return values if self.is_main else []

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors with those of the main process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


@contextlib.contextmanager
def join_world(device: str = "auto", env: Mapping[str, str] | None = None) -> Iterator[World]:
    """Join the processes that `torchrun` started; alone where it did not start this one.

    Args:
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`; with several processes each takes the
            CUDA device of its number on the machine.
        env: environment to read; the process's own by default.

    Raises:
        SeqTrackError: the environment is incomplete, or there is no device for this process.
        PartialFailure: the block lost the connection to another process.
    """
    env = os.environ if env is None else env
    if "RANK" not in env or env.get("WORLD_SIZE") == "1":
        yield World(device=resolve_device(device))
        return
    rank, size, local_rank = _numbers(env)
    own = _own_device(device, local_rank)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo",
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
    )
    with lost_connections():
        yield World(rank, size, local_rank, own)
    # Not after an error: leaving the group waits for processes that may be gone.
    dist.destroy_process_group()


@contextlib.contextmanager
def lost_connections() -> Iterator[None]:
    """Say in one line that the block lost the connection to another process.

    Raises:
        PartialFailure: in place of what torch raises then.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "/gloo/" in str(error):
            raise PartialFailure(
                "another process of the run ended or cannot be reached; its messages tell why"
            ) from error
        raise


def _numbers(env: Mapping[str, str]) -> tuple[int, int, int]:
    missing = [name for name in _VARIABLES if name not in env]
    if missing:
        raise SeqTrackError(
            f"RANK is set but {', '.join(missing)} not: start several processes with "
            f"{advice('train', '--mode', 'multiple')} or torchrun, or unset RANK"
        )
    values = {name: env[name] for name in _VARIABLES if name != "MASTER_ADDR"}
    wrong = [f"{name}={value}" for name, value in values.items() if not value.isdecimal()]
    if wrong:
        raise SeqTrackError(f"{', '.join(wrong)} in the environment: whole numbers are needed")
    return int(values["RANK"]), int(values["WORLD_SIZE"]), int(values["LOCAL_RANK"])


def _own_device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = resolve_device(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise SeqTrackError(f"device {name!r} cannot serve several processes; choose cuda or cpu")
    available = torch.cuda.device_count()
    if local_rank >= available:
        raise SeqTrackError(
            f"process {local_rank + 1} of this machine has no CUDA device of its own: there are "
            f"{available}; start at most that many (--nproc-per-node {available})"
        )
    return torch.device("cuda", local_rank)
