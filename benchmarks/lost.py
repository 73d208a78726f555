"""Whether a tracker knows when it has lost its target, and finds it again.

    python benchmarks/lost.py                                   # seqtrack_tiny, synthetic_absence
    python benchmarks/lost.py --config my_config --dataset my_videos/ --checkpoint my.pth

Every sequence is tracked twice, with TEST.LOST.ACTIVE off and on. Printed are: the area under the
precision-recall curve of "lost" (1 - certainty) with the base rate beside it, where the truth is
that the target is away, or that the box is not on it; the share of frames called lost in sequences
whose target is never away; and how often the target is tracked again after it was away.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.analysis.reliability import average_precision, calibration_error
from lib.commands.entry import run, say
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Video
from lib.tracker.base import BaseTracker
from lib.tracker.registry import make_spec, with_checkpoint
from lib.utils.boxes import iou_xywh
from lib.utils.errors import EXIT_OK

# An absence counts from so many frames on; after it, these frames say whether it was found.
LEAST_AWAY = 3
AFTER = slice(10, 30)
GOOD = 0.5


@dataclass(frozen=True, eq=False)
class Followed:
    """One sequence of N frames, the first one left out.

    Attributes:
        name: of the sequence.
        present: `(N,)` whether the target is there.
        overlap: `(N,)` IoU with the truth.
        certainty: `(N,)`.
        lost: `(N,)` whether the state says so.
    """

    name: str
    present: np.ndarray
    overlap: np.ndarray
    certainty: np.ndarray
    lost: np.ndarray

    @property
    def good(self) -> np.ndarray:
        """`(N,)` whether the target is there and the box on it."""
        return self.present & (self.overlap >= GOOD)

    def returns(self) -> list[bool]:
        """For every absence with enough frames after it: whether the target is tracked then."""
        edges = np.diff(np.concatenate([[0], (~self.present).astype(int), [0]]))
        found = []
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            rows = slice(end + AFTER.start, end + AFTER.stop)
            if end - start >= LEAST_AWAY and len(self.present) >= rows.stop:
                found.append(bool(np.median(self.overlap[rows]) >= GOOD))
        return found


def follow(tracker: BaseTracker, video: Video, frames: Sequence[np.ndarray]) -> Followed:
    """Track one sequence."""
    tracker.initialize(frames[0], {"init_bbox": list(video.init_box)})
    answers = [tracker.track(frame) for frame in frames[1:]]
    boxes = np.array([one["target_bbox"] for one in answers])
    count = len(answers)
    visible = np.ones(len(frames), bool) if video.visible is None else np.asarray(video.visible)
    return Followed(
        video.name,
        visible[1 : count + 1].astype(bool),
        iou_xywh(boxes, video.ground_truth[1 : count + 1]),
        np.array([one["certainty"] for one in answers]),
        np.array([one.get("state") == "lost" for one in answers]),
    )


def table(label: str, rows: Sequence[Followed]) -> list[str]:
    """What is said of all sequences under one setting."""
    present, good, certainty, lost = (
        np.concatenate([getattr(one, name) for one in rows])
        for name in ("present", "good", "certainty", "lost")
    )
    always = [one for one in rows if one.present.all()]
    alarms = np.concatenate([one.lost for one in always]) if always else np.zeros(0)
    returned = [flag for one in rows for flag in one.returns()]
    away, off = average_precision(-certainty, ~present), average_precision(-certainty, ~good)
    lines = [
        f"{label}: {len(rows)} sequences, {len(good)} frames",
        f"  lost = target away:            AUPRC {away:.3f}, base rate {(~present).mean():.3f}",
        f"  lost = away or box off it:     AUPRC {off:.3f}, base rate {(~good).mean():.3f}",
        f"  frames with a good box {100 * good[present].mean():.1f} % of those with the target; "
        f"certainty off by {100 * calibration_error(certainty, good):.1f} points",
        f"  tracked again after an absence {sum(returned)} of {len(returned)}",
    ]
    if lost.any():
        hits, called = (lost & ~present).sum(), lost.sum()
        lines.append(
            f"  state lost: {100 * hits / max(1, (~present).sum()):.1f} % of the frames without "
            f"target, right (away or off) in {100 * (~good)[lost].mean():.1f} % of {called}"
        )
        lines.append(
            f"  false alarms, sequences without absence: {100 * alarms.mean():.2f} % of "
            f"{len(alarms)} frames in {len(always)} sequences"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Track and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", default="seqtrack_tiny")
    add("--dataset", default="synthetic_absence")
    add("--checkpoint")
    add("--max-sequences", type=int, metavar="N", help="take the first N only")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    _run(parser.parse_args(argv))
    return EXIT_OK


def _run(args: argparse.Namespace) -> None:
    from lib.tracker.build import build_tracker

    paths = resolve_paths()
    dataset = open_dataset(args.dataset, paths)
    trackers = {}
    for label, active in (("LOST off", "false"), ("LOST on", "true")):
        spec = make_spec("seqtrack", args.config, [*args.overrides, f"TEST.LOST.ACTIVE={active}"])
        trackers[label] = build_tracker(with_checkpoint(spec, args.checkpoint, paths, "DEFAULT"))
    rows: dict[str, list[Followed]] = {label: [] for label in trackers}
    for name in dataset.sequence_names[: args.max_sequences]:
        video = dataset.load(name)
        frames = [video.frames.read(i) for i in range(len(video))]
        for label, tracker in trackers.items():
            rows[label].append(follow(tracker, video, frames))
        one = rows["LOST on"][-1]
        print(f"{name}: {one.returns()} {100 * one.lost.mean():.0f} % lost", file=sys.stderr)
    for label, found in rows.items():
        say("\n".join(table(label, found)))


if __name__ == "__main__":
    sys.exit(run("benchmarks.lost"))
