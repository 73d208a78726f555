"""The exported network on the kit's small cases: tokens, scores and boxes are the reference's."""

import pytest

from lib.models.engine import build_engine
from lib.test.tracker.seqtrack import SeqTrackTracker

from .conftest import filled_network, kit_cases, recipe
from .test_tracker import case_config, check_track

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("case", kit_cases("tracker_small.json"))
def test_track(case, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path / "onnx"))
    _, want = case
    frames, box = recipe.sequence(want["seed"], want["frames"])
    want.setdefault("init_box", box)
    cfg, count, feature_type = case_config(want)
    network = filled_network(want["config"], want["seed"], feature_type, count)
    tracker = SeqTrackTracker(build_engine("onnx", network, cfg), cfg)
    check_track(want, frames, tmp_path, tracker)
