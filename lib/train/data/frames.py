"""Which frames of a video make a training sample: the two sampler modes of the reference."""

import numpy as np

from lib.datasets.training.sample import UnusableSampleError


def choose_frames(
    rng: np.random.Generator, visible: np.ndarray, templates: int, mode: str, interval: int
) -> list[int]:
    """Frames of one sample: the templates, then the search frame.

    Args:
        rng: generator of this sample.
        visible: `(N,)` bool, frames that can be used.
        templates: their number.
        mode: `order` draws around a base frame and sorts either way; `causal` takes the search
            frame from after the first template, and the other templates from before it.
        interval: largest distance to the base frame, in frames.

    Raises:
        UnusableSampleError: too few frames are visible for this mode.
    """
    usable = np.flatnonzero(visible)
    if not len(usable):
        raise UnusableSampleError("no frame is visible")
    if mode == "causal":
        return _causal(rng, usable, len(visible), templates, interval)
    base = rng.choice(usable)
    # With replacement: the same frame may come twice.
    chosen = np.sort(rng.choice(_between(usable, base - interval, base + interval), templates + 1))
    return chosen.tolist() if rng.random() < 0.5 else chosen[::-1].tolist()


def _causal(
    rng: np.random.Generator, usable: np.ndarray, length: int, templates: int, interval: int
) -> list[int]:
    bases = _between(usable, templates - 1, length - 1)
    # Each failure widens both windows; once they span the sequence, only the base is random, and a
    # few hundred bases are enough for any sequence that has a solution.
    for reach in range(interval, interval + length + 1000, 5):
        if not len(bases):
            break
        base = rng.choice(bases)
        before = _between(usable, base - reach, base)
        after = _between(usable, base + 1, base + reach)
        if len(after) and (len(before) or templates == 1):
            others = rng.choice(before, templates - 1).tolist() if templates > 1 else []
            return [int(base), *others, int(rng.choice(after))]
    raise UnusableSampleError("the visible frames leave no room for templates and a search frame")


def _between(usable: np.ndarray, first: int, end: int) -> np.ndarray:
    """The usable frames of `first` .. `end - 1`."""
    return usable[np.searchsorted(usable, first) : np.searchsorted(usable, end)]
