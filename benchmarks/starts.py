"""AUC of clips from three starts: the first frame, the middle, and backward from the last frame.

    python benchmarks/starts.py path/to/clips
    python benchmarks/starts.py path/to/clips --config seqtrack_tiny --set TEST.HOLD_BELOW=0.45

In a closed loop a small difference early on can decide a whole clip, so a clip tracked from several
starts says more of a network than one run. A start without a box moves to the next frame that has
one. AUC is OTB's.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.update_rules import track
from lib.commands.entry import run, say
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import FrameSource, Video
from lib.datasets.training.listing import has_area
from lib.tracker.registry import make_spec, with_checkpoint
from lib.utils.errors import EXIT_OK


@dataclass(frozen=True)
class Reordered:
    """Frames of others, in the order of their indices."""

    frames: FrameSource
    order: Sequence[int]

    def __len__(self) -> int:
        return len(self.order)

    def read(self, index: int) -> np.ndarray:
        return self.frames.read(self.order[index])

    def describe(self, index: int) -> str:
        return self.frames.describe(self.order[index])


def starts(video: Video) -> list[Video]:
    """A video with a box in each frame, from its first frame, its middle, and backward."""
    count = len(video)
    orders = range(count), range(count // 2, count), range(count - 1, -1, -1)
    return [_in_order(video, order) for order in orders]


def _in_order(video: Video, order: Sequence[int]) -> Video:
    shown = has_area(video.ground_truth[list(order)])
    order = order[int(shown.argmax()) :]
    rows = list(order)
    return replace(
        video,
        frames=Reordered(video.frames, order),
        ground_truth=video.ground_truth[rows],
        visible=None if video.visible is None else video.visible[rows],
        cover=None if video.cover is None else video.cover[rows],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Track and print."""
    from lib.tracker.build import build_tracker

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("dataset", help="name of a data set, or a folder of clips with a box in each frame")
    add("--config", default="seqtrack_nano")
    add("--checkpoint")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    args = parser.parse_args(argv)
    paths = resolve_paths()
    spec = make_spec("seqtrack", args.config, args.overrides)
    tracker = build_tracker(with_checkpoint(spec, args.checkpoint, paths, "DEFAULT"))
    dataset = open_dataset(args.dataset, paths)
    rows = []
    for name in dataset.sequence_names:
        rows.append([track(tracker, one)[0] for one in starts(dataset.load(name))])
        say(f"{name:<24} " + " ".join(f"{auc:5.1f}" for auc in rows[-1]))
    first, every = np.mean([row[0] for row in rows]), np.mean(rows)
    say(f"{len(rows)} clips: AUC from the first frame {first:.1f}, from three starts {every:.1f}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run("benchmarks.starts"))
