"""The exported network on the kit's small cases: tokens, scores and boxes are the reference's."""

from pathlib import Path

import pytest

from lib.config.loader import load_config
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.tracker.agreement import SideBySide
from lib.tracker.build import load_network
from lib.tracker.engine.build import build_engine
from lib.tracker.seqtrack import SeqTrackTracker

from .conftest import filled_network, kit_cases, recipe
from .test_tracker import SEQUENCES, case_config, check_track

pytest.importorskip("onnxruntime")
TINY = Path(__file__).parents[2] / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"


@pytest.mark.slow
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


@pytest.mark.slow
def test_real_video(tmp_path, monkeypatch):
    """The tiny model on real clips: the published method leads, and the tokens are equal."""
    if not SEQUENCES.is_dir():
        pytest.skip(f"no real video: {SEQUENCES} (set SEQTRACK_SEQUENCES)")
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path / "onnx"))
    cfg = load_config("seqtrack_tiny", ["TEST.UPDATE_INTERVALS={DEFAULT: 10}"])
    network = load_network(cfg, TINY)
    lead, exported = (build_engine(name, network, cfg) for name in ("reference", "onnx"))
    both = SideBySide(lead, exported, cfg.test.search_size)
    dataset = open_dataset(str(SEQUENCES), resolve_paths())
    for name in dataset.sequence_names:
        sequence, tracker = dataset.load(name), SeqTrackTracker(both, cfg)
        tracker.initialize(sequence.frames.read(0), {"init_bbox": sequence.init_box})
        for number in range(1, min(len(sequence), 25)):
            tracker.track(sequence.frames.read(number))
    facts = both.facts()
    assert facts["frames"] >= 20 * len(dataset)
    assert facts["equal"], both.agreement.wrong
    assert facts["box_px_99"] < 0.01
