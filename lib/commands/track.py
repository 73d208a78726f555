"""`seqtrack track`, `python tracking/video_demo.py`: track targets in a video, write a video."""

import argparse
import csv
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from tqdm import tqdm

from lib.commands._options import (
    DEFAULT_TRACKER,
    Parser,
    add_checkpoint,
    add_config,
    add_cpu_threads,
    add_dataset,
    add_device,
    add_overrides,
    add_roots,
    parser,
    positive,
)
from lib.commands.entry import Terminated, keeps, say
from lib.commands.trackers import find_sequence, named_trackers
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.check import first_odd_boxes
from lib.datasets.benchmarks.folder import LAYOUTS, open_folder
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset
from lib.tracker.registry import find_tracker, make_spec, trackers, with_checkpoint
from lib.tracker.spec import TrackerSpec
from lib.utils.boxes import Box
from lib.utils.errors import (
    EXIT_OK,
    ConfigError,
    DataError,
    PartialFailure,
    ResultsError,
    SeqTrackError,
    counted,
)
from lib.utils.files import check_replaceable, check_writable, user_path
from lib.video.clip import DEFAULT_FPS, FPS_RANGE, Clip, Step
from lib.video.open import FrameClip, open_source
from lib.video.write import SUFFIXES, Painter, check_suffix, kept_path, open_sink

if TYPE_CHECKING:
    from lib.video.targets import Targets

DEFAULT_CONFIG = "seqtrack_tiny"
COLUMNS = ("frame", "target", "time_s", "x", "y", "w", "h", "confidence")
_DESCRIPTION = (
    "Track one or more targets in a video file or a folder of images. Writes a video with the "
    "boxes drawn and a CSV with one row per frame and target. A confidence is 0..1: the mean "
    "probability of the four tokens of a box, the reference's score of 0..40 divided by 40."
)


_FIRST_FRAME = (
    "tracking goes forward and a box belongs to the first frame; to begin elsewhere, cut the clip "
    "first, for example by `ffmpeg -ss SECONDS -i CLIP cut.mp4`"
)


class _NotYet(argparse.Action):
    """An option that people look for and that is not here."""

    def __call__(self, p, *_: object) -> None:  # type: ignore[no-untyped-def]
        """Leave with code 2 and a line that says what to do instead."""
        p.error(f"{self.option_strings[0]} is not supported: {_FIRST_FRAME}")


class _FourWords(argparse.Action):
    """`--optional_box X Y W H`, as PyTracking's users type a box."""

    def __call__(self, p, namespace, words, *_: object) -> None:  # type: ignore[no-untyped-def]
        """Add the box."""
        try:
            namespace.boxes = [*namespace.boxes, box_argument(",".join(words))]
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def box_argument(text: str) -> Box:
    """An argument that is a box, `x,y,w,h`."""
    try:
        x, y, w, h = (float(word) for word in text.split(","))
    except ValueError:
        x = y = w = h = math.nan
    if not math.isfinite(x + y + w + h) or w <= 0 or h <= 0:
        number, colon, _ = text.partition(":")
        if colon and number.isdecimal():
            raise argparse.ArgumentTypeError(f"{text!r} names a frame; {_FIRST_FRAME}")
        raise argparse.ArgumentTypeError(
            f"{text!r} is no box; write x,y,w,h: left, top, width and height in pixels of the "
            "first frame, such as 120,80,60,40"
        )
    return x, y, w, h


def rate_argument(text: str) -> float:
    """An argument that is a number of frames per second."""
    low, high = FPS_RANGE
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is no frame rate from {low:g} to {high:g}")
    return value


def build_parser() -> Parser:
    p = parser(
        "track",
        _DESCRIPTION,
        "clip.mp4 --box 120,80,60,40",
        "clip.mp4 --box 120,80,60,40 --box 300,90,25,70 --config seqtrack_b256 --out two.webm",
        "--dataset synthetic --sequence 0 --tracker static_box",
    )
    p.add_argument(
        "clip",
        nargs="*",
        help="video file, or folder of images; tracker and configuration may stand before it, as "
        "in PyTracking",
    )
    _add_targets(p)
    by = p.add_argument_group("by what")
    by.add_argument(
        "--tracker", metavar="NAME", help=f"one of {', '.join(trackers())} (default: seqtrack)"
    )
    add_config(
        by,
        required=False,
        help="configuration: a name in experiments/, or the path of a YAML file (default: "
        f"{DEFAULT_CONFIG}); or TRACKER/NAME",
    )
    add_overrides(by)
    add_checkpoint(by)
    add_device(by)
    add_cpu_threads(by)
    _add_outputs(p)
    add_roots(p)
    return p


def _add_targets(p: Parser) -> None:
    what = p.add_argument_group("what is tracked")
    add = what.add_argument
    add(
        "--box",
        action="append",
        default=[],
        type=box_argument,
        metavar="X,Y,W,H",
        dest="boxes",
        help="a target in the first frame: left, top, width, height in pixels; may be repeated",
    )
    add("--optional-box", nargs=4, action=_FourWords, dest="boxes", help=argparse.SUPPRESS)
    add_dataset(what)
    add("--sequence", metavar="NAME", help="sequence of the data set, by its name or its number "
        "from 0 (default: the first)")  # fmt: skip
    add("--max-frames", type=positive, metavar="N", help="stop after N frames")
    add("--start", action=_NotYet, help=argparse.SUPPRESS)
    add("--backward", nargs=0, action=_NotYet, help=argparse.SUPPRESS)


def _add_outputs(p: Parser) -> None:
    add = p.add_argument_group("what is written").add_argument
    add(
        "--out",
        metavar="FILE",
        help=f"the video, {', '.join(SUFFIXES)} (default: <clip>_<tracker>.mp4 in the current "
        "folder); all of them play in browsers",
    )
    add(
        "--csv",
        metavar="FILE",
        help=f"the table (default: beside the video); {os.devnull} for none",
    )
    add("--overwrite", "--force", action="store_true", help="replace files that exist")
    add(
        "--fps",
        type=rate_argument,
        metavar="N",
        help="frames per second of the video (default: each picture at its time in the clip; "
        f"{DEFAULT_FPS:g} for images)",
    )


@dataclass(frozen=True)
class TrackJob:
    """What is tracked.

    Attributes:
        clip: the frames.
        boxes: the targets in the first frame.
        origin: the file of the clip, which must not be overwritten; None for images.
        truth: `(N, 4)` xywh per frame, NaN where unknown; None where there is no ground truth.
        update_key: key of the data set in TEST.UPDATE_INTERVALS.
    """

    clip: Clip
    boxes: list[Box]
    origin: Path | None = None
    truth: np.ndarray | None = None
    update_key: str = "DEFAULT"

    def truth_of(self, index: int) -> np.ndarray | None:
        """Ground truth of a frame, None where there is none."""
        return self.truth[index] if self.truth is not None and index < len(self.truth) else None


@dataclass(frozen=True)
class TrackOutputs:
    """The files to write."""

    video: Path
    table: Path


@dataclass
class Tally:
    """How far it got, and what it took in seconds."""

    frames: int = 0
    read: float = 0.0
    track: float = 0.0
    write: float = 0.0
    kept: list[Path] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    paths = resolve_paths(args.data_dir, args.save_dir)
    tracker, config = _which_tracker(args)
    spec = make_spec(tracker, config, args.overrides)
    if spec.config is None and (args.cpu_threads or args.config == config):
        option = "--cpu-threads" if args.cpu_threads else "--config"
        raise ConfigError(f"{option} does nothing for {tracker!r}, which has no network")
    job = _open_job(args, paths)
    outputs = _choose_outputs(args, job, spec)
    spec = with_checkpoint(spec, args.checkpoint, paths, job.update_key)
    spec = replace(spec, cpu_threads=args.cpu_threads)
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.tracker.build import with_threads
    from lib.utils.device import resolve_device
    from lib.video.targets import build_targets

    device = resolve_device(args.device)
    spec = with_threads(spec, device, len(job.boxes), 1)
    targets = build_targets(spec, device)
    legend = "" if job.truth is None else " (green: ground truth)"
    what = f"{spec.tracker}/{spec.config_name} on {job.clip.name}"
    say(f"{what}: {counted(len(job.boxes), 'target')}{legend}")
    tally = Tally()
    try:
        with keeps("the video and the table hold all frames until then"):
            _track(targets, job, outputs, args, tally, _Floor(spec))
    except (KeyboardInterrupt, Terminated):
        _tell(tally)
        raise
    except SeqTrackError as error:
        if tally.frames == 0:
            raise
        _tell(tally)
        raise PartialFailure(str(error)) from error
    _tell(tally)
    return EXIT_OK


def _which_tracker(args: argparse.Namespace) -> tuple[str, str]:
    """Tracker and configuration; leaves the clip alone in `args.clip`.

    Raises:
        ConfigError: an unknown tracker, or more than one.
    """
    words = list(args.clip)
    # A lone word is the clip, also where a data set is given, which is then one clip too many.
    alone = len(words) == 1 and words[0].partition("/")[0] not in trackers()
    is_clip = words and (args.dataset is None or alone)
    args.clip = words.pop() if is_clip else None
    configs = [args.config] if args.config else []
    if args.tracker:
        words.append(args.tracker)
    if len(words) == 1 and not configs and "/" not in words[0]:
        configs = [DEFAULT_CONFIG if words[0] == DEFAULT_TRACKER else "default"]
    named = named_trackers(words, configs) or [(DEFAULT_TRACKER, DEFAULT_CONFIG)]
    if len(named) > 1:
        raise ConfigError(f"one tracker at a time, please: {', '.join(map('/'.join, named))}")
    find_tracker(named[0][0])
    return named[0]


def _open_job(args: argparse.Namespace, paths: Paths) -> TrackJob:
    """The clip with its targets, from a file, a folder or a data set."""
    if (args.clip is None) == (args.dataset is None):
        raise DataError("give one clip: a video file, a folder of images, or --dataset NAME")
    if args.sequence is not None and args.dataset is None:
        raise DataError(f"--sequence {args.sequence} needs --dataset")
    if args.dataset is not None:
        return _sequence_job(args, open_dataset(args.dataset, paths))
    path = user_path(args.clip, "clip")
    if not args.boxes and any((path / layout.annotation).is_file() for layout in LAYOUTS):
        return _sequence_job(args, open_folder(path))
    clip = open_source(args.clip, fps=args.fps)
    if not args.boxes:
        height, width = next(clip.frames()).image.shape[:2]
        raise DataError(
            "no target is given; add --box x,y,w,h: left, top, width and height in pixels of the "
            f"first frame, which is {width} wide and {height} high"
        )
    return TrackJob(clip, args.boxes, path if path.is_file() else None)


def _sequence_job(args: argparse.Namespace, dataset: Dataset) -> TrackJob:
    sequence = dataset.load(find_sequence(dataset, args.sequence or "0"))
    if odd := first_odd_boxes(dataset, [sequence.name]):
        say(f"warning: {odd}", error=True)
    truth = sequence.ground_truth
    if sequence.visible is not None:
        truth = np.where(sequence.visible[:, None], truth, np.nan)
    if not args.boxes:
        text = ",".join(f"{value:g}" for value in sequence.init_box)
        say(f"box {text} is the first of {sequence.annotation}")
    return TrackJob(
        clip=FrameClip(sequence.name, sequence.frames, args.fps or DEFAULT_FPS),
        boxes=args.boxes or [sequence.init_box],
        truth=truth,
        update_key=dataset.update_key,
    )


def _choose_outputs(args: argparse.Namespace, job: TrackJob, spec: TrackerSpec) -> TrackOutputs:
    """Names for the files to write, where they can be written.

    Raises:
        ResultsError: a file is there already, or is the clip itself.
        SeqTrackError: no such video format, or the folder cannot be written.
    """
    stem = job.origin.stem if job.origin else job.clip.name
    default = Path(f"{stem or 'clip'}_{spec.tracker}.mp4")
    video = user_path(args.out, "--out") if args.out else default
    check_suffix(video)
    table = user_path(args.csv, "--csv") if args.csv else video.with_suffix(".csv")
    if os.path.abspath(table) == os.path.abspath(video):
        raise ResultsError(f"{video}: --out and --csv are the same file")
    for path in (video, table):
        if path == Path(os.devnull):
            continue
        if path.is_dir():
            raise ResultsError(f"{path} is a folder; name a file")
        check_replaceable(path)
        if not path.exists():
            check_writable(path.parent)
        elif job.origin is not None and path.samefile(job.origin):
            raise ResultsError(f"{path} is the clip itself; choose another name with --out")
        elif not args.overwrite:
            raise ResultsError(f"{path} is there already; choose another name, or add --overwrite")
    return TrackOutputs(video, table)


class _Floor:
    """Says once for each target that its box is as small as the tracker lets a box be."""

    def __init__(self, spec: TrackerSpec) -> None:
        self.size = spec.config.test.min_size if spec.config else 0
        self.told: set[int] = set()

    def watch(self, step: Step) -> None:
        """Look at the boxes of a frame; the given ones are as they were given."""
        for number, estimate in enumerate(step.estimates, start=1):
            small = step.frame.index > 0 and min(estimate.box[2:]) <= self.size
            if small and number not in self.told:
                self.told.add(number)
                tqdm.write(
                    f"target {number}: from frame {step.frame.index} on a side of its box is at "
                    f"the floor of {self.size} pixels, the published rule; a smaller target needs "
                    "--set TEST.MIN_SIZE=1"
                )


def _track(
    targets: "Targets",
    job: TrackJob,
    outputs: TrackOutputs,
    args: argparse.Namespace,
    tally: Tally,
    floor: _Floor,
) -> None:
    """Frames in, video and rows out; both files are whole whatever ends it."""
    from lib.video.targets import follow

    several = len(job.boxes) > 1
    painter = Painter([f"#{number + 1}" if several else "" for number in range(len(job.boxes))])
    limits = [n for n in (job.clip.length, args.max_frames) if n is not None]
    with (
        kept_path(outputs.table, tally.kept) as part,
        open(part, "w", newline="", encoding="utf-8") as stream,
        open_sink(outputs.video, args.fps or job.clip.fps, tally.kept) as sink,
        tqdm(total=min(limits, default=None), unit="frame", disable=None) as bar,
    ):
        for step in follow(targets, job.clip, job.boxes, args.max_frames):
            began = time.perf_counter()
            frame = step.frame
            picture = painter.draw(step, began, job.truth_of(frame.index))
            if args.fps:
                sink.write(picture, frame.index / args.fps, 1 / args.fps)
            else:
                sink.write(picture, frame.time, frame.duration)
            _write_rows(stream, step)
            floor.watch(step)
            tally.frames += 1
            tally.read += step.read_seconds
            tally.track += step.track_seconds
            tally.write += time.perf_counter() - began
            bar.update()


def _write_rows(stream: TextIO, step: Step) -> None:
    rows = csv.writer(stream, lineterminator="\n")
    if step.frame.index == 0:
        rows.writerow(COLUMNS)
    for target, estimate in enumerate(step.estimates, start=1):
        known = "" if estimate.confidence is None else f"{estimate.confidence:.4f}"
        box = [f"{value:.2f}" for value in estimate.box]
        rows.writerow([step.frame.index, target, f"{step.frame.time:.3f}", *box, known])


def _tell(tally: Tally) -> None:
    """What was done, and where it is."""
    if tally.frames == 0:
        return
    seconds = tally.read + tally.track + tally.write
    each = 1000 / tally.frames
    say(
        f"{counted(tally.frames, 'frame')} in {seconds:.1f} s, {tally.frames / seconds:.1f} "
        f"frames/s (per frame {each * tally.read:.1f} ms reading, {each * tally.track:.1f} "
        f"tracking, {each * tally.write:.1f} drawing and writing)"
    )
    for path in tally.kept:
        say(f"written: {path}")
