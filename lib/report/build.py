"""Reads what the page needs of every data set and puts it together within a size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib import __version__
from lib.analysis.compare import Comparison, TrackerResults, load_scorable
from lib.analysis.conventions import convention_named
from lib.analysis.findings import Findings
from lib.datasets.sequence import Dataset, Video
from lib.report.page import build_page
from lib.report.pictures import Sample, embedded_sample, linked_frames
from lib.report.segments import Segment, lowest_segment, picture_order, widest_segment
from lib.report.series import (
    BOX_STEPS,
    CONFIDENCE_STEPS,
    MISSING,
    OVERLAP_STEPS,
    Track,
    pack,
    read_track,
)
from lib.report.summary import dataset_tree
from lib.results.files import RUN_FILE, read_run_record
from lib.results.find import ResultFiles
from lib.utils.errors import ResultsError

# What a page of up to so many sequences takes by default; with more it grows, up to a limit.
DEFAULT_MEGABYTES, DEFAULT_SEQUENCES, MOST_MEGABYTES = 14.0, 30, 60.0
# Between two words about how far the pictures are.
_TELL_EVERY = 20
# Characters kept free, for what is only known when the page is written.
_SLACK = 20_000
_STEPS = {
    "box": BOX_STEPS,
    "overlap": OVERLAP_STEPS,
    "confidence": CONFIDENCE_STEPS,
    "missing": MISSING,
}


@dataclass(frozen=True, eq=False)
class Part:
    """One data set of the report."""

    dataset: Dataset  # its sequences
    trackers: Sequence[TrackerResults]  # the trackers, as they were compared
    findings: Findings  # their scores, and what these show

    @property
    def comparison(self) -> Comparison:
        return self.findings.comparison


@dataclass(frozen=True)
class Built:
    """The page, and what had to be left out of it."""

    page: str  # HTML
    figures: tuple[dict[str, Any], ...]  # of `dataset_tree`, for each data set
    pictures: int  # number of frames that can be seen
    frames: int  # number of frames of all sequences
    problems: tuple[str, ...]  # one line per file that could not be used


@dataclass(frozen=True, eq=False)
class _ReportClip:
    """A sequence of the page: its name there, the video, what is known of its frames."""

    block: str
    video: Video
    content: dict[str, Any]
    segments: tuple[Segment, ...]
    tops: tuple[float, ...]


def build_report(
    title: str,
    parts: Sequence[Part],
    page_folder: Path,
    megabytes: float | None = None,
    link_frames: bool = False,
    report_progress: Callable[[str], None] | None = None,
) -> Built:
    """Make the page.

    Args:
        page_folder: where the page will lie; linked frames are named relative to it.
        megabytes: what the page may have, `default_megabytes` by default; figures of frames go
            first, pictures get the rest.
        link_frames: link the image files instead of embedding a sample of them.
        report_progress: called with how far it is.

    Raises:
        ResultsError: result files are missing or malformed.
        DataError: so is the ground truth.
    """
    report_progress = report_progress or (lambda text: None)
    problems: list[str] = []
    clips: list[_ReportClip] = []
    trees = []
    for number, part in enumerate(parts):
        report_progress(f"{part.dataset.name}: reading the frames' figures")
        tree, found = _read_part(part, f"s{number}")
        trees.append(tree)
        clips += found
    report = {"title": title, "version": __version__, "datasets": trees, "steps": _STEPS}
    if megabytes is None:
        megabytes = default_megabytes(len(clips))
    used = len(build_page(title, report, [(one.block, one.content) for one in clips])) + _SLACK
    link_to = page_folder if link_frames else None
    samples = _samples(clips, int(megabytes * 1e6) - used, link_to, report_progress)
    blocks = []
    for clip in clips:
        sample = samples[clip.block]
        problems += sample.problems
        pictures = [[one.frame, one.source] for one in sample.pictures]
        blocks.append((clip.block, {**clip.content, "pictures": pictures}))
    shown = sum(len(sample.pictures) for sample in samples.values())
    frames = sum(len(clip.video) for clip in clips)
    page = build_page(title, report, blocks)
    return Built(page, tuple(trees), shown, frames, tuple(problems))


def default_megabytes(sequences: int) -> float:
    """The size of a page that nobody gave one.

    Example:
        >>> [default_megabytes(count) for count in (5, 30, 60, 280)]
        [14.0, 14.0, 28.0, 60.0]
    """
    return min(MOST_MEGABYTES, DEFAULT_MEGABYTES * max(1.0, sequences / DEFAULT_SEQUENCES))


def _read_part(part: Part, prefix: str) -> tuple[dict[str, Any], list[_ReportClip]]:
    """The figures of a data set, and those of the frames of its sequences."""
    tree = dataset_tree(part.findings)
    names = part.dataset.sequence_names
    files = [ResultFiles(one.folder, names) for one in part.trackers]
    clips = [_clip(part, files, f"{prefix}-{i}", row) for i, row in enumerate(tree["sequences"])]
    tree["confidenceTop"] = _confidence_tops(clips, len(part.trackers))
    tree["sources"] = [_source(one) for one in part.trackers]
    return tree, clips


def _clip(part: Part, files: Sequence[ResultFiles], block: str, row: dict[str, Any]) -> _ReportClip:
    """Read one sequence from the `files` of each tracker; its place and length go into `row`."""
    name = row["name"]
    convention = convention_named(part.comparison.convention)
    video = load_scorable(part.dataset, name)
    tracks = [read_track(video, one, part.comparison.kind, convention) for one in files]
    lowest = [lowest_segment(track.overlap) for track in tracks]
    widest = widest_segment([track.overlap for track in tracks])
    width, height = video.resolution
    row |= {"block": block, "frames": len(video), "width": width, "height": height}
    attributes = part.findings.attributes
    known = attributes.by_sequence if attributes else {}
    row["attributes"] = list(known.get(name, ()))
    content = {
        "series": pack(video.ground_truth, tracks),
        "confidence": [track.confidence is not None for track in tracks],
        "lowest": [_segment(one) for one in lowest],
        "widest": _segment(widest),
    }
    segments = tuple(one for one in (*lowest, widest) if one is not None)
    return _ReportClip(block, video, content, segments, tuple(map(_top, tracks)))


def _top(track: Track) -> float:
    """The highest confidence of a tracker after the first frame, which it is given."""
    known = np.array([]) if track.confidence is None else track.confidence[1:]
    known = known[np.isfinite(known)]
    return float(known.max()) if len(known) else 0.0


def _confidence_tops(clips: Sequence[_ReportClip], trackers: int) -> list[float]:
    """The upper end of each tracker's scale of confidence: 1, or the highest that it gave."""
    tops = [max((clip.tops[i] for clip in clips), default=0.0) for i in range(trackers)]
    return [round(max(1.0, top), 3) for top in tops]


def _segment(segment: Segment | None) -> list[float] | None:
    return None if segment is None else [segment.start, segment.end, round(segment.mean, 3)]


def _source(result: TrackerResults) -> dict[str, str]:
    """What is known of a run: its weights and the version of the project that made it."""
    try:
        record = read_run_record(result.folder / RUN_FILE)
    except ResultsError:
        return {}  # raw results of another program
    known = {"weights": str(record.get("checkpoint_sha256") or "")[:12]}
    known["version"] = str(record.get("version") or "")
    return {key: value for key, value in known.items() if value}


def _samples(
    clips: Sequence[_ReportClip],
    budget: int,
    link_to: Path | None,
    report_progress: Callable[[str], None],
) -> dict[str, Sample]:
    """Pictures of every sequence; what a short one leaves over goes to the longer ones.

    Args:
        budget: characters for all embedded pictures together.
        link_to: folder of the page, to link files where there are any; None to embed.
        report_progress: called with how far it is.
    """
    samples: dict[str, Sample] = {}
    if link_to is not None:
        for clip in clips:
            if linked := linked_frames(clip.video.frames, link_to):
                samples[clip.block] = linked
    waiting = sorted(
        (clip for clip in clips if clip.block not in samples), key=lambda clip: len(clip.video)
    )
    for number, clip in enumerate(waiting):
        if number % _TELL_EVERY == 0:
            report_progress(f"choosing pictures: sequence {number + 1} of {len(waiting)}")
        share = max(0, budget) // (len(waiting) - number)
        order = picture_order(len(clip.video), clip.segments)
        samples[clip.block] = embedded_sample(clip.video.frames, order, share)
        budget -= samples[clip.block].characters
    return samples
