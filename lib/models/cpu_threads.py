"""How many CPU threads a network is quickest with on this machine: measured once, then kept.

PyTorch takes a thread per core. For a large network that is right. A step of a small one is
hundreds of short operations; after each of them all threads wait for the last, and with many
cores that takes longer than the operations do.

Sums depend in their last bits on how many threads form them, so a choice that came out
differently from run to run would change results. That is why it is kept, in a file beside the
exported networks.
"""

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lib.config.schema import Config
from lib.models.engine import Engine
from lib.models.thread_choice import ThreadChoice
from lib.utils.cores import usable_cores

# What PyTorch takes by itself; the number in use may be changed after this.
DEFAULT_THREADS = torch.get_num_threads()
# Who sets one of these has decided. torchrun does so for its workers.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Seconds. A longer step is mostly arithmetic, and all cores take part in that.
LARGE_STEP = 0.1
# Fewer threads may be so much slower: the other cores have frames to read.
NEAR = 1.05
# Such a share of the cores' time shows that all of them were there for a step.
_USED = 0.7
# A number of threads so much slower than the best one is not looked at further.
_HOPELESS = 1.5
_SEED = 0
_SECONDS, _TURN = 1.5, 0.05
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 15
_STEPS = 3

Clock = Callable[[], float]


@dataclass(frozen=True)
class Work:
    """What is computed, as far as its cost goes.

    Attributes:
        cfg: the configuration of the network.
        engine: name of the engine.
        precision: of the engine.
        batch_size: targets of a step.
    """

    cfg: Config
    engine: str
    precision: str = "fp32"
    batch_size: int = 1

    @property
    def cost(self) -> dict[str, Any]:
        """All that the time of a step depends on but the machine; weights do not matter."""
        test = self.cfg.test
        return {
            "engine": self.engine,
            "precision": self.precision,
            "batch": self.batch_size,
            "model": self.cfg.model.model_dump(mode="json"),
            "sizes": [test.search_size, test.template_size, test.num_templates],
            "read out": [test.window, test.decoding],
        }

    @property
    def names(self) -> dict[str, Any]:
        """The same in few words."""
        engine = f"{self.engine} {self.precision}"
        return {"config": self.cfg.name, "engine": engine, "batch": self.batch_size}


def threads_are_given(env: Mapping[str, str]) -> bool:
    """Whether the environment says how many threads there are; PyTorch has read it then."""
    return any(env.get(name) for name in VARIABLES)


def find_threads(
    build: Callable[[], Engine], work: Work, processes: int, tell: Callable[[str], object]
) -> int | None:
    """How many threads each of some processes shall have; None where the environment says it.

    Args:
        build: as for `choose_threads`.
        work: what the processes compute.
        processes: that share the cores.
        tell: as for `choose_threads`.
    """
    if threads_are_given(os.environ):
        return None
    return choose_threads(build, work, max(1, _most_threads() // processes), tell)


def _most_threads() -> int:
    """The threads that PyTorch takes by itself, or the cores that it may use if fewer."""
    return min(DEFAULT_THREADS, usable_cores())


def choose_threads(
    build: Callable[[], Engine],
    work: Work,
    most: int,
    tell: Callable[[str], object],
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
) -> int:
    """The number of threads from 1 to `most` with which the work is done best on this machine.

    It is measured at the first call, in about two seconds; later calls, also of other processes,
    find the same. PyTorch's number of threads is left as it was.

    Args:
        build: the engine, on the CPU; called while PyTorch has as many threads as are tried. May
            give the same engine each time if that follows PyTorch's number.
        work: what `build` builds for.
        most: the largest number.
        tell: gets one line when it was measured.
        clock: seconds.
        cpu_clock: seconds of all cores that this process was given.
    """
    if most == 1:
        return 1
    about = {"cores": _most_threads(), "most": most, **_versions(work.engine)}
    choice = ThreadChoice({**about, **work.cost}, {**about, **work.names}, most)
    if (known := choice.find()) is not None:
        return known
    with _restored_threads():
        seconds = time_steps(build, work, most, clock, cpu_clock)
    if (known := choice.find(warn=False)) is not None:
        # Another process has chosen meanwhile, and the first one counts.
        return known
    chosen = fewest_near_best(seconds)
    kept = choice.keep(chosen, seconds)
    where = f"measured once, kept in {choice.path}" if kept else "measured"
    tell(
        f"{chosen} of {most} CPU threads: {1e3 * seconds[chosen]:.1f} ms a step; {where}; "
        "--cpu-threads N overrides it"
    )
    return chosen


def _versions(engine: str) -> dict[str, str]:
    """Of what computes."""
    versions = {"torch": torch.__version__}
    if engine == "onnx":
        from lib.models.engine_onnx import import_runtime

        versions["onnxruntime"] = import_runtime().__version__
    return versions


def fewest_near_best(seconds: Mapping[int, float]) -> int:
    """The smallest number of threads that is within 5 % of the quickest.

    Example:
        >>> fewest_near_best({4: 1.0, 2: 1.04, 1: 1.2})
        2
    """
    limit = NEAR * min(seconds.values())
    return min(count for count, value in seconds.items() if value <= limit)


def time_steps(
    build: Callable[[], Engine], work: Work, most: int, clock: Clock, cpu_clock: Clock
) -> dict[int, float]:
    """Median seconds of a step by number of threads: `most`, its half, and so on down to 1.

    Of a large step, `most` alone. Numbers far from the best are left out, and with them all
    smaller ones: what lacks cores lacks them more with fewer. PyTorch's number of threads is
    changed.
    """
    began = clock()
    contenders: list[_Contender] = []
    first: dict[int, float] = {}
    count = most
    while count >= 1:
        one = _Contender(count, build, work, clock)
        given = cpu_clock()
        took = one.warm_up()
        given = (cpu_clock() - given) / sum(one.warm)
        if took > _HOPELESS * min(first.values(), default=math.inf):
            break
        contenders.append(one)
        first[count] = took
        # On a busy machine threads wait long for each other, and a small step looks large.
        if count == most and took > LARGE_STEP and given > _USED * most:
            break
        count //= 2
    if min(first.values()) > LARGE_STEP:
        return first
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and clock() - began > _SECONDS:
            break
        for one in contenders:
            one.take_turn()
    return {one.threads: statistics.median(one.seconds) for one in contenders}


class _Contender:
    """An engine with a number of threads, and how long its steps took."""

    def __init__(self, threads: int, build: Callable[[], Engine], work: Work, clock: Clock) -> None:
        torch.set_num_threads(threads)
        self.threads, self.clock = threads, clock
        self.warm: list[float] = []
        self.seconds: list[float] = []
        self.engine = build()
        random, test = np.random.default_rng(_SEED), work.cfg.test
        crop, self.search = (
            random.integers(0, 256, (count, side, side, 3), np.uint8)
            for count, side in ((1, test.template_size), (work.batch_size, test.search_size))
        )
        template = self.engine.template(crop[0], (0.4, 0.4, 0.2, 0.2))
        self.templates = [(template,) * test.num_templates] * work.batch_size

    def warm_up(self) -> float:
        """Seconds of the quickest of the first steps; one that takes long is not repeated."""
        self.warm = self._steps(_STEPS * LARGE_STEP)
        return min(self.warm)

    def take_turn(self) -> None:
        """A few steps; the first pays for the change of threads and does not count."""
        torch.set_num_threads(self.threads)
        self._step()
        self.seconds += self._steps(_TURN)

    def _steps(self, enough: float) -> list[float]:
        """Seconds of a few steps, fewer if they are `enough` together."""
        took: list[float] = []
        while len(took) < _STEPS and sum(took) < enough:
            took.append(self._step())
        return took

    def _step(self) -> float:
        began = self.clock()
        self.engine.generate(self.templates, self.search)
        return self.clock() - began


@contextlib.contextmanager
def _restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
