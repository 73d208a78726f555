"""How many CPU threads a network is quickest with on this machine: measured once, then kept.

PyTorch takes a thread per core. For a large network that is right. A step of a small one is
hundreds of short operations; after each of them all threads wait for the last, and with many
cores that takes longer than the operations do.

Sums depend in their last bits on how many threads form them, so a choice that came out
differently from run to run would change results. That is why it is kept, in a file beside the
exported networks.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.schema import Config
from lib.models.engine import Engine
from lib.utils.errors import SeqTrackError
from lib.utils.files import atomic_write_text, user_path

# What PyTorch takes by itself; the number in use may be changed after this.
DEFAULT_THREADS = torch.get_num_threads()
# Who sets one of these has decided. torchrun does so for its workers.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Seconds. A longer step is mostly arithmetic, and all cores take part in that.
LARGE_STEP = 0.1
# Fewer threads may be so much slower: the other cores have frames to read.
NEAR = 1.05
# A number of threads so much slower than the best one is not looked at further.
_HOPELESS = 1.5
_SEED = 0
_SECONDS, _TURN = 1.5, 0.05
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 15
_STEPS = 3
_CONTAINER_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_FORMAT = 1

Clock = Callable[[], float]
logger = logging.getLogger(__name__)


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
    return choose_threads(build, work, max(1, usable_cores() // processes), tell)


def usable_cores(quota: Path = _CONTAINER_QUOTA) -> int:
    """The threads that PyTorch takes by itself, or the cores that a container may use if fewer.

    Args:
        quota: Linux' file of the microseconds that may be used, and in which time; or of `max`.
    """
    try:
        used, period = (int(word) for word in quota.read_text(encoding="ascii").split())
        return max(1, min(DEFAULT_THREADS, math.ceil(used / period)))
    except (OSError, ValueError):
        return DEFAULT_THREADS


def choose_threads(
    build: Callable[[], Engine],
    work: Work,
    most: int,
    tell: Callable[[str], object],
    clock: Clock = time.perf_counter,
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
    """
    if most == 1:
        return 1
    choices = _Choices(work, most)
    if (known := choices.find()) is not None:
        return known
    with _restored_threads():
        seconds = time_steps(build, work, most, clock)
    if (known := choices.find(warn=False)) is not None:
        # Another process has chosen meanwhile, and the first one counts.
        return known
    chosen = fewest_near_best(seconds)
    kept = choices.keep(chosen, seconds)
    where = f"measured once, kept in {choices.path}" if kept else "measured"
    tell(
        f"{chosen} of {most} CPU threads: {1e3 * seconds[chosen]:.1f} ms a step; {where}; "
        "--cpu-threads N takes N"
    )
    return chosen


def fewest_near_best(seconds: Mapping[int, float]) -> int:
    """The smallest number of threads that is within 5 % of the quickest.

    Example:
        >>> fewest_near_best({4: 1.0, 2: 1.04, 1: 1.2})
        2
    """
    limit = NEAR * min(seconds.values())
    return min(count for count, value in seconds.items() if value <= limit)


def time_steps(
    build: Callable[[], Engine], work: Work, most: int, clock: Clock
) -> dict[int, float]:
    """Median seconds of a step by number of threads: `most`, its half, and so on down to 1.

    Of a large step, `most` alone. Numbers far from the best are left out, and with them all
    smaller ones: what lacks cores lacks them more with fewer. PyTorch's number of threads is
    changed.
    """
    began = clock()
    contenders: list[_Contender] = []
    best = math.inf
    count = most
    while count >= 1:
        one = _Contender(count, build, work, clock)
        took = one.warm_up()
        if took > _HOPELESS * best:
            break
        contenders.append(one)
        best = min(best, took)
        if count == most and took > LARGE_STEP:
            return {most: took}
        count //= 2
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
        return min(self._steps(_STEPS * LARGE_STEP))

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


class _Choices:
    """The file of choices, and what of it is about one work on this machine."""

    def __init__(self, work: Work, most: int) -> None:
        self.most = most
        self.about = {
            "cpu": cpu_name(),
            "cores": usable_cores(),
            "most": most,
            "torch": torch.__version__,
        }
        whole = json.dumps([_FORMAT, self.about, work.cost], sort_keys=True)
        self.key = hashlib.sha256(whole.encode()).hexdigest()[:16]
        self.about |= {
            "config": work.cfg.name,
            "engine": f"{work.engine} {work.precision}",
            "batch": work.batch_size,
        }
        self.path: Path | None = None
        with contextlib.suppress(SeqTrackError):
            # Without a home folder nothing is kept, and `keep` says so.
            self.path = choices_file()

    def find(self, warn: bool = True) -> int | None:
        """The choice, if it was made before; `warn` of a damaged file."""
        entry = self._read(warn).get(self.key)
        threads = entry.get("threads") if isinstance(entry, dict) else None
        return threads if type(threads) is int and 1 <= threads <= self.most else None

    def keep(self, threads: int, seconds: Mapping[int, float]) -> bool:
        """Write a choice down; whether that was possible. It is no error if not."""
        ms = {str(count): round(1e3 * value, 3) for count, value in seconds.items()}
        entry = {"threads": threads, "ms": ms, **self.about}
        try:
            if self.path is None:
                raise OSError("no home folder is known")
            text = json.dumps({**self._read(warn=False), self.key: entry}, indent=1)
            atomic_write_text(self.path, text + "\n")
        except OSError as error:
            logger.warning(
                "the number of CPU threads cannot be kept in %s (%s): each run measures it again, "
                "and may come to another one; --cpu-threads N takes N",
                self.path or "the cache", error.strerror or error,
            )  # fmt: skip
            return False
        return True

    def _read(self, warn: bool) -> dict[str, Any]:
        """All choices; none if the file is damaged, which is said once."""
        if self.path is None:
            return {}
        try:
            choices = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(choices, dict):
                return choices
        except OSError:
            # Not there, or not readable; then writing fails as well, and says it.
            return {}
        except (ValueError, RecursionError):
            pass
        if warn:
            logger.warning("%s is damaged: it is written anew", self.path)
        return {}


def choices_file() -> Path:
    """Where choices are kept: in the user's cache, beside the exported networks.

    Raises:
        SeqTrackError: there is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or user_path("~/.cache", "the cache")
    return Path(base) / "seqtrack" / "cpu_threads.json"


def cpu_name() -> str:
    """The processor's own name, as far as the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
