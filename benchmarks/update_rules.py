"""What the template update is worth: none, the published interval, and the gated rule.

    python benchmarks/update_rules.py --dataset synthetic_hard my_videos/
    python benchmarks/update_rules.py --interval 10 --interval 25

The same weights track every sequence by each rule, with TEST.NUM_TEMPLATES 2 where templates are
written. AUC is OTB's; differences are paired over sequences, with 95 % bootstrap intervals.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.analysis.frames import join
from lib.analysis.metrics import score_sequence
from lib.analysis.statistics import paired_bootstrap
from lib.commands.entry import run, say
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Video
from lib.tracker.base import BaseTracker
from lib.tracker.registry import make_spec, with_checkpoint
from lib.utils.errors import EXIT_OK


def rules(intervals: Sequence[int]) -> dict[str, list[str]]:
    """Name of a rule to its settings."""
    found = {"no update": ["TEST.NUM_TEMPLATES=1"]}
    for interval in intervals:
        both = ["TEST.NUM_TEMPLATES=2", f"TEST.UPDATE_INTERVALS.DEFAULT={interval}"]
        found[f"interval {interval}"] = both
        found[f"gated {interval}"] = [*both, "TEST.UPDATE_RULE=gated"]
    return found


def track(tracker: BaseTracker, video: Video) -> tuple[float, int]:
    """AUC of one sequence in percent, and how many templates were written."""
    boxes, written = [list(video.init_box)], 0
    tracker.initialize(video.frames.read(0), {"init_bbox": list(video.init_box)})
    for index in range(1, len(video)):
        answer = tracker.track(video.frames.read(index))
        boxes.append(answer["target_bbox"])
        written += answer["template_updated"]
    score = score_sequence(join(video, np.array(boxes), with_size=False), "otb")
    return score.percentages()["AUC"], written


def lines(
    title: str, scores: Mapping[str, Sequence[float]], writes: Mapping[str, Sequence[int]]
) -> list[str]:
    """A table: the mean AUC of every rule, and how it differs from no update."""
    base = np.array(scores["no update"])
    rows = [f"{title}: {len(base)} sequences"]
    for name, values in scores.items():
        text = f"  {name:<14} AUC {np.mean(values):5.1f}  templates {np.mean(writes[name]):5.1f}"
        for other in ("no update", name.replace("gated", "interval")):
            if other != name:
                test = paired_bootstrap(np.array(values), np.array(scores[other]))
                low, high = test.interval.low, test.interval.high
                text += f"  less {other} {test.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
        rows.append(text)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Track and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--config", default="seqtrack_tiny")
    add("--checkpoint")
    add("--dataset", nargs="+", default=["synthetic_hard"], metavar="NAME")
    add("--max-sequences", type=int, metavar="N", help="take the first N of each only")
    add("--interval", action="append", type=int, default=[], metavar="N")
    _run(parser.parse_args(argv))
    return EXIT_OK


def _run(args: argparse.Namespace) -> None:
    from lib.tracker.build import build_tracker

    paths = resolve_paths()
    trackers = {}
    for name, overrides in rules(args.interval or [10]).items():
        spec = make_spec("seqtrack", args.config, overrides)
        trackers[name] = build_tracker(with_checkpoint(spec, args.checkpoint, paths, "DEFAULT"))
    total: dict[str, list[float]] = {name: [] for name in trackers}
    total_writes: dict[str, list[int]] = {name: [] for name in trackers}
    for typed in args.dataset:
        dataset = open_dataset(typed, paths)
        scores: dict[str, list[float]] = {name: [] for name in trackers}
        writes: dict[str, list[int]] = {name: [] for name in trackers}
        for sequence in dataset.sequence_names[: args.max_sequences]:
            video = dataset.load(sequence)
            for name, tracker in trackers.items():
                auc, written = track(tracker, video)
                scores[name].append(auc)
                writes[name].append(written)
            said = ", ".join(f"{name} {scores[name][-1]:.1f}" for name in trackers)
            print(f"{sequence}: {said}", file=sys.stderr, flush=True)
        say("\n".join(lines(dataset.name, scores, writes)))
        for name in trackers:
            total[name] += scores[name]
            total_writes[name] += writes[name]
    if len(args.dataset) > 1:
        say("\n".join(lines("together", total, total_writes)))


if __name__ == "__main__":
    sys.exit(run("benchmarks.update_rules"))
