"""Wall time of alternatives that take turns, so that a busy minute hits all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

# The first calls allocate memory, choose kernels and record graphs.
WARM_UPS = 2


@dataclass(frozen=True)
class Times:
    """Milliseconds of the single calls of one alternative, in order."""

    each: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the calls."""
        return float(np.median(self.each))

    def row(self) -> dict[str, Any]:
        """Median, 10th and 90th percentile, and how many calls there were."""
        low, high = np.percentile(self.each, (10, 90))
        return {
            "median_ms": round(self.median, 4),
            "p10_ms": round(float(low), 4),
            "p90_ms": round(float(high), 4),
            "calls": len(self.each),
        }


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, Any]:
    """Milliseconds that `work` takes, the device's share included, and what it returns."""
    synchronise(device)
    begun = time.perf_counter()
    result = work()
    synchronise(device)
    return 1e3 * (time.perf_counter() - begun), result


def take_turns(
    works: Mapping[str, Callable[[int], object]],
    device: torch.device,
    rounds: int,
    seconds: float,
    seen: Callable[[int, dict[str, Any]], object] | None = None,
) -> dict[str, Times]:
    """Call each of `works` once per round, A B A B ….

    Args:
        works: called with the number of the round; rounds below 0 are warm-up and do not count.
        device: where they work.
        rounds: how many rounds at most.
        seconds: begin no further round after that time, but finish three.
        seen: told the round and what each of them returned.

    Returns:
        the times of each.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    begun = time.perf_counter()
    for number in range(-WARM_UPS, rounds):
        if number >= 3 and time.perf_counter() - begun > seconds:
            break
        results = {}
        for name, work in works.items():
            took, results[name] = timed(partial(work, number), device)
            if number >= 0:
                times[name].append(took)
        if seen is not None and number >= 0:
            seen(number, results)
    return {name: Times(tuple(each)) for name, each in times.items()}
