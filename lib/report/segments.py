"""The parts of a sequence worth a look, and the frames that show it best in few pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_SHORTEST, _LONGEST = 5, 60


@dataclass(frozen=True)
class Segment:
    """Frames `start` to `end` (not included), and the mean over them."""

    start: int
    end: int
    mean: float


def segment_length(frames: int) -> int:
    """How many frames a segment has: a tenth of the sequence, within reason."""
    return min(frames, max(_SHORTEST, min(_LONGEST, frames // 10)))


def lowest_segment(values: np.ndarray) -> Segment | None:
    """The segment whose known values have the least mean, the first of several; None without any.

    At least half of the values of a segment must be known.

    Args:
        values: (N,), NaN where unknown.

    Example:
        >>> lowest_segment(np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1.0]))
        Segment(start=5, end=10, mean=0.0)
    """
    length = segment_length(len(values))
    known = np.isfinite(values)
    sums = _windows(np.where(known, values, 0.0), length)
    counts = _windows(known.astype(float), length)
    enough = 2 * counts >= max(1, length)
    if not enough.any():
        return None
    means = np.where(enough, sums / np.maximum(counts, 1), np.inf)
    start = int(np.argmin(np.round(means, 9)))
    return Segment(start, start + length, float(means[start]))


def widest_segment(overlaps: Sequence[np.ndarray]) -> Segment | None:
    """Where the trackers differ most: the greatest mean of best less worst overlap, both (N,)."""
    if len(overlaps) < 2:
        return None
    spread = np.max(overlaps, axis=0) - np.min(overlaps, axis=0)
    found = lowest_segment(-spread)
    return None if found is None else Segment(found.start, found.end, -found.mean)


def picture_order(frames: int, segments: Sequence[Segment]) -> Iterator[int]:
    """All frames, most telling first: of any number of them, the first ones are a good choice.

    The first frame, the middle of each segment, then in turns one that halves the largest gap of
    the whole sequence and one that does so in a segment.
    """
    given: set[int] = set()
    middles = [(segment.start + segment.end) // 2 for segment in segments]
    inside = sorted({i for segment in segments for i in range(segment.start, segment.end)})
    local = [inside[i] for i in spread_order(len(inside))]
    for i in [0, *middles, *_in_turns(list(spread_order(frames)), local)]:
        if i not in given:
            given.add(i)
            yield i


def spread_order(count: int) -> Iterator[int]:
    """0 to count - 1 in the order of reversed bits: every beginning of it is evenly spread.

    Example:
        >>> list(spread_order(6))
        [0, 4, 2, 1, 5, 3]
    """
    bits = max(1, (count - 1).bit_length())
    for i in range(1 << bits):
        reverse = int(f"{i:0{bits}b}"[::-1], 2)
        if reverse < count:
            yield reverse


def _in_turns(first: Sequence[int], second: Sequence[int]) -> Iterator[int]:
    for i in range(max(len(first), len(second))):
        yield from first[i : i + 1]
        yield from second[i : i + 1]


def _windows(values: np.ndarray, length: int) -> np.ndarray:
    """Sums (N - length + 1,) of `length` neighbours."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[length:] - total[:-length]
