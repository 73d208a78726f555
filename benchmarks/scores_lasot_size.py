"""How long scoring takes, and how much memory: two trackers on a data set of LaSOT's size.

    python benchmarks/scores_lasot_size.py [--folder DIR]

Makes 280 sequences of 685,360 frames in LaSOT's layout (the lengths are drawn, their sum is that
of LaSOT's test set; images are empty files, as scoring opens none) and the results of two
trackers, in a temporary folder: 55 MB, but 685,360 files, which take some minutes. Then it runs
the command as a user would, in a process of its own, and prints a table.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lib.analysis.tables import Table, as_text  # noqa: E402
from lib.datasets.sequence_files import packaged_names  # noqa: E402
from lib.utils.cores import usable_cores  # noqa: E402

FRAMES = 685_360
SHORTEST, LONGEST = 1_000, 11_397  # LaSOT's paper
IMAGE = (1280, 720)
TRACKERS = {"steady": 6.0, "shaky": 14.0}  # pixels that a box is off in a step, about


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    seconds: float
    cpu_seconds: float
    megabytes: float


def main() -> int:
    """Make the data, score it in several ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep the data here, and use what is there")
    args = parser.parse_args()
    if args.folder:
        return measure(args.folder)
    with tempfile.TemporaryDirectory(prefix="lasot-size-") as folder:
        return measure(Path(folder))


def measure(root: Path) -> int:
    """Print the table for the data in `root`, which is made if it is missing."""
    if not (root / "done").exists():
        make(root)
    rows = []
    for what, arguments in (
        ("two trackers", ["--config", *TRACKERS]),
        ("with attributes", ["--config", *TRACKERS, "--attributes"]),
        ("one tracker", ["--config", next(iter(TRACKERS))]),
    ):
        cost = run([*arguments, "--dataset", "lasot"], root)
        numbers = (f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}", f"{cost.megabytes:.0f}")
        rows.append((what, *numbers))
    title = f"LaSOT's size: 280 sequences, {FRAMES:,} frames; {usable_cores()} cores"
    print(as_text(Table(title, ("scoring", "seconds", "CPU seconds", "peak MB"), tuple(rows))))
    return 0


def run(arguments: list[str], root: Path) -> Cost:
    """Time and peak memory of `analysis_results.py` in a process of its own."""
    command = [sys.executable, str(ROOT / "tracking" / "analysis_results.py"), *arguments]
    command += ["--data_dir", str(root / "data"), "--save_dir", str(root / "save")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Cost(seconds, cpu, usage.ru_maxrss / 1024)


def make(root: Path) -> None:
    """Write the data set and the results of both trackers."""
    names = packaged_names("lasot_test.txt")
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for name, frames in zip(names, lengths(len(names), rng), strict=True):
        folder = root / "data" / "lasot" / name.rpartition("-")[0] / name
        (folder / "img").mkdir(parents=True)
        for i in range(1, frames + 1):
            os.close(os.open(folder / "img" / f"{i:08d}.jpg", os.O_CREAT | os.O_WRONLY))
        truth = wander(frames, rng)
        write_boxes(folder / "groundtruth.txt", truth, ",")
        for flags in ("full_occlusion.txt", "out_of_view.txt"):
            absent = (rng.random(frames) < 0.03).astype(int)
            (folder / flags).write_text(",".join(map(str, absent.tolist())) + "\n")
        for tracker, pixels in TRACKERS.items():
            boxes = truth + rng.normal(0, pixels, truth.shape).astype(int)
            boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
            results = root / "save" / "test" / "tracking_results" / "seqtrack" / tracker / "lasot"
            results.mkdir(parents=True, exist_ok=True)
            write_boxes(results / f"{name}.txt", boxes, "\t")
    (root / "done").touch()
    print(f"made in {time.perf_counter() - start:.0f} s: {root}", file=sys.stderr)


def lengths(sequences: int, rng: np.random.Generator) -> list[int]:
    """Numbers of frames within LaSOT's limits that add up to its test set's."""
    shares = rng.lognormal(0, 0.6, sequences)
    found = np.clip(shares / shares.sum() * FRAMES, SHORTEST, LONGEST).astype(int)
    while missing := FRAMES - int(found.sum()):
        step = np.sign(missing)
        movable = np.flatnonzero((found + step >= SHORTEST) & (found + step <= LONGEST))
        found[rng.permutation(movable)[: abs(missing)]] += step
    return found.tolist()


def wander(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Whole-number boxes (frames, 4) of a target that drifts through the image."""
    corner = np.cumsum(rng.normal(0, 4, (frames, 2)), axis=0) + np.array(IMAGE) / 2
    size = 60 * np.exp(np.cumsum(rng.normal(0, 0.01, (frames, 2)), axis=0))
    boxes = np.hstack([corner % np.array(IMAGE), np.clip(size, 10, 300)])
    return boxes.astype(int) + 1


def write_boxes(path: Path, boxes: np.ndarray, separator: str) -> None:
    """Boxes (N, 4), a line each."""
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in boxes.tolist()))


if __name__ == "__main__":
    sys.exit(main())
