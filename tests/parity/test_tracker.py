"""Whole tracks equal the reference's: tokens, scores, boxes, template updates, saved rows."""

import os
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.results.files import read_results, write_results
from lib.tracker.engine.build import build_engine
from lib.tracker.seqtrack import SeqTrackTracker

from .conftest import config_named, filled_network, kit_cases, recipe

REPOSITORY = Path(__file__).parents[2]
SEQUENCES = Path(os.environ.get("SEQTRACK_SEQUENCES") or REPOSITORY.parent / "shared/sequences")


def case_config(want):
    """The case's configuration, number of templates and feature type."""
    count, feature_type = want["num_template"], want.get("feature_type", "x")
    cfg = config_named(
        want["config"],
        feature_type,
        count,
        want["seq_format"],
        WINDOW=want["window"],
        UPDATE_INTERVALS={"DEFAULT": want["update_interval"]},
        UPDATE_THRESHOLD={"DEFAULT": want["update_threshold"]},
    )
    return cfg, count, feature_type


def make_tracker(want, engine="torch"):
    """A tracker with the case's network, sequence format and update rule."""
    cfg, count, feature_type = case_config(want)
    network = filled_network(want["config"], want["seed"], feature_type, count)
    return SeqTrackTracker(build_engine(engine, network, cfg), cfg)


def check_track(want, frames, tmp_path, tracker=None):
    tracker = tracker or make_tracker(want)
    tracker.initialize(frames[0], {"init_bbox": want["init_box"]})
    boxes = [want["init_box"]]
    for recorded in want["track"]:
        out = tracker.track(frames[recorded["frame"]])
        assert out["best_tokens"] == recorded["tokens"]
        assert out["template_updated"] == recorded["updated"]
        np.testing.assert_allclose(out["token_confidence"], recorded["confidence"], rtol=1e-3)
        assert out["confidence"] == pytest.approx(recorded["score"], rel=1e-3)
        np.testing.assert_allclose(out["target_bbox"], recorded["box"], atol=1e-3)
        boxes.append(out["target_bbox"])
    write_results(tmp_path / "rows.txt", np.array(boxes))
    np.testing.assert_array_equal(read_results(tmp_path / "rows.txt"), want["saved_rows"])


@pytest.mark.parametrize("case", kit_cases("tracker_*.json"))
@pytest.mark.parametrize("engine", ["torch", "reference"])
def test_track(case, engine, tmp_path):
    _, want = case
    frames, box = recipe.sequence(want["seed"], want["frames"])
    want.setdefault("init_box", box)
    check_track(want, frames, tmp_path, make_tracker(want, engine))


@pytest.mark.parametrize("case", kit_cases("real_sequences_*.json"))
def test_real_sequence(case, tmp_path):
    _, want = case
    if not (SEQUENCES / want["sequence"]).is_dir():
        pytest.skip(f"no real video: {SEQUENCES / want['sequence']} (set SEQTRACK_SEQUENCES)")
    sequence = open_dataset(str(SEQUENCES), resolve_paths()).load(want["sequence"])
    frames = [sequence.frames.read(i) for i in range(want["frames"])]
    if "image_mean" in want:
        means = [frame.mean() for frame in frames[: len(want["image_mean"])]]
        np.testing.assert_allclose(
            means, want["image_mean"], atol=0.02, err_msg="another JPEG decoder?"
        )
    check_track(want, frames, tmp_path)
