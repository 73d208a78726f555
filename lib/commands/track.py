"""`seqtrack track`, `python tracking/video_demo.py`: track targets in a video, write a video."""

import argparse
import contextlib
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from lib.annotations.read import read_boxes
from lib.annotations.write import FORMATS
from lib.api import DEFAULT_CONFIG, Tracker, with_engine
from lib.commands._boxes import FourWords, box_argument
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
    count,
    parser,
    positive,
)
from lib.commands._recorder import Recorder, Tally, choose_outputs, open_recorder
from lib.commands.entry import Terminated, keeps, say
from lib.commands.trackers import find_sequence, named_trackers
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.check import first_odd_boxes
from lib.datasets.benchmarks.folder import LAYOUTS, open_folder
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset, Video
from lib.tracker.engine.names import AUTO, ENGINE_NAMES
from lib.tracker.registry import find_tracker, make_spec, trackers, watching, with_checkpoint
from lib.utils.boxes import Box
from lib.utils.errors import (
    EXIT_OK,
    ConfigError,
    DataError,
    PartialFailure,
    SeqTrackError,
    counted,
)
from lib.utils.files import user_path
from lib.utils.targets import TargetId
from lib.video.check import check_placed
from lib.video.clip import DEFAULT_FPS, FPS_RANGE, Clip, Result
from lib.video.open import open_source
from lib.video.placed import check_end, first_frame, place_boxes
from lib.video.write import SUFFIXES, Painter

if TYPE_CHECKING:
    from lib.video.window import VideoWindow

_DESCRIPTION = (
    "Track one or more targets in a video file, a folder of images, a camera or a stream. Writes a "
    "video with the boxes drawn and a CSV with one row per frame and target. A confidence is 0 to "
    "1: how sure the tracker is of the box, and a probability where the weights are calibrated "
    "(docs/lost.md)."
)


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
        "clip.mp4 --box 120:90,60,48,40 --box 1@200:300,90,50,40 --format cvat",
        "0 --select --show",
        "--dataset synthetic --sequence 0 --tracker static_box",
    )
    p.add_argument(
        "clip",
        nargs="*",
        help="video file, folder of images, camera number, address (rtsp://, http://), or - for "
        "standard input; tracker and configuration may stand before it, as in PyTracking",
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
    add = by.add_argument
    add(
        "--engine",
        default=AUTO,
        metavar="NAME",
        help=f"what runs the network: {', '.join(ENGINE_NAMES)} (default: auto, the quickest that "
        "can begin at once)",
    )
    add("--precision", metavar="NAME", help="number format of the engine (default: fp32)")
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
        help="a target where tracking starts: left, top, width, height in pixels; 120:X,Y,W,H is "
        "one that joins in frame 120, and 1@200:X,Y,W,H corrects target 1 in frame 200 (NAME@ "
        "gives a target a name); may be repeated",
    )
    add("--optional-box", nargs=4, action=FourWords, dest="boxes", help=argparse.SUPPRESS)
    add(
        "--boxes",
        metavar="FILE",
        dest="boxes_file",
        help="boxes from a file of MOT, COCO, CVAT, CSV or JSON: a target joins at its first box, "
        "and the others correct it",
    )
    add("--select", action="store_true", help="draw the boxes with the mouse")
    add_dataset(what)
    add("--sequence", metavar="NAME", help="sequence of the data set, by its name or its number "
        "from 0 (default: the first)")  # fmt: skip
    add(
        "--start",
        type=count,
        metavar="FRAME",
        help="frame to start at, from 0 (default: that of the first box, else 0)",
    )
    add("--end", type=count, metavar="FRAME", help="last frame to track")
    add("--max-frames", type=positive, metavar="N", help="stop after N frames")
    add("--backward", action="store_true", help="go from the start to the first frame")


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
    add(
        "--annotations",
        metavar="FILE",
        help="the boxes for an annotation tool; the suffix chooses the format unless --format does",
    )
    add("--format", choices=FORMATS, help="format of --annotations; without that, "
        "the file lies beside the video")  # fmt: skip
    add("--show", action="store_true", help="show the pictures in a window; q ends it")
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
        boxes: of the targets, by frame and target.
        start: index of the first frame.
        end: index of the last one; None for all.
        origin: the file of the clip, which must not be overwritten; None for other sources.
        truth: `(N, 4)` xywh per frame, NaN where unknown; None where there is no ground truth.
        update_key: key of the data set in TEST.UPDATE_INTERVALS.
    """

    clip: Clip
    boxes: Mapping[int, Mapping[TargetId, Box]]
    start: int = 0
    end: int | None = None
    origin: Path | None = None
    truth: np.ndarray | None = None
    update_key: str = "DEFAULT"

    @property
    def targets(self) -> list[TargetId]:
        """Their ids, in the order in which they join."""
        return list(dict.fromkeys(target for some in self.boxes.values() for target in some))

    def truth_of(self, index: int) -> np.ndarray | None:
        """Ground truth of a frame, None where there is none."""
        return self.truth[index] if self.truth is not None and index < len(self.truth) else None


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    paths = resolve_paths(args.data_dir, args.save_dir)
    tracker, config = _which_tracker(args)
    spec = watching(make_spec(tracker, config, args.overrides))
    if spec.config is None and (args.cpu_threads or args.config == config):
        option = "--cpu-threads" if args.cpu_threads else "--config"
        raise ConfigError(f"{option} does nothing for {tracker!r}, which has no network")
    spec = replace(with_engine(spec, args.engine, args.precision), cpu_threads=args.cpu_threads)
    job = _open_job(args, paths)
    check_placed(job.clip, job.boxes, job.start, args.backward, job.end)
    outputs = choose_outputs(args, f"{_stem(job)}_{spec.tracker}", job.origin)
    spec = with_checkpoint(spec, args.checkpoint, paths, job.update_key)
    tally = Tally()
    targets = job.targets
    painter = Painter(len(targets) > 1 or any(isinstance(one, str) for one in targets))
    with _window(args.show or args.select) as window, Tracker(spec, device=args.device) as tracking:
        _announce(tracking, job)
        opened = open_recorder(
            outputs, job.clip, tally, painter, args.fps, window if args.show else None, spec
        )
        try:
            with keeps("the video and the table hold all frames until then"), opened as recorder:
                _track(tracking, job, args, tally, recorder, window if args.select else None)
        except (KeyboardInterrupt, Terminated):
            tally.tell()
            raise
        except SeqTrackError as error:
            if tally.frames == 0:
                raise
            tally.tell()
            raise PartialFailure(str(error)) from error
    tally.tell()
    return EXIT_OK


def _announce(tracking: Tracker, job: TrackJob) -> None:
    spec = tracking.spec
    words = [f"{spec.tracker}/{spec.config_name} on {job.clip.name}: "]
    words.append(counted(len(job.targets), "target") if job.boxes else "targets by the mouse")
    if job.truth is not None:
        words.append(" (green: ground truth)")
    if tracking.engine:
        words.append(f", engine {tracking.engine} on {tracking.device}")
    if tracking.advice:
        words.append(f" ({tracking.advice})")
    say("".join(words))


def _track(
    tracking: Tracker,
    job: TrackJob,
    args: argparse.Namespace,
    tally: Tally,
    recorder: Recorder,
    selecting: "VideoWindow | None",
) -> None:
    """Frames in, video and rows out."""
    stream = tracking.stream(job.clip, job.boxes, job.start, args.backward, end=job.end)
    limit = _frame_count(job, args.backward)
    with contextlib.closing(stream), tqdm(total=limit, unit="frame", disable=None) as bar:
        for result in stream:
            if selecting is not None:
                _select(tracking, result, selecting)
                selecting = None
            tally.read += result.read_seconds
            tally.track += result.track_seconds
            began = time.perf_counter()
            go_on = recorder.add(result, job.truth_of(result.frame))
            tally.write += time.perf_counter() - began
            tally.frames += 1
            tally.skipped = result.skipped
            bar.update()
            if not go_on:
                return


def _select(tracking: Tracker, result: Result, window: "VideoWindow") -> None:
    """Let the targets be drawn in the first frame.

    Raises:
        DataError: not one was.
    """
    boxes = window.select(np.ascontiguousarray(result.image[..., ::-1]))
    if not boxes and not result.targets:
        raise DataError("no target was drawn: press Space after each box, Escape after the last")
    for box in boxes:
        numbers = [one for one in result.targets if isinstance(one, int)]
        tracking.add(max(numbers, default=0) + 1, box)


def _frame_count(job: TrackJob, backward: bool) -> int | None:
    """Frames that are going to be tracked, as far as known."""
    if backward:
        return job.start - (job.end or 0) + 1
    ends = [n for n in (job.clip.length, None if job.end is None else job.end + 1) if n is not None]
    return max(0, min(ends) - job.start) if ends else None


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
    """The clip with its targets, from a file, a folder, a live source or a data set."""
    if (args.clip is None) == (args.dataset is None):
        raise DataError("give one clip: a video file, a folder of images, or --dataset NAME")
    if args.sequence is not None and args.dataset is None:
        raise DataError(f"--sequence {args.sequence} needs --dataset")
    given = args.boxes or args.boxes_file or args.select
    if args.dataset is not None:
        return _sequence_job(args, open_dataset(args.dataset, paths))
    path = user_path(args.clip, "clip")
    if not given and any((path / layout.annotation).is_file() for layout in LAYOUTS):
        return _sequence_job(args, open_folder(path))
    clip = open_source(args.clip, fps=args.fps)
    if not given:
        with contextlib.closing(clip.frames()) as frames:
            height, width = next(frames).image.shape[:2]
        raise DataError(
            "no target is given; add --box x,y,w,h: left, top, width and height in pixels of the "
            f"first frame, which is {width} wide and {height} high; or --select to draw it"
        )
    return _with_boxes(args, TrackJob(clip, {}, origin=path if path.is_file() else None))


def _sequence_job(args: argparse.Namespace, dataset: Dataset) -> TrackJob:
    sequence = dataset.load(find_sequence(dataset, args.sequence or "0"))
    if odd := first_odd_boxes(dataset, [sequence.name]):
        say(f"warning: {odd}", error=True)
    truth = sequence.ground_truth
    if sequence.visible is not None:
        truth = np.where(sequence.visible[:, None], truth, np.nan)
    clip = open_source(sequence, fps=args.fps)
    job = _with_boxes(args, TrackJob(clip, {}, truth=truth, update_key=dataset.update_key))
    if job.boxes or args.select:
        return job
    return replace(job, boxes={job.start: {1: _first_box(sequence, truth, job.start)}})


def _first_box(sequence: Video, truth: np.ndarray, start: int) -> Box:
    """The annotated box to start on, said.

    Raises:
        DataError: that frame has none.
    """
    box = sequence.init_box
    if start:
        if start >= len(truth) or not np.isfinite(truth[start]).all() or min(truth[start][2:]) <= 0:
            raise DataError(f"{sequence.annotation} has no box in frame {start}; give one by --box")
        x, y, w, h = truth[start].tolist()
        box = x, y, w, h
    text = ",".join(f"{value:g}" for value in box)
    say(f"the box is the true one of frame {start}: {text} ({sequence.annotation})")
    return box


def _with_boxes(args: argparse.Namespace, job: TrackJob) -> TrackJob:
    """The job with the boxes of the command line and the frames that are wanted.

    Raises:
        DataError: nothing says where to start backward, or the last frame lies before the first.
    """
    from_file = read_boxes(user_path(args.boxes_file, "--boxes")) if args.boxes_file else {}
    start = args.start
    if start is None:
        start = first_frame(args.boxes, from_file, args.backward)
    check_end(args.end, start, args.backward)
    sign = -1 if args.backward else 1
    # A file may hold more than is wanted; a box that was typed is meant.
    boxes = {n: dict(some) for n, some in from_file.items() if sign * n >= sign * start}
    for frame, some in place_boxes(args.boxes, start).items():
        boxes.setdefault(frame, {}).update(some)
    ends = [] if args.end is None else [sign * args.end]
    if args.max_frames:
        ends.append(sign * start + args.max_frames - 1)
    end = None if not ends else max(0, sign * min(ends))
    return replace(job, boxes=dict(sorted(boxes.items())), start=start, end=end)


def _stem(job: TrackJob) -> str:
    """What the outputs are called after the clip."""
    if job.origin:
        return job.origin.stem
    # Addresses and patterns of files are no names of files.
    return re.sub(r"[^\w .()-]+", "_", job.clip.name).strip("_. ") or "clip"


@contextlib.contextmanager
def _window(wanted: bool) -> "Iterator[VideoWindow | None]":
    """A window, closed at the end, or None."""
    from lib.video import window

    opened = window.open_window() if wanted else None
    try:
        yield opened
    finally:
        if opened is not None:
            opened.close()
