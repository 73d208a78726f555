"""What `track` writes and shows of each frame: the video, the table, annotations, a window."""

import argparse
import contextlib
import csv
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from tqdm import tqdm

from lib.annotations.rows import COLUMNS, STATE_COLUMN, ClipFacts, csv_cells
from lib.annotations.spool import RowSpool
from lib.annotations.write import write_annotations
from lib.api import target_rows
from lib.commands.entry import say
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ResultsError, counted
from lib.utils.files import check_replaceable, check_writable, user_path
from lib.video.clip import Clip, Result
from lib.video.open import FrameClip
from lib.video.window import VideoWindow
from lib.video.write import Painter, PictureSink, check_suffix, kept_path, open_sink

# The format of annotations that a suffix stands for, and the suffix that a format gets.
SUFFIX_OF = {"csv": ".csv", "json": ".json", "mot": ".txt", "coco": ".json", "cvat": ".xml"}
FORMAT_OF = {".csv": "csv", ".json": "json", ".txt": "mot", ".xml": "cvat", "": "yolo"}


@dataclass(frozen=True)
class TrackOutputs:
    """The files to write; `annotations` with the name of its format, None for none."""

    video: Path
    table: Path
    annotations: Path | None = None
    format: str = ""


def choose_outputs(args: argparse.Namespace, stem: str, origin: Path | None) -> TrackOutputs:
    """Names for the files to write, where they can be written.

    Args:
        args: of the command line.
        stem: of the default name.
        origin: the file of the clip, which must not be overwritten; None for other sources.

    Raises:
        ResultsError: a file is there already, or is the clip itself.
        SeqTrackError: no such video format, or the folder cannot be written.
    """
    video = user_path(args.out, "--out") if args.out else Path(f"{stem}.mp4")
    check_suffix(video)
    table = user_path(args.csv, "--csv") if args.csv else video.with_suffix(".csv")
    notes, form = _annotations(args, video)
    paths = [path for path in (video, table, notes) if path not in (None, Path(os.devnull))]
    if len({os.path.abspath(path) for path in paths}) < len(paths):
        raise ResultsError(f"{paths[-1]}: two of --out, --csv and --annotations are the same file")
    for path in paths:
        _check_output(path, origin, args.overwrite)
    return TrackOutputs(video, table, notes, form)


def _annotations(args: argparse.Namespace, video: Path) -> tuple[Path | None, str]:
    """File and format of the annotations; each follows from the other where one is given."""
    if args.annotations is None and args.format is None:
        return None, ""
    if args.annotations is None:
        ending = "_coco.json" if args.format == "coco" else SUFFIX_OF.get(args.format, "_yolo")
        return video.with_name(video.stem + ending), args.format
    path = user_path(args.annotations, "--annotations")
    if args.format is None and path.suffix.lower() not in FORMAT_OF:
        raise ResultsError(f"{path}: which format is that? Add --format")
    return path, args.format or FORMAT_OF[path.suffix.lower()]


def _check_output(path: Path, origin: Path | None, overwrite: bool) -> None:
    if path.is_dir():
        raise ResultsError(f"{path} is a folder; name a file")
    check_replaceable(path)
    if not path.exists():
        check_writable(path.parent)
    elif origin is not None and path.samefile(origin):
        raise ResultsError(f"{path} is the clip itself; choose another name with --out")
    elif not overwrite:
        raise ResultsError(f"{path} is there already; choose another name, or add --overwrite")


@dataclass
class Tally:
    """How far it got, and what it took in seconds."""

    frames: int = 0
    skipped: int = 0
    read: float = 0.0
    track: float = 0.0
    write: float = 0.0
    kept: list[Path] = field(default_factory=list)

    def tell(self) -> None:
        """Say what was done, and where it is."""
        if self.frames == 0:
            return
        seconds = self.read + self.track + self.write
        each = 1000 / self.frames
        skipped = f"; {counted(self.skipped, 'frame')} skipped meanwhile" if self.skipped else ""
        say(
            f"{counted(self.frames, 'frame')} in {seconds:.1f} s, {self.frames / seconds:.1f} "
            f"frames/s (per frame {each * self.read:.1f} ms reading, {each * self.track:.1f} "
            f"tracking, {each * self.write:.1f} drawing and writing){skipped}"
        )
        for path in self.kept:
            say(f"written: {path}")


class Recorder:
    """Takes the results of a clip, one by one.

    Args:
        sink: of the drawn video.
        table: of the rows, an open CSV file.
        painter: draws the pictures.
        fps: constant rate of the video; None for each picture at its time.
        window: shows them; None for no window.
        spec: whose floor of a box's size is said.
        spool: gets the rows for the annotations; None where none are wanted.
    """

    def __init__(
        self,
        sink: PictureSink,
        table: TextIO,
        painter: Painter,
        fps: float | None,
        window: VideoWindow | None,
        spec: TrackerSpec,
        spool: RowSpool | None,
    ) -> None:
        self.sink, self.painter, self.fps, self.window = sink, painter, fps, window
        self.spool, self.table = spool, csv.writer(table, lineterminator="\n")
        self.floor = spec.config.test.min_size if spec.config else 0
        self.first: tuple[int, float] | None = None
        self.size = (0, 0)
        self._small: set[object] = set()
        self._headed = False

    def add(self, result: Result, truth: np.ndarray | None) -> bool:
        """Write a frame; False once the one who looks at the window has had enough."""
        picture = self.painter.draw(result, time.perf_counter(), truth)
        if self.first is None:
            self.first = result.frame, result.time
            self.size = picture.shape[1], picture.shape[0]
        if self.fps:
            number = abs(result.frame - self.first[0])
            self.sink.write(picture, number / self.fps, 1 / self.fps)
        else:
            self.sink.write(picture, abs(result.time - self.first[1]), result.duration)
        rows = target_rows(result)
        if rows and not self._headed:
            self._headed = True
            stated = any(row.state for row in rows)
            self.table.writerow([*COLUMNS, STATE_COLUMN] if stated else COLUMNS)
        self.table.writerows(map(csv_cells, rows))
        if self.spool is not None:
            self.spool.add(rows)
        self._watch_floor(result)
        return self.window is None or self.window.show(picture)

    def _watch_floor(self, result: Result) -> None:
        """Say once for each target that its box is as small as the tracker lets a box be."""
        for target, found in result.targets.items():
            small = not found.given and min(found.box[2:]) <= self.floor
            if small and target not in self._small:
                self._small.add(target)
                tqdm.write(
                    f"target {target}: from frame {result.frame} on a side of its box is at "
                    f"the floor of {self.floor} pixels, the published rule; a smaller target needs "
                    "--set TEST.MIN_SIZE=1"
                )


@contextlib.contextmanager
def open_recorder(
    outputs: TrackOutputs,
    clip: Clip,
    tally: Tally,
    painter: Painter,
    fps: float | None,
    window: VideoWindow | None,
    spec: TrackerSpec,
) -> Iterator[Recorder]:
    """A recorder whose files are whole, whatever ends the block."""
    with (
        kept_path(outputs.table, tally.kept) as part,
        open(part, "w", newline="", encoding="utf-8") as table,
        open_sink(outputs.video, fps or clip.fps, tally.kept) as sink,
        RowSpool() as spool,
    ):
        wanted = None if outputs.annotations is None else spool
        recorder = Recorder(sink, table, painter, fps, window, spec, wanted)
        try:
            yield recorder
        finally:
            if outputs.annotations is not None and spool.last_frame is not None:
                size, rate = recorder.size, fps or clip.fps
                facts = ClipFacts(clip.name, *size, rate, clip.length, _pictures(clip))
                write_annotations(outputs.annotations, spool, outputs.format, facts)
                tally.kept.append(outputs.annotations)


def _pictures(clip: Clip) -> list[str]:
    """File names of a clip's pictures, where it is a folder of them."""
    if not isinstance(clip, FrameClip):
        return []
    return [Path(clip.source.describe(index)).name for index in range(clip.length)]
