"""Whether a tracker knows when it has lost its target, and finds it again.

    python benchmarks/lost.py                                   # seqtrack_tiny, synthetic_absence
    python benchmarks/lost.py --config my_config --dataset my_videos/ --checkpoint my.pth

Every sequence is tracked twice, with TEST.LOST.ACTIVE off and on; `--occlusions N` are generated
sequences more, in which something hides all of the target, twice in most, and `--absences N` are
more like those of synthetic_absence. Printed are:

- the area under the precision-recall curve of "lost" (1 - certainty) with the base rate beside it,
  where the truth is that the target is away, or that the box is not on it (IoU below 0.5);
- false alarms, as a share of all frames of the sequences whose target is never away. A frame that
  is called lost is a false alarm if the box is on the target (IoU of 0.5 or more), or if it was in
  the frame before the state became lost: then all frames until the state changes are, as the box
  stands still meanwhile. Where the box had left the target before, "lost" is right. Beside it, all
  frames called lost;
- the mean AUC (OTB's) and by how much tracking with the state changes it, with a 95 % bootstrap
  interval over the sequences;
- how often the target is tracked again after it was away: 10 to 25 frames after it came back the
  median IoU is 0.5 or more; of all, of those where it came back elsewhere, its centre farther from
  where it went than half its size, and of those where that is outside of the search region about
  that place, farther than twice its size.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.analysis.frames import join
from lib.analysis.metrics import score_sequence
from lib.analysis.reliability import average_precision, calibration_error
from lib.analysis.statistics import paired_bootstrap
from lib.commands.entry import run, say
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Video
from lib.synthetic.video.absences import absence_spec
from lib.synthetic.video.dataset import synthetic_sequence
from lib.synthetic.video.spec import draw_spec
from lib.tracker.base import BaseTracker
from lib.tracker.registry import make_spec, with_checkpoint
from lib.utils.boxes import iou_xywh
from lib.utils.errors import EXIT_OK

# An absence counts from so many frames on; after it, these frames say whether it was found.
LEAST_AWAY = 3
AFTER = slice(10, 25)
GOOD = 0.5
# Sides of the box: half of one, and half of the side of a search region.
ELSEWHERE, OUTSIDE = 0.5, 2.0


@dataclass(frozen=True, eq=False)
class Followed:
    """One sequence of N frames, the first one left out.

    Attributes:
        name: of the sequence.
        present: `(N,)` whether the target is there.
        overlap: `(N,)` IoU with the truth.
        certainty: `(N,)`.
        lost: `(N,)` whether the state says so.
        truth: `(N, 4)` xywh.
        auc: of the whole sequence, in percent.
    """

    name: str
    present: np.ndarray
    overlap: np.ndarray
    certainty: np.ndarray
    lost: np.ndarray
    truth: np.ndarray
    auc: float

    @property
    def good(self) -> np.ndarray:
        """`(N,)` whether the target is there and the box on it."""
        return self.present & (self.overlap >= GOOD)

    @property
    def false_alarms(self) -> np.ndarray:
        """`(N,)` whether the frame is called lost without reason."""
        found = self.lost & self.good
        for start, end in _runs(self.lost):
            if start == 0 or self.good[start - 1]:
                found[start:end] = True
        return found

    def returns(self) -> list[tuple[bool, float]]:
        """For every absence with enough frames after it: is it tracked again, and how far did it
        move meanwhile, in sides of its box."""
        found = []
        for start, end in _runs(~self.present):
            rows = slice(end + AFTER.start, end + AFTER.stop)
            if start > 0 and end - start >= LEAST_AWAY and len(self.present) >= rows.stop:
                before, after = self.truth[start - 1], self.truth[end]
                moved = np.hypot(*(after[:2] + after[2:] / 2 - before[:2] - before[2:] / 2))
                again = np.median(self.overlap[rows]) >= GOOD
                found.append((bool(again), float(moved / np.sqrt(before[2] * before[3]))))
        return found


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First index and end of every stretch of true `flags`."""
    edges = np.diff(np.concatenate([[0], flags.astype(int), [0]]))
    pairs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    return [(int(start), int(end)) for start, end in pairs]


def occlusion(number: int) -> Video:
    """A generated sequence in which something hides all of the target for 6 to 18 frames, twice."""
    drawn = draw_spec(np.random.default_rng([number, 78]), 150)
    spec = replace(
        drawn, absence=2.0, full_occlusions=2, partial_occlusions=0, exits=0, distractors=1
    )
    return synthetic_sequence(number, split="test", spec=spec, name=f"occlusion-{number}")


def absence(number: int) -> Video:
    """As the sequences of synthetic_absence, of a seed that no suite has."""
    return synthetic_sequence(
        number, split="test", spec=absence_spec(number), name=f"absence-{number}"
    )


def follow(tracker: BaseTracker, video: Video, frames: Sequence[np.ndarray]) -> Followed:
    """Track one sequence."""
    tracker.initialize(frames[0], {"init_bbox": list(video.init_box)})
    answers = [tracker.track(frame) for frame in frames[1:]]
    boxes = np.array([one["target_bbox"] for one in answers])
    all_boxes = np.concatenate([[video.init_box], boxes])
    count = len(answers)
    visible = np.ones(len(frames), bool) if video.visible is None else np.asarray(video.visible)
    return Followed(
        video.name,
        visible[1 : count + 1].astype(bool),
        iou_xywh(boxes, video.ground_truth[1 : count + 1]),
        np.array([one["certainty"] for one in answers]),
        np.array([one.get("state") == "lost" for one in answers]),
        video.ground_truth[1 : count + 1],
        score_sequence(join(video, all_boxes, with_size=False), "otb").percentages()["AUC"],
    )


def table(label: str, rows: Sequence[Followed]) -> list[str]:
    """What is said of all sequences under one setting."""
    present, good, certainty, lost = (
        np.concatenate([getattr(one, name) for one in rows])
        for name in ("present", "good", "certainty", "lost")
    )
    always = [one for one in rows if one.present.all()]
    returned = [one for row in rows for one in row.returns()]
    counts = [
        f"{sum(again for again, moved in returned if moved > least)} of "
        f"{sum(moved > least for _, moved in returned)}"
        for least in (-1.0, ELSEWHERE, OUTSIDE)
    ]
    away, off = average_precision(-certainty, ~present), average_precision(-certainty, ~good)
    lines = [
        f"{label}: {len(rows)} sequences, {len(good)} frames",
        f"  lost = target away:            AUPRC {away:.3f}, base rate {(~present).mean():.3f}",
        f"  lost = away or box off it:     AUPRC {off:.3f}, base rate {(~good).mean():.3f}",
        f"  frames with a good box {100 * good[present].mean():.1f} % of those with the target; "
        f"certainty off by {100 * calibration_error(certainty, good):.1f} points",
        f"  tracked again after an absence {counts[0]}; where it came back elsewhere {counts[1]}; "
        f"outside of the search region {counts[2]}",
    ]
    if lost.any():
        hits, called = (lost & ~present).sum(), lost.sum()
        lines.append(
            f"  state lost: {100 * hits / max(1, (~present).sum()):.1f} % of the frames without "
            f"target, right (away or off) in {100 * (~good)[lost].mean():.1f} % of {called}"
        )
        lines += [_alarms("all sequences", rows), _alarms("sequences without absence", always)]
    return lines


def _alarms(where: str, rows: Sequence[Followed]) -> str:
    alarms = np.concatenate([np.zeros(0), *(one.false_alarms for one in rows)])
    called = sum(one.lost.sum() for one in rows)
    frames = max(1, len(alarms))
    return (
        f"  false alarms, {where}: {100 * alarms.sum() / frames:.2f} % of {len(alarms)} frames "
        f"({len(rows)} sequences); called lost at all {100 * called / frames:.2f} %"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Track and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", default="seqtrack_tiny")
    add("--dataset", default="synthetic_absence")
    add("--checkpoint")
    add("--max-sequences", type=int, metavar="N", help="take the first N of the data set only")
    add("--occlusions", type=int, default=0, metavar="N", help="generated sequences more")
    add("--absences", type=int, default=0, metavar="N", help="generated sequences more")
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
    videos = (dataset.load(name) for name in dataset.sequence_names[: args.max_sequences])
    more = map(occlusion, range(301, 301 + args.occlusions))
    for video in itertools.chain(videos, more, map(absence, range(401, 401 + args.absences))):
        frames = [video.frames.read(i) for i in range(len(video))]
        for label, tracker in trackers.items():
            rows[label].append(follow(tracker, video, frames))
        off, on = rows["LOST off"][-1], rows["LOST on"][-1]
        back = [(a, b) for (a, _), (b, _) in zip(off.returns(), on.returns(), strict=True)]
        said = f"{100 * on.lost.mean():.0f} % lost, {on.false_alarms.sum()} false alarms"
        print(f"{video.name}: back without and with {back}, {said}", file=sys.stderr, flush=True)
    for label, found in rows.items():
        say("\n".join(table(label, found)))
    plain, told = (np.array([one.auc for one in found]) for found in rows.values())
    test = paired_bootstrap(told, plain)
    interval = f"[{test.interval.low:+.1f}, {test.interval.high:+.1f}]"
    say(f"AUC {plain.mean():.1f} and {told.mean():.1f}: {test.difference:+.1f} {interval}")


if __name__ == "__main__":
    sys.exit(run("benchmarks.lost"))
