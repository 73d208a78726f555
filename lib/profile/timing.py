"""Wall time of calls, the share of the device included."""

import time
from collections.abc import Callable
from dataclasses import dataclass
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
