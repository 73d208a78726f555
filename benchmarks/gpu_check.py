"""What `bash scripts/gpu_check.sh` shows: the parts, and the command that runs them."""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_run import (  # noqa: E402
    Check,
    Part,
    PartFailed,
    PartSkipped,
    Sizes,
    claim,
    end,
    run_parts,
)
from lib.utils.cores import usable_cores  # noqa: E402

WEIGHTS = ROOT / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"
PRECISIONS = ("fp32", "bf16")
# Two templates, replaced every few frames: equal and different ones take turns.
UPDATED = (
    "TEST.NUM_TEMPLATES=2",
    "TEST.UPDATE_INTERVALS.DEFAULT=4",
    "TEST.UPDATE_THRESHOLD.DEFAULT=0",
)
# Of the boxes of bf16 beside those of fp32, in closed loop: mean overlap.
LEAST_OVERLAP = 0.9
# Import names of declared packages that are called otherwise.
_IMPORTS = {"opencv-python": "cv2", "pyyaml": "yaml"}
# Most of a rehearsal is the start of its programs: each size once, and no more than that.
QUICK = Sizes(4, 6, 64, 2, 1, ("seqtrack_tiny",), (1, 2), (2, 6), targets=(1, 3, 128), slack=5)


class Stopped(BaseException):
    """SIGTERM arrived."""


# --- The parts ------------------------------------------------------------------------------------


def marked_tests(check: Check) -> str:
    """The tests marked `gpu`; a rehearsal only finds them."""
    if find_spec("pytest") is None:
        raise PartSkipped("pytest is not installed")
    files = [p for p in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in p.read_text()]
    # Without the project's options, which need plug-ins.
    words = ["-m", "pytest", "-q", "-m", "gpu", "-o", "addopts=", "-p", "no:cacheprovider"]
    check.call(*words, *(["--collect-only"] if check.device == "cpu" else []), *files)
    return "found, not run: there is no GPU" if check.device == "cpu" else check.last_line()


def videos(check: Check) -> Path:
    """The sequences to track."""
    from benchmarks.evaluate import render_sequences

    folder = check.work / "videos"
    render_sequences(folder, check.sizes.sequences, check.sizes.frames)
    return folder


def render(check: Check) -> str:
    """The sequences to track, and the CPU's boxes in fp32."""
    videos(check)
    track(check, "cpu", "fp32", 8)
    return f"{check.sizes.sequences} sequences of {check.sizes.frames} frames"


def track(check: Check, device: str, precision: str, targets: int) -> Path:
    """Track all sequences, so many at a time; returns the folder of the results."""
    save = check.work / f"track-{device}-{precision}-{targets}"
    words = ["--config", "seqtrack_tiny", "--checkpoint", WEIGHTS, "--device", device]
    words += ["--dataset", check.work / "videos", "--save_dir", save, "--precision", precision]
    words += ["--batch-size", targets, "--float-results", "--overwrite"]
    check.call("tracking/test.py", *words, "--set", *UPDATED)
    return save / "test/tracking_results"


def tracked(check: Check, precision: str, targets: int) -> str:
    """So many targets at a time on the device, beside the CPU's boxes in fp32."""
    from benchmarks.same_rows import compare_folders
    from lib.config.loader import load_config

    truth = check.work / "track-cpu-fp32-8/test/tracking_results"
    if not truth.is_dir():
        raise PartFailed("the CPU's boxes are missing: the part track-cpu failed")
    found = track(check, check.device, precision, targets)
    test = load_config("seqtrack_tiny").test
    rows = compare_folders(truth, found, (test.search_factor, test.template_factor))
    overlap = mean_overlap(truth, found)
    words = f"{rows.rows} rows within 0.01 px, {len(rows.ties)} ties, mean overlap {overlap:.4f}"
    if precision == "fp32" and not rows.equal:
        raise PartFailed(f"boxes differ from the CPU's: {words}; {rows.different[:2]}")
    if not overlap >= LEAST_OVERLAP:
        raise PartFailed(f"mean overlap with the CPU's boxes below {LEAST_OVERLAP}: {words}")
    return words


def mean_overlap(one: Path, other: Path) -> float:
    """Of all boxes of two folders of results; NaN where a file or a row is missing."""
    import numpy as np

    from lib.results.find import BESIDE
    from lib.utils.boxes import iou_xywh

    each = []
    for path in sorted(one.rglob("*.txt")):
        if not path.stem.endswith(BESIDE):
            twin = other / path.relative_to(one)
            boxes = np.loadtxt(path, ndmin=2)
            its = np.loadtxt(twin, ndmin=2) if twin.is_file() else np.empty((0, 4))
            each.append(iou_xywh(boxes, its) if its.shape == boxes.shape else [np.nan])
    return float(np.mean(np.concatenate(each))) if each else float("nan")


def training(check: Check, precision: str) -> str:
    """Two epochs with a closed loop after each, stopped in the second one and gone on with."""
    save = check.work / f"train-{precision}"
    folder = save / "checkpoints/train/seqtrack/seqtrack_scratch"
    words = ["tracking/train.py", "--precision", precision, *train_words(check, save, 2)]
    words += [f"DATA.VAL.SEQUENCES_NAME={check.work / 'videos'}"]
    words += ["DATA.VAL.SEQUENCES_NUMBER=2", "TRAIN.VAL_EPOCH_INTERVAL=1"]
    process = check.start(*words)
    try:
        while not (folder / "SEQTRACK_ep0001.pth.tar").is_file():
            if process.poll() is not None or time.monotonic() > check.deadline:
                raise PartFailed(f"no checkpoint of epoch 1: {check.last_line()}")
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        code = check.wait(process)
    finally:
        end(process)
    if code != 130:
        raise PartFailed(f"Ctrl-C in the second epoch ended with {code}: {check.last_line()}")
    check.call(*words)
    log = (save / "logs/seqtrack-seqtrack_scratch.log").read_text()
    scores = re.findall(r"AUC: ([\d.]+)", log)
    if not (folder / "SEQTRACK.pth.tar").is_file() or len(scores) < 2:
        raise PartFailed(f"gone on with, but there are {len(scores)} scores of the closed loop")
    return f"stopped in epoch 2, went on, done; AUC {', '.join(scores)}"


def train_words(check: Check, save: Path, epochs: int) -> list[str]:
    """A training of the small network from scratch; more settings may follow."""
    workers = 0 if check.quick else max(1, min(8, usable_cores() - 1))
    validated = min(32, check.sizes.samples // 4)
    return [
        *("--config", "seqtrack_scratch", "--device", check.device, "--save_dir", str(save)),
        *("--set", f"TRAIN.EPOCH={epochs}", f"DATA.TRAIN.SAMPLE_PER_EPOCH={check.sizes.samples}"),
        *(f"DATA.VAL.SAMPLE_PER_EPOCH={validated}", f"TRAIN.NUM_WORKER={workers}"),
    ]


def compiled(check: Check) -> str:
    """One epoch with --compile.

    On the CPU nothing is compiled: the kernels of this network are minutes of work for a C++
    compiler, and a test of `--compile` has those of a smaller one.
    """
    save = check.work / "compile"
    # Its own: a compiler that was stopped leaves half a file in the user's cache.
    shutil.rmtree(save / "inductor", ignore_errors=True)
    words = ["tracking/train.py", "--compile", *train_words(check, save, 1)]
    settings = {"TORCHINDUCTOR_CACHE_DIR": str(save / "inductor")}
    if check.device == "cpu":
        settings["TORCH_COMPILE_DISABLE"] = "1"
    check.call(*words, **settings)
    return check.last_line() if check.device != "cpu" else "trained, and nothing was compiled"


def two_ranks(check: Check) -> str:
    """One epoch by two processes, one card each."""
    if check.device == "cuda" and check.cards < 2:
        raise PartSkipped("one card only")
    save = check.work / "ranks"
    words = ["tracking/train.py", "--mode", "multiple", "--nproc_per_node", "2"]
    check.call(*words, *train_words(check, save, 1), TORCH_ELASTIC_SHUTDOWN_TIMEOUT="30")
    return check.last_line()


def quickstart(check: Check) -> str:
    """The commands of quickstart.sh, without its set-up."""
    python = check.work / "bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    settings = {
        "SEQTRACK_NO_SETUP": "1",
        "SEQTRACK_QUICKSTART": str(check.work / "quickstart"),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    if check.quick:
        settings["SEQTRACK_QUICKSTART_DATA"] = str(videos(check))
    words = train_words(check, check.work / "quickstart", 1)
    changes = words[words.index("--set") :] if check.quick else ["--set", words[-1]]
    check.call("bash", "scripts/quickstart.sh", "--", *changes, **settings)
    table = check.work / "quickstart/test/analysis"
    if not list(table.rglob("*.csv")):
        raise PartFailed(f"no scores in {table}")
    return "trained, tracked, scored, drawn"


def benchmark(
    check: Check, part: str, config: str, heading: str, row: Callable[[dict[str, Any]], list[Any]]
) -> str:
    """Run a part of benchmark.py; its rows become a table of docs/performance.md."""
    target = check.out / "benchmarks" / f"{check.part}.json"
    target.unlink(missing_ok=True)
    sizes = check.sizes
    words = [part, "--config", config, "--device", check.device, "--json", target]
    if part == "track":
        words += ["--precision", *PRECISIONS, "--batch", *sizes.batches]
    elif part == "train":
        words += ["--batch", sizes.batch]
    else:
        words += ["--sequences", sizes.race[0], "--frames", sizes.race[1], "--batch", 16]
        words += ["--checkpoint", WEIGHTS]
    words += ["--rounds", 1 if check.quick or part == "evaluate" else 20]
    try:
        check.call("scripts/benchmark.py", *words, "--seconds", sizes.seconds)
    finally:
        # Where answers differ, the record is there all the same, and so are the figures.
        if target.is_file():
            record = json.loads(target.read_text())
            measured = [one for one in record["rows"] if "ratio_to_reference" in one]
            cells = [heading.split(), ["---"] * len(heading.split()), *map(row, measured)]
            check.table += ["| " + " | ".join(map(str, one)) + " |" for one in cells]
    return f"ratio to the reference {record['ratio_to_reference']}"


def frame_table(check: Check, config: str) -> str:
    """One frame beside the reference; the same tokens in fp32."""
    heading = "model templates what ms frames/s ratio within-1-px"
    keys = ("situation", "what", "median_ms", "frames_per_s", "ratio_to_reference")
    return benchmark(
        check,
        "track",
        config,
        heading,
        lambda row: [config, *(row[key] for key in keys), row.get("boxes_within_1px", "")],
    )


def step_table(check: Check, config: str) -> str:
    """Training steps beside the reference's."""
    keys = ("what", "median_ms", "samples_per_s", "ratio_to_reference")
    return benchmark(
        check,
        "train",
        config,
        "model batch step ms samples/s ratio",
        lambda row: [config, check.sizes.batch, *(row[key] for key in keys)],
    )


def race_table(check: Check) -> str:
    """Whole sequences beside the reference; the same results."""
    keys = ("what", "frames_per_s", "ratio_to_reference", "box_px_max")
    return benchmark(
        check,
        "evaluate",
        "seqtrack_tiny",
        "side frames/s ratio px-apart ties",
        lambda row: [*(row[key] for key in keys), len(row["ties"])],
    )


def plan(sizes: Sizes) -> list[Part]:
    """All parts, the most important ones first."""
    parts = [Part("tests", 240, marked_tests), Part("track-cpu", 240, render)]
    for precision in PRECISIONS:
        for targets in sizes.targets:
            run = partial(tracked, precision=precision, targets=targets)
            parts.append(Part(f"track-{precision}-{targets}", 120, run))
    for precision in PRECISIONS:
        parts.append(Part(f"train-{precision}", 240, partial(training, precision=precision)))
    parts += [Part("compile", 300, compiled), Part("two-ranks", 240, two_ranks)]
    for config in sizes.networks:
        parts.append(Part(f"frame-{config}", 240, partial(frame_table, config=config)))
    step = partial(step_table, config=sizes.networks[0])
    parts += [Part("step", 240, step), Part("race", 240, race_table)]
    return [*parts, Part("quickstart", 420, quickstart)]


def facts(device: str) -> dict[str, Any]:
    """The machine and the versions; CUDA is asked in a process of its own."""
    ask = (
        "import json, torch; c = torch.cuda; n = c.device_count(); print(json.dumps({"
        "'torch': torch.__version__, 'CUDA': torch.version.cuda, 'cards': n,"
        "'card': c.get_device_name(0) if n else 'none'}))"
    )
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=40"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {
        "commit": commit,
        "device": device,
        **json.loads(asked.stdout),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": usable_cores(),
        "missing packages": ", ".join(missing_packages()) or "none",
    }


def missing_packages() -> list[str]:
    """Declared packages that cannot be imported here."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    lines = [line.strip().strip('",') for line in declared.splitlines()]
    names = [line.partition(">")[0] for line in lines if line and not line.startswith("#")]
    return [name for name in names if find_spec(_IMPORTS.get(name, name)) is None]


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__, allow_abbrev=False)
    add = p.add_argument
    add("--out", type=Path, default=ROOT / "runs/gpu_check", help="folder (runs/gpu_check)")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--quick", action="store_true", help="tiny sizes: shows that the check itself works")
    add("--minutes", type=float, default=25, help="that all parts have together (25)")
    add("--again", action="store_true", help="run the parts once more that failed")
    add("--only", action="append", default=[], metavar="PART", help="one of the parts; repeatable")
    return p


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = build_parser().parse_args(argv)
    sizes = QUICK if args.quick else Sizes()
    parts = plan(sizes)
    names = [part.name for part in parts]
    if unknown := [name for name in args.only if name not in names]:
        print(f"error: no part {unknown[0]!r}; choose of {', '.join(names)}", file=sys.stderr)
        return 2
    about = {**facts(args.device), "sizes": "quick" if args.quick else "full"}
    if args.device == "cuda" and not about["cards"]:
        print("error: no CUDA device; --device cpu --quick rehearses without one", file=sys.stderr)
        return 2
    out = args.out.absolute()
    claim(out, about, args.again)
    for key, value in about.items():
        print(f"{key}: {value}")
    wanted = [part for part in parts if not args.only or part.name in args.only]
    signal.signal(signal.SIGTERM, _stop)
    # A shell starts its background jobs with Ctrl-C ignored, and the trainings would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        check = Check(out, args.device, sizes, args.quick, about["cards"])
        return run_parts(check, wanted, args.minutes, about)
    except (KeyboardInterrupt, Stopped) as stop:
        print("stopped; the same command goes on", file=sys.stderr)
        return 143 if isinstance(stop, Stopped) else 130


if __name__ == "__main__":
    sys.exit(main())
