"""lib/tracker/exported.py: an exported network tracks without PyTorch, as with it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lib.config.loader import load_config
from lib.config.paths import repository_root, resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.tracker.build import find_calibration, load_network
from lib.tracker.calibration import Calibration, Regression
from lib.tracker.engine.onnx import export
from lib.tracker.engine.runtime import OnnxEngine
from lib.tracker.evidence import FEATURES
from lib.tracker.exported import SeqTrackONNX, read_tracker, write_tracker
from lib.tracker.registry import watching
from lib.tracker.seqtrack import SeqTrackTracker
from lib.tracker.settings import TrackerSettings
from lib.tracker.spec import TrackerSpec
from lib.utils.crop import square_at
from lib.utils.errors import SeqTrackError
from tests.helpers.tiny import draw_sequence, tiny_config
from tests.parity.test_tracker import SEQUENCES
from tests.tracker.test_engines import ALL_EXTRAS, network_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
WEIGHTS = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"
# A process in which these cannot be imported; it prints what the tracker says of each frame.
ABSENT = ("torch", "timm", "torchvision", "pydantic", "yaml", "onnx", "av", "tqdm", "safetensors")
ALONE = f"""
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Absent())
import numpy as np
from seqtrack.onnx import SeqTrackONNX
folder, clip, state = sys.argv[1:]
frames, box = (np.load(clip)[name] for name in ("frames", "box"))
tracker = SeqTrackONNX(folder, threads=1, state=state == "state")
first = tracker.initialize(frames[0], box.tolist())
print(json.dumps([first, *(tracker.track(frame) for frame in frames[1:])]))
"""


def alone(folder, frames, box, tmp_path, state="state"):
    """What SeqTrackONNX says of every frame, in a process without PyTorch."""
    clip = tmp_path / "clip.npz"
    np.savez(clip, frames=np.stack(frames), box=np.array(box, float))
    words = [sys.executable, "-c", ALONE, os.fspath(folder), os.fspath(clip), state]
    done = subprocess.run(words, cwd=repository_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_torch(tracker, frames, box):
    first = tracker.initialize(frames[0], {"init_bbox": box})
    return [first, *(tracker.track(frame) for frame in frames[1:])]


def check_equal(here, there):
    """All answers of two runs: tokens, states and updates to the letter."""
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            exact = name not in ("target_bbox", "confidence", "certainty", "token_confidence")
            assert other[name] == (value if exact else pytest.approx(value, rel=1e-4, abs=1e-4))


def calibration(bias=0.0):
    """One that goes by the evidence."""
    count = len(FEATURES)
    rng = np.random.default_rng(0)
    weights = tuple(rng.normal(0, 0.2, count))
    part = Regression((0.0,) * count, (1.0,) * count, weights, bias)
    return Calibration(part, part, part)


def watched(cfg):
    return watching(TrackerSpec("seqtrack", cfg.name, cfg)).config


@pytest.fixture(scope="module")
def exported(onnx_folder):
    """A network with everything, exported: folder, network, configuration."""
    cfg = tiny_config(
        MODEL=ALL_EXTRAS,
        TEST={
            "NUM_TEMPLATES": 2,
            "UPDATE_INTERVALS": {"DEFAULT": 2},
            "UPDATE_THRESHOLD": {"DEFAULT": 0},
            "SIZE_PRIOR": 0.05,
            "MIN_SIZE": 4,
        },
    )
    network = network_of(cfg)
    return export(network, cfg, folder=onnx_folder), network, cfg


@pytest.mark.parametrize("bias", [3.0, -3.0], ids=["sure", "lost"])
def test_a_process_without_torch_says_the_same(exported, tmp_path, bias):
    folder, network, cfg = exported
    write_tracker(folder, watched(cfg), calibration(bias))
    frames, boxes = draw_sequence(12)
    box = boxes[0].tolist()
    here = in_torch(
        SeqTrackTracker(network, watched(cfg), calibration=calibration(bias)), frames, box
    )
    assert any(one.get("template_updated") for one in here)
    assert {one["state"] for one in here} >= {"tracked" if bias > 0 else "lost"}
    check_equal(here, alone(folder, frames, box, tmp_path))


def test_the_state_can_be_left_out(exported):
    folder, network, cfg = exported
    write_tracker(folder, watched(cfg), calibration(-3.0))
    frames, boxes = draw_sequence(6)
    tracker = SeqTrackONNX(folder, state=False)
    here = [tracker.initialize(frames[0], boxes[0]), *(tracker.track(one) for one in frames[1:])]
    plain = SeqTrackTracker(network, cfg, calibration=calibration(-3.0))
    check_equal(in_torch(plain, frames, boxes[0]), here)


def test_the_file_holds_all_settings(tmp_path):
    cfg = watched(load_config("seqtrack_tiny"))
    settings, fitted = read_tracker(write_tracker(tmp_path, cfg, calibration()))
    expected = TrackerSettings.from_config(cfg)
    for name, value in vars(expected).items():
        found = getattr(settings, name)
        if name == "lost":
            assert vars(found) == value.model_dump()
        else:
            assert found == (list(value) if name == "centre" else value), name
    assert fitted == calibration()
    assert read_tracker(write_tracker(tmp_path, cfg, None))[1] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "is not there; write it again with seqtrack export", id="none"),
        pytest.param("{", "cannot be read", id="cut off"),
        pytest.param('{"version": 99}', "is of version 99, not 3; write it again", id="newer"),
        pytest.param('{"version": 3, "settings": {"x": 1}}', "cannot be read", id="other fields"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "tracker.json").write_text(text, encoding="utf-8")
    with pytest.raises(SeqTrackError, match=rf"tracker\.json {message}") as caught:
        SeqTrackONNX(tmp_path)
    assert "\n" not in str(caught.value)


def equal_frames(here, there, factor):
    """How many frames two runs say the same of, token for token.

    Where a corner of the search square is half-way between two pixels, the last digits of the box
    before decide which pixels are looked at: a tie, after which the runs see different pictures.
    """
    for number in range(1, len(here)):
        boxes = [run[number - 1]["target_bbox"] for run in (here, there)]
        if square_at(boxes[0], factor) != square_at(boxes[1], factor):
            assert boxes[0] == pytest.approx(boxes[1], abs=1e-3), f"frame {number}"
            return number - 1
        for name in ("best_tokens", "state", "template_updated"):
            assert here[number][name] == there[number][name], f"{name} of frame {number}"
    return len(here) - 1


@pytest.mark.slow
def test_the_small_model_on_real_video(tmp_path):
    """Every frame of the clips, with the state: as in PyTorch, and to the digit as the engine."""
    if not SEQUENCES.is_dir():
        pytest.skip(f"no real video: {SEQUENCES} (set SEQTRACK_SEQUENCES)")
    cfg = watched(load_config("seqtrack_tiny"))
    network, fitted = load_network(cfg, WEIGHTS), find_calibration(WEIGHTS)
    folder = export(network, cfg, folder=tmp_path)
    write_tracker(folder, cfg, fitted)
    usual, same = (
        SeqTrackTracker(engine, cfg, calibration=fitted)
        for engine in (network, OnnxEngine(folder, threads=1))
    )
    dataset = open_dataset(str(SEQUENCES), resolve_paths())
    compared = frames_of_all = 0
    for name in dataset.sequence_names:
        sequence = dataset.load(name)
        frames = [sequence.frames.read(i) for i in range(len(sequence))]
        there = alone(folder, frames, sequence.init_box, tmp_path)
        assert json.loads(json.dumps(in_torch(same, frames, sequence.init_box))) == there
        here = in_torch(usual, frames, sequence.init_box)
        compared += equal_frames(here, there, cfg.test.search_factor)
        frames_of_all += len(frames) - 1
    print(f"{4 * compared} tokens of {compared} frames equal; {frames_of_all} frames in all")
    assert compared > 0.5 * frames_of_all
