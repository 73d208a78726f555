"""Whole sequences from JPEG files: our evaluation beside the published method, in turns."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.synthetic import load_synthetic
from lib.test.benchmark.timing import Times
from lib.utils.image_io import write_rgb

# Pixels. Boxes that are means of bins (TEST.DECODING expectation) depend on the order of sums.
SAME = 0.01

# Builds a tracker, tracks all sequences of a folder, and writes raw results below another one.
Evaluation = Callable[[Path, Path], None]


def render_sequences(folder: Path, count: int, frames: int) -> list[str]:
    """Write generated sequences as JPEG files in GOT-10k layout; returns their names.

    Args:
        folder: gets one folder per sequence.
        count: how many.
        frames: of each, as many as there are at most.

    Raises:
        DataError: there is no such built-in sequence.
        OSError: the folder cannot be written.
    """
    names = [f"synthetic-{number:03d}" for number in range(1, count + 1)]
    for name in names:
        sequence = load_synthetic(name)
        length = min(frames, len(sequence))
        for index in range(length):
            write_rgb(folder / name / f"{index + 1:08d}.jpg", sequence.frames.read(index))
        truth = sequence.ground_truth[:length]
        np.savetxt(folder / name / "groundtruth.txt", truth, delimiter=",", fmt="%.4f")
    return names


@dataclass(frozen=True)
class Raced:
    """One side of the race.

    Attributes:
        label: names it.
        evaluate: runs it.
    """

    label: str
    evaluate: Evaluation


def race(
    sides: Sequence[Raced], data: Path, work: Path, frames: int, rounds: int
) -> dict[str, Any]:
    """Run all sides in turns, and compare what they wrote.

    Args:
        sides: the first is the reference.
        data: folder of sequences.
        work: results go to a folder per side and round below it.
        frames: of all sequences together.
        rounds: how often each side runs, a warm-up besides.

    Returns:
        the record: `ratio_to_reference` of the last side, `results_equal`, a row per side.
    """
    seconds: dict[str, list[float]] = {side.label: [] for side in sides}
    # The first round imports, allocates and fills the disk cache; it does not count.
    for number in range(rounds + 1):
        for side in sides:
            begun = time.perf_counter()
            side.evaluate(data, work / side.label / str(number))
            if number > 0:
                seconds[side.label].append(time.perf_counter() - begun)
    first = sides[0].label
    slow = float(np.median(seconds[first]))
    rows = []
    for side in sides:
        took = float(np.median(seconds[side.label]))
        far = farthest(work / first / "0", work / side.label / "0")
        rows.append(
            {
                "what": side.label,
                **Times(tuple(1e3 * value for value in seconds[side.label])).row(),
                "frames_per_s": round(frames / took, 2),
                "ratio_to_reference": round(slow / took, 4),
                "box_px_max": max((px for px in far.values() if px < math.inf), default=0.0),
                "different_results": [name for name, px in far.items() if px > SAME],
            }
        )
    return {
        "frames": frames,
        "ratio_to_reference": rows[-1]["ratio_to_reference"],
        "reference_ms": round(1e3 * slow / frames, 4),
        "results_equal": not any(row["different_results"] for row in rows),
        "rows": rows,
    }


def farthest(one: Path, other: Path) -> dict[str, float]:
    """For each file of boxes below `one`, how far those of `other` are from them at most.

    Returns:
        pixels by the file's name; infinite where a file or a row is missing.
    """
    found = {}
    for path in sorted(one.rglob("*.txt")):
        if path.stem.endswith(("_time", "_confidence")):
            continue
        name = str(path.relative_to(one))
        found[name] = math.inf
        if (other / name).is_file():
            ours, theirs = (np.loadtxt(root / name, ndmin=2) for root in (one, other))
            if ours.shape == theirs.shape:
                found[name] = float(np.abs(ours - theirs).max(initial=0.0))
    return found
