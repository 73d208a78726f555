"""Whole sequences from JPEG files: our evaluation beside the published method, in turns."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.same_rows import compare_folders
from lib.profile.stages import Times
from lib.synthetic.video.dataset import synthetic_sequence
from lib.synthetic.video.suite import SUITES
from lib.utils.image_io import write_rgb

# Builds a tracker, tracks all sequences of a folder, and writes raw results below another one.
Evaluation = Callable[[Path, Path], None]

_WARM_UP_FRAMES = 20


def render_sequences(folder: Path, count: int, frames: int) -> list[str]:
    """Write generated sequences as JPEG files in GOT-10k layout; returns their names.

    The first twelve are those of the data set `synthetic`, the next ones their like with other
    seeds.

    Args:
        folder: gets one folder per sequence.
        count: how many.
        frames: of each, as many as there are at most.

    Raises:
        OSError: the folder cannot be written.
    """
    names = [f"synthetic-{number:03d}" for number in range(1, count + 1)]
    wanted = zip(names, cycle(SUITES["synthetic"].values()), strict=False)
    for number, (name, spec) in enumerate(tqdm(wanted, "render", count, disable=None), 1):
        sequence = synthetic_sequence(number, split="test", spec=spec, name=name)
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
    sides: Sequence[Raced],
    folder: Path,
    count: int,
    frames: int,
    rounds: int,
    factors: Sequence[float],
) -> dict[str, Any]:
    """Run all sides in turns on generated sequences, and compare what they wrote.

    Frames are JPEG files before the clock starts.

    Args:
        sides: the first is the reference.
        folder: gets sequences and results.
        count: of sequences.
        frames: of each.
        rounds: how often each side runs, a warm-up besides.
        factors: of the squares that the tracker cuts: search region and template.

    Returns:
        the record: `ratio_to_reference` of the quickest side, `results_equal`, a row per side.

    Raises:
        OSError: the folder cannot be written.
    """
    render_sequences(folder / "warm-up", 1, _WARM_UP_FRAMES)
    data, work = folder / "data", folder / "results"
    names = render_sequences(data, count, frames)
    seconds: dict[str, list[float]] = {side.label: [] for side in sides}
    for side in sides:
        # It imports, exports a network that was not, and fills caches.
        side.evaluate(folder / "warm-up", work / side.label / "warm-up")
    for number in tqdm(range(rounds), "rounds", disable=None):
        for side in sides:
            begun = time.perf_counter()
            side.evaluate(data, work / side.label / str(number))
            seconds[side.label].append(time.perf_counter() - begun)
    total = sum(len(list((data / name).glob("*.jpg"))) for name in names)
    return _record(seconds, work, total, factors)


def _record(
    seconds: Mapping[str, Sequence[float]], work: Path, frames: int, factors: Sequence[float]
) -> dict[str, Any]:
    """A row per side; the first one is the reference."""
    first = next(iter(seconds))
    slow = float(np.median(seconds[first]))
    rows = []
    for label, each in seconds.items():
        took = float(np.median(each))
        agreement = compare_folders(work / first / "0", work / label / "0", factors)
        rows.append(
            {
                "what": label,
                **Times(tuple(1e3 * value for value in each)).row(),
                "frames_per_s": round(frames / took, 2),
                "ratio_to_reference": round(slow / took, 4),
                **agreement.row(),
            }
        )
    best = max(rows[1:], key=lambda row: row["ratio_to_reference"])
    return {
        "frames": frames,
        "ratio_to_reference": best["ratio_to_reference"],
        "quickest": best["what"],
        "reference_ms": round(1e3 * slow / frames, 4),
        "results_equal": all(row["results_equal"] for row in rows),
        "rows": rows,
    }
