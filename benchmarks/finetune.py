"""What fine-tuning gives on clips of a kind that the model has never seen.

    python benchmarks/finetune.py                                # seqtrack_tiny, all presets
    python benchmarks/finetune.py --presets full --test 30 --out runs/thermal

The clips are generated, and look like those of a cheap thermal camera: inverted, grey, soft, dim,
noisy, with three look-alikes. Each preset is trained by the command, `seqtrack train --finetune`,
on the first clips, a quarter of which it holds out. It is measured on others, which neither the
training nor the choice of its best epoch has seen, and on the data set `synthetic`, to see what was
forgotten. The certainty is not calibrated anew.
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
from lib.synthetic.video.dataset import synthetic_sequence
from lib.synthetic.video.spec import SyntheticSpec
from lib.utils.console import headed
from lib.utils.errors import EXIT_OK, SeqTrackError
from lib.utils.image_io import write_rgb

_SIZE = (256, 192)
_BODIES = ("blob", "ellipse", "figure", "composite")
# Of the pictures: blur in pixels, share of the contrast that is left, noise in grey levels.
_BLUR, _CONTRAST, _NOISE = 1.8, 0.3, 12.0


def write_thermal(root: Path, seeds: Sequence[int], length: int) -> Path:
    """A folder of clips in LaSOT's layout, one for each seed."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        spec = SyntheticSpec(
            size=_SIZE,
            length=length,
            body=_BODIES[seed % len(_BODIES)],
            target_size=float(rng.uniform(0.12, 0.3)),
            speed=float(rng.uniform(1, 1.8)),
            rotation=10,
            distractors=3,
            partial_occlusions=0,
            shake=1.0,
            noise=0,
            lighting=0,
            shadow=0,
        )
        # Seeds of the test split: nothing that a training is generated from.
        video = synthetic_sequence(10_000 + seed, split="test", spec=spec)
        folder = root / f"thermal-{seed:04d}"
        (folder / "img").mkdir(parents=True)
        for frame in range(length):
            image = _thermal(video.frames.read(frame), rng)
            write_rgb(folder / "img" / f"{frame + 1:08d}.jpg", image)
        rows = (",".join(f"{value:.2f}" for value in box) for box in video.ground_truth)
        (folder / "groundtruth.txt").write_text("\n".join(rows) + "\n")
        seen = np.ones(length, bool) if video.visible is None else video.visible
        away = ",".join(str(int(not one)) for one in seen)
        (folder / "out_of_view.txt").write_text(away + "\n")
        (folder / "full_occlusion.txt").write_text(",".join("0" * length) + "\n")
    return root


def _thermal(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture as a cheap thermal camera might show it: inverted, grey, soft, dim, noisy."""
    grey = 255.0 - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    dim = 128 + _CONTRAST * (cv2.GaussianBlur(grey, (0, 0), _BLUR) - 128)
    noisy = np.clip(dim - 38 + _NOISE * rng.standard_normal(grey.shape), 0, 255)
    return np.repeat(noisy.astype(np.uint8)[..., None], 3, axis=2)


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
            write_thermal(out / name, range(first, first + number), args.length)
    folders = resolve_paths(None, out).checkpoint_dirs(args.config)
    start = shutil.copy(find_checkpoint(args.config, folders), out / "start.pth.tar")
    sets = [str(out / "test"), *filter(None, [args.forgotten])]
    for data in sets:
        _command("test", args, out, "--dataset", data, "--batch-size", "8", "--runid", "0")
    rows = []
    for number, preset in enumerate(args.presets.split(","), start=1):
        name, began = f"thermal_{preset}", time.perf_counter()
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
