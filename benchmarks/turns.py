"""Wall time of alternatives that take turns, so that a busy minute hits all of them."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from lib.profile.stages import WARM_UPS, Times, timed


def take_turns(
    works: Mapping[str, Callable[[int], object]],
    device: torch.device,
    rounds: int,
    seconds: float,
    seen: Callable[[int, dict[str, Any]], object] | None = None,
    at_least: int = 3,
) -> dict[str, Times]:
    """Call each of `works` once per round, A B A B ….

    Args:
        works: called with the number of the round; rounds below 0 are warm-up and do not count.
        device: where they work.
        rounds: how many rounds at most.
        seconds: begin no further round after that time, but finish `at_least`.
        seen: called with the round and what each of them returned.
        at_least: so many rounds, however long they take.

    Returns:
        the times of each.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    begun = time.perf_counter()
    for number in range(-WARM_UPS, rounds):
        if number >= at_least and time.perf_counter() - begun > seconds:
            break
        results = {}
        for name, work in works.items():
            took, results[name] = timed(partial(work, number), device)
            if number >= 0:
                times[name].append(took)
        if seen is not None and number >= 0:
            seen(number, results)
    return {name: Times(tuple(each)) for name, each in times.items()}
