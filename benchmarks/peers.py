"""Our model beside the trackers that people use on a CPU: accuracy and speed, the same frames.

    python benchmarks/peers.py --sequences DIR
    python benchmarks/peers.py --sequences DIR --nanotrack BACKBONE.onnx HEAD.onnx
    python benchmarks/peers.py --sequences DIR --contrib-python OTHER/bin/python

DIR holds a folder for each sequence, in any layout that `test.py --dataset DIR` reads. Every
tracker runs in a process of its own, one after the other, and decodes the frames itself, so that
frames per second count decoding and tracking for all of them alike. OpenCV's MIL is in every
build; CSRT and KCF come with opencv-contrib-python, which cannot be installed beside
opencv-python: `--contrib-python` names the Python of an environment that has it. NanoTrack runs
in OpenCV's own `TrackerNano`, from the two files of its authors. A tracker that fails on a sequence
is scored with its last box in the frames that were left, and that is said; a new process goes on
with the next sequence. AUC and precision are those of OTB's protocol; the paired interval is that
of `analysis_results.py`.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OPENCV = ("mil", "csrt", "kcf")
Box = tuple[float, float, float, float]
# Frame in BGR, the box in the first one; then frame to box, None where the target is lost.
Start = Callable[[np.ndarray, Box], None]
Step = Callable[[np.ndarray], Sequence[float] | None]


@dataclass(frozen=True)
class Runs:
    """What one tracker did.

    Attributes:
        boxes: by sequence, `(N, 4)` xywh in pixels of the first repeat.
        rates: frames per second of each repeat, decoding included.
        failed: by sequence that it failed on, in which frame and of what.
    """

    boxes: Mapping[str, np.ndarray]
    rates: list[float]
    failed: Mapping[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run every tracker, print the tables; returns the exit code."""
    args = _parser().parse_args(argv)
    if args.worker:
        return _work(args)
    sys.path.insert(0, str(ROOT))
    from lib.utils.errors import SeqTrackError

    try:
        return _compare(args)
    except SeqTrackError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--sequences", metavar="DIR", help="folder of sequences with ground truth")
    add("--config", default="seqtrack_nano", help="ours: a configuration, or a YAML file")
    add("--checkpoint", help="its weights; those of the configuration by default")
    add("--engine", default="torch", help="how ours runs: torch or onnx")
    add("--nanotrack", nargs=2, metavar=("BACKBONE", "HEAD"), help="its two ONNX files")
    add("--contrib-python", metavar="PYTHON", help="a Python with opencv-contrib-python")
    add("--trackers", nargs="+", metavar="NAME", help="of the others only these; ours always runs")
    add("--threads", type=int, default=0, help="threads of each tracker; 0: as each chooses")
    add("--repeats", type=int, default=1, help="runs of each tracker, in turn")
    add("--json", metavar="FILE", help="write the figures there as well")
    add("--worker", help=argparse.SUPPRESS)
    add("--manifest", help=argparse.SUPPRESS)
    add("--boxes", help=argparse.SUPPRESS)
    return parser


def _compare(args: argparse.Namespace) -> int:
    """Run all trackers that can run here, and print how they did."""
    from lib.datasets.benchmarks.folder import open_folder
    from lib.utils.errors import ConfigError
    from lib.utils.files import atomic_write_text, user_path

    if not args.sequences:
        raise ConfigError("--sequences DIR is missing: a folder of sequences with ground truth")
    dataset = open_folder(user_path(args.sequences, "--sequences"))
    videos = [dataset.load(name) for name in dataset.sequence_names]
    pythons = _trackers(args)
    entries = [_as_entry(video) for video in videos]
    turns: dict[str, list[Runs]] = {name: [] for name in pythons}
    for turn in range(args.repeats):
        for name, python in pythons.items():
            print(f"[{turn + 1}/{args.repeats}] {name} …", file=sys.stderr, flush=True)
            turns[name].append(_run(args, name, python, entries))
    runs = {
        name: replace(found[0], rates=[rate for one in found for rate in one.rates])
        for name, found in turns.items()
    }
    figures = _figures(videos, runs)
    _print_tables(figures, [video.name for video in videos])
    if args.json:
        atomic_write_text(user_path(args.json, "--json"), json.dumps(figures, indent=2) + "\n")
    return int(bool(runs["ours"].failed))


def _trackers(args: argparse.Namespace) -> dict[str, str]:
    """The Python to run each tracker with; what cannot run is said and left out."""
    from lib.utils.errors import ConfigError

    pythons = {"ours": sys.executable}
    wanted = set(args.trackers or ("nanotrack", *OPENCV)) - {"ours"}
    if unknown := wanted - {"nanotrack", *OPENCV}:
        known = ", ".join(("nanotrack", *OPENCV))
        raise ConfigError(f"--trackers {', '.join(sorted(unknown))}: there are {known}")
    if "nanotrack" in wanted and not args.nanotrack:
        print("nanotrack: left out; its files are given by --nanotrack", file=sys.stderr)
    elif "nanotrack" in wanted:
        for file in args.nanotrack:
            if not Path(file).is_file():
                raise ConfigError(f"--nanotrack {file}: no such file; it wants BACKBONE and HEAD")
        pythons["nanotrack"] = sys.executable
    for name in (name for name in OPENCV if name in wanted):
        for python in filter(None, (args.contrib_python, sys.executable)):
            if _has(python, name):
                pythons[name] = python
                break
        else:
            print(f"{name}: left out, no OpenCV with it; see --contrib-python", file=sys.stderr)
    return pythons


def _has(python: str, name: str) -> bool:
    """Whether the OpenCV of that Python has the tracker."""
    code = "import cv2, sys; sys.exit(not hasattr(cv2, 'Tracker' + sys.argv[1].upper()))"
    try:
        return subprocess.run([python, "-c", code, name], check=False).returncode == 0
    except OSError:
        return False


def _as_entry(video: Any) -> dict[str, Any]:
    """A sequence as the workers read it: files and the first box."""
    files = [video.frames.describe(index) for index in range(len(video))]
    return {"name": video.name, "files": files, "box": list(video.init_box)}


def _run(
    args: argparse.Namespace, name: str, python: str, entries: Sequence[dict[str, Any]]
) -> Runs:
    """One tracker over all sequences, in one process, and in another one after each failure.

    Raises:
        SeqTrackError: it ends before its first sequence.
    """
    from lib.utils.errors import SeqTrackError

    lengths = {entry["name"]: len(entry["files"]) for entry in entries}
    rows: dict[str, list[list[float]]] = {}
    failed: dict[str, str] = {}
    frames, seconds = 0, 0.0
    while left := [entry for entry in entries if entry["name"] not in rows]:
        lines, reason = _call(args, name, python, left)
        for sequence, box, took in lines:
            rows.setdefault(sequence, []).append(box)
            # The first frame loads and warms up; it is no part of the rate.
            frames, seconds = frames + (took is not None), seconds + (took or 0.0)
        if reason is None:
            break
        if not lines:
            raise SeqTrackError(f"{name}: its process ended before the first sequence: {reason}")
        last = lines[-1][0]
        if len(rows[last]) < lengths[last]:
            failed[last] = f"after {len(rows[last])} of {lengths[last]} frames: {reason}"
    boxes = {
        key: np.array(found + found[-1:] * (lengths[key] - len(found)))
        for key, found in rows.items()
    }
    return Runs(boxes, [frames / seconds if seconds else 0.0], failed)


def _call(
    args: argparse.Namespace, name: str, python: str, entries: Sequence[dict[str, Any]]
) -> tuple[list[Any], str | None]:
    """What the process of one tracker wrote, and of what it ended, if not well.

    A line for each frame: the sequence, the box, and the seconds that it took; None in the first.
    """
    words = [python, str(Path(__file__).resolve()), "--worker", name]
    words += ["--config", args.config, "--engine", args.engine, "--threads", str(args.threads)]
    words += ["--checkpoint", args.checkpoint] if args.checkpoint else []
    words += ["--nanotrack", *args.nanotrack] if args.nanotrack else []
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        manifest, boxes = Path(folder) / "manifest.json", Path(folder) / "boxes"
        manifest.write_text(json.dumps(entries), encoding="utf-8")
        words += ["--manifest", str(manifest), "--boxes", str(boxes)]
        boxes.touch()
        done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        lines = [json.loads(line) for line in boxes.read_text(encoding="utf-8").splitlines()]
    if not done.returncode:
        return lines, None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    how = f"exit code {done.returncode}"
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
    return lines, f"{said[-1]} ({how})" if said else how


def _work(args: argparse.Namespace) -> int:
    """The process of one tracker; see `_call` for what it writes, each line at once."""
    if args.threads:
        cv2.setNumThreads(args.threads)
    start, step = _ours(args) if args.worker == "ours" else _peer(args)
    with open(args.boxes, "w", encoding="utf-8") as stream:

        def write(name: str, box: Sequence[float], seconds: float | None) -> None:
            print(json.dumps([name, [float(x) for x in box], seconds]), file=stream, flush=True)

        for entry in json.loads(Path(args.manifest).read_text(encoding="utf-8")):
            name, box, (first, *others) = entry["name"], entry["box"], entry["files"]
            write(name, box, None)
            start(cv2.imread(first, cv2.IMREAD_COLOR), tuple(box))
            for file in others:
                began = time.perf_counter()
                answer = step(cv2.imread(file, cv2.IMREAD_COLOR))
                seconds = time.perf_counter() - began
                box = box if answer is None else answer
                write(name, box, seconds)
    return 0


def _ours(args: argparse.Namespace) -> tuple[Start, Step]:
    """Our tracker with what `test.py` would give it."""
    sys.path.insert(0, str(ROOT))
    from lib.config.paths import resolve_paths
    from lib.tracker.build import build_tracker
    from lib.tracker.registry import make_spec, with_checkpoint
    from lib.utils.cores import usable_cores

    spec = make_spec("seqtrack", args.config, [])
    spec = with_checkpoint(spec, args.checkpoint, resolve_paths(None, None), "DEFAULT")
    spec = replace(spec, engine=args.engine, cpu_threads=args.threads or usable_cores())
    tracker = build_tracker(spec, "cpu")

    def start(image: np.ndarray, box: Box) -> None:
        tracker.initialize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), {"init_bbox": list(box)})

    def step(image: np.ndarray) -> Sequence[float]:
        return tracker.track(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))["target_bbox"]

    return start, step


def _peer(args: argparse.Namespace) -> tuple[Start, Step]:
    """One of OpenCV's trackers; a new object for each sequence, as it wants to be used."""
    kept: list[Any] = []

    def create() -> Any:
        if args.worker == "nanotrack":
            params = cv2.TrackerNano_Params()
            params.backbone, params.neckhead = args.nanotrack
            return cv2.TrackerNano_create(params)
        return getattr(cv2, f"Tracker{args.worker.upper()}").create()

    def start(image: np.ndarray, box: Box) -> None:
        kept[:] = [create()]
        kept[0].init(image, [round(value) for value in box])

    def step(image: np.ndarray) -> Sequence[float] | None:
        found, box = kept[0].update(image)
        return box if found else None

    return start, step


def _figures(videos: Sequence[Any], runs: Mapping[str, Runs]) -> dict[str, Any]:
    """Scores in percent, rates, and ours against each of the others."""
    from lib.analysis.frames import join
    from lib.analysis.metrics import score_sequence
    from lib.analysis.statistics import paired_bootstrap

    figures: dict[str, Any] = {}
    for name, one in runs.items():
        scores = {
            video.name: score_sequence(
                join(video, one.boxes[video.name], with_size=False), "otb"
            ).percentages()
            for video in videos
        }
        figures[name] = {
            "auc": {key: row["AUC"] for key, row in scores.items()},
            "precision": {key: row["Precision"] for key, row in scores.items()},
            "frames_per_second": float(np.median(one.rates)),
            "rates": one.rates,
            "failed": dict(one.failed),
        }
    ours = np.array(list(figures["ours"]["auc"].values()))
    for name in set(figures) - {"ours"}:
        test = paired_bootstrap(ours, np.array(list(figures[name]["auc"].values())))
        figures[name]["ours_minus_this"] = {
            "auc": test.difference,
            "low": test.interval.low,
            "high": test.interval.high,
            "p": test.p_value,
        }
    return figures


def _print_tables(figures: Mapping[str, Any], names: Sequence[str]) -> None:
    from lib.analysis.tables import Table, as_text

    rows = []
    for tracker, one in figures.items():
        test = one.get("ours_minus_this")
        gap = "" if test is None else f"{test['auc']:+.1f} [{test['low']:.1f}, {test['high']:.1f}]"
        rate = one["frames_per_second"]
        rows.append(
            (
                tracker,
                f"{np.mean(list(one['auc'].values())):.1f}",
                f"{np.mean(list(one['precision'].values())):.1f}",
                f"{rate:.1f}",
                f"{figures['ours']['frames_per_second'] / rate:.2f}",
                gap,
            )
        )
    header = ("tracker", "AUC", "Precision", "frames/s", "ours/this", "AUC, ours less this")
    title = f"{len(names)} sequences, mean; 95 % interval by a paired bootstrap over sequences"
    print(as_text(Table(title, header, tuple(rows))))
    each = [
        (name, *(f"{one['auc'][name]:.1f}" for one in figures.values())) for name in sorted(names)
    ]
    print(as_text(Table("AUC of each sequence", ("sequence", *figures), tuple(each))))
    for tracker, one in figures.items():
        for sequence, reason in one["failed"].items():
            print(f"{tracker} failed on {sequence} {reason}; its last box was kept")


if __name__ == "__main__":
    sys.exit(main())
