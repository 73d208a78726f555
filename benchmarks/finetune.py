"""What fine-tuning gives on clips of a kind that the model has never seen.

    python benchmarks/finetune.py                                # seqtrack_tiny, all presets
    python benchmarks/finetune.py --presets full --test 30 --out runs/cells

The clips are generated: cells under a fluorescence microscope. Their nuclei are bright and soft;
what is annotated is the cell about the nucleus, which hardly shows. Each preset is trained by the
command, `seqtrack train --finetune`, on the first clips, a quarter of which it holds out. It is
measured on others, which neither the training nor the choice of its best epoch has seen, and on the
data set `synthetic`, to see what was forgotten. The certainty is not calibrated anew.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.analysis.compare import TrackerResults, compare
from lib.analysis.findings import paired_test
from lib.commands.entry import run, say
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.models.weights import find_checkpoint
from lib.utils.console import headed
from lib.utils.errors import EXIT_OK, SeqTrackError
from lib.utils.image_io import write_rgb

_SIZE = np.array([256, 192])  # width and height
_BODY = 2.2  # half axes of a cell, which is annotated, in those of its nucleus, which is bright
_PATCH = 40  # pixels from a cell's centre to where nothing of it is seen


class Cells:
    """The cells of one clip; the first is the target."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, number = rng, int(rng.integers(3, 6))
        self.axes = rng.uniform(5, 9, (number, 1)) * rng.uniform(0.85, 1.2, (number, 2))
        self.place = rng.uniform(45, _SIZE - 45, (number, 2))
        self.velocity = rng.normal(0, 1, (number, 2))
        self.bright, self.phase = rng.uniform(90, 170, number), rng.uniform(0, 6, (number, 2))
        haze = cv2.GaussianBlur(rng.standard_normal(_SIZE[::-1], np.float32), (0, 0), 25)
        self.haze = 25 + 6 * haze / haze.std()

    def frame(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A picture `(H, W, 3)` uint8 RGB and the target's box, xywh; the cells move on."""
        image, axes = self.haze.copy(), self.axes * (1 + 0.12 * np.sin(0.14 * number + self.phase))
        for one in zip(self.place, axes, self.bright, strict=True):
            _draw(image, *one)
        box = np.concatenate([self.place[0] - _BODY * axes[0], 2 * _BODY * axes[0]])
        image += 9 * self.rng.standard_normal(image.shape)
        self.velocity = 0.9 * self.velocity + self.rng.normal(0, 0.7, self.velocity.shape)
        self.place = self.place + self.velocity
        near = (self.place < 30) | (self.place > _SIZE - 30)
        back = np.sign(_SIZE / 2 - self.place) * np.abs(self.velocity)
        self.velocity = np.where(near, back, self.velocity)
        return np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, axis=2), box


def _draw(image: np.ndarray, place: np.ndarray, axes: np.ndarray, bright: float) -> None:
    """Add a cell: a soft bright nucleus, and a body that hardly shows."""
    left, top = np.maximum(place.astype(int) - _PATCH, 0)
    right, bottom = np.minimum(place.astype(int) + _PATCH, _SIZE)
    y, x = np.mgrid[top:bottom, left:right]
    radius = np.hypot((x - place[0]) / axes[0], (y - place[1]) / axes[1])
    body = 10 / (1 + np.exp(8 * (radius - _BODY)))
    image[top:bottom, left:right] += bright / (1 + np.exp(6 * (radius - 1))) + body


def write_cells(root: Path, seeds: Sequence[int], length: int) -> Path:
    """A folder of clips in GOT-10k's layout, one for each seed."""
    for seed in seeds:
        cells, folder, rows = Cells(np.random.default_rng(seed)), root / f"cells-{seed:04d}", []
        folder.mkdir(parents=True)
        for number in range(length):
            image, box = cells.frame(number)
            write_rgb(folder / f"{number + 1:08d}.jpg", image)
            rows.append(",".join(f"{value:.2f}" for value in box) + "\n")
        (folder / "groundtruth.txt").write_text("".join(rows))
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Generate, train with each preset, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", default="seqtrack_tiny", help="configuration whose weights are tuned")
    add("--presets", default="full,lora,frozen", help="those to compare, with commas")
    add("--train", type=int, default=24, help="clips of --data (default: 24)")
    add("--test", type=int, default=16, help="clips to measure on (default: 16)")
    add("--length", type=int, default=60, help="frames of a clip (default: 60)")
    add("--forgotten", default="synthetic", help="data set of other targets; '' for none")
    add("--set", nargs="*", default=[], help="settings of the training")
    add("--out", type=Path, help="where all of it is kept (default: nowhere)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            say(_table(args, args.out or Path(scratch)))
        except SeqTrackError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
    return EXIT_OK


def _table(args: argparse.Namespace, out: Path) -> str:
    clips = {"own": (0, args.train), "test": (1000, args.test)}
    for name, (first, number) in clips.items():
        if not (out / name).exists():
            write_cells(out / name, range(first, first + number), args.length)
    folders = resolve_paths(None, out).checkpoint_dirs(args.config)
    start = shutil.copy(find_checkpoint(args.config, folders), out / "start.pth.tar")
    sets = [str(out / "test"), *filter(None, [args.forgotten])]
    for data in sets:
        _command("test", args, out, "--dataset", data, "--batch-size", "8", "--runid", "0")
    rows = []
    for number, preset in enumerate(args.presets.split(","), start=1):
        name, began = f"cells_{preset}", time.perf_counter()
        words = ["--finetune", "--data", str(out / "own"), "--preset", preset, "--name", name]
        words += ["--init-from", str(start)]
        settings = ["--set", *args.set] if args.set else []
        _command("train", args, out, *words, "--device", "cpu", *settings)
        minutes = (time.perf_counter() - began) / 60
        folder = resolve_paths(None, out).checkpoint_dir(name)
        weights = str(folder / "SEQTRACK.pth.tar")
        words = ["--checkpoint", weights, "--batch-size", "8", "--runid", str(number)]
        cells = [preset, f"{minutes:.1f}", _figures(folder)]
        for data in sets:
            _command("test", args, out, "--dataset", data, *words)
            cells.append(_difference(args.config, data, out, number))
        rows.append(tuple(cells))
    titles = ("preset", "minutes", "held out, as the command says", *(Path(x).name for x in sets))
    return headed(titles, rows)


def _command(name: str, args: argparse.Namespace, out: Path, *words: str) -> None:
    """A command of the project, or SeqTrackError where it fails."""
    given = ["--config", args.config, "--save-dir", str(out), *words]
    if run(f"lib.commands.{name}", given) != EXIT_OK:
        raise SeqTrackError(f"seqtrack {name} failed")


def _figures(folder: Path) -> str:
    record = json.loads((folder / "finetune.json").read_text(encoding="utf-8"))
    return f"{record['before']:.1f} to {record['after']:.1f}"


def _difference(config: str, data: str, out: Path, number: int) -> str:
    """AUC before and after on a data set, with the paired interval of the difference."""
    paths, dataset = resolve_paths(None, out), open_dataset(data, resolve_paths(None, out))
    folders = (
        paths.dataset_results_dir("seqtrack", config, dataset.results_folder, one)
        for one in (0, number)
    )
    named = zip(("before", "after"), folders, strict=True)
    scores = compare(dataset, [TrackerResults(*one) for one in named]).scores
    test = paired_test(scores["after"], scores["before"], "AUC")
    before, after = (scores[one].total.percentages()["AUC"] for one in ("before", "after"))
    low, high = test.interval.low, test.interval.high
    return f"{before:.1f} to {after:.1f} ({test.difference:+.1f} [{low:.1f}, {high:.1f}])"


if __name__ == "__main__":
    sys.exit(main())
