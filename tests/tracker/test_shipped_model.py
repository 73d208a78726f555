"""The weights that come with the repository: small, plain, and good for something."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.config.paths import repository_root
from lib.synthetic.video.dataset import load_synthetic
from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.boxes import iou_xywh

FILES = sorted((repository_root() / "checkpoints").rglob("SEQTRACK.pth.tar"))
shipped = pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)


def test_together_they_are_small() -> None:
    assert sum(file.stat().st_size for file in FILES) < 16 * 2**20


@shipped
def test_it_holds_weights_only(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    assert content.keys() == {"net", "net_type", "epoch"}
    assert all(value.isfinite().all() for value in content["net"].values())


@shipped
def test_it_tracks_what_it_never_saw(file: Path) -> None:
    """Held-out sequences; a box that stays put has a mean IoU of 0.09 and 0.05 there."""
    cfg = load_config(file.parent.name)
    tracker = build_tracker(TrackerSpec("seqtrack", cfg.name, cfg, file))
    for name in ("synthetic-002", "synthetic-005"):
        sequence = load_synthetic(name)
        tracker.initialize(sequence.frames.read(0), {"init_bbox": sequence.init_box})
        found = [tracker.track(sequence.frames.read(i))["target_bbox"] for i in range(1, 40)]
        assert iou_xywh(np.array(found), sequence.ground_truth[1:40]).mean() > 0.6
