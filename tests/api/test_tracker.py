"""`from seqtrack import Tracker`: frames from anywhere, boxes for any number of targets."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import seqtrack
from lib.analysis.frames import join
from lib.analysis.metrics import score_dataset
from lib.api import frame_boxes
from lib.commands.entry import run
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.results.files import read_results
from lib.tracker.build import build_tracker
from lib.tracker.engine import choose
from lib.tracker.engine import onnx as onnx_engine
from lib.tracker.registry import make_spec
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import CheckpointError, ConfigError, DataError, SeqTrackError
from seqtrack import Result, TargetResult, Tracker
from tests.helpers.tiny import TINY_YAML, draw_sequence, tiny_config, write_got10k_folder

REPOSITORY = Path(__file__).parents[2]
BOX, OTHER = (10.0, 20.0, 18.0, 14.0), (40.0, 30.0, 20.0, 25.0)


@pytest.fixture(scope="module")
def tiny() -> Tracker:
    """Of untrained weights."""
    return Tracker(TrackerSpec("seqtrack", "tiny", tiny_config()), device="cpu")


@pytest.fixture
def static() -> Tracker:
    return Tracker("static_box/default", device="cpu")


def frames(count: int) -> list[np.ndarray]:
    return draw_sequence(count)[0]


def test_the_import_name_is_typed_and_brings_no_torch():
    script = "import sys, seqtrack; print('torch' in sys.modules, seqtrack.Tracker.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "Tracker"]
    assert seqtrack.Result is Result and seqtrack.__version__
    assert Path(seqtrack.__file__).with_name("py.typed").is_file()


def test_a_stream_gives_what_the_tracker_alone_gives(tiny):
    images = frames(5)
    alone = build_tracker(tiny.spec)
    expected = [alone.initialize(images[0], {"init_bbox": BOX})] + [
        alone.track(image) for image in images[1:]
    ]
    results = list(tiny.stream(iter(images), BOX, fps=10))
    assert [(r.frame, r.time) for r in results] == [(i, i / 10) for i in range(5)]
    for result, image, answer in zip(results, images, expected, strict=True):
        assert result.image is image and list(result.targets) == [1]
        assert result.targets[1].box == tuple(answer["target_bbox"])
        assert 0 <= result.targets[1].confidence <= 1
    assert results[0].targets[1] == TargetResult(BOX, 1.0, results[0].targets[1].state, given=True)
    first = tiny.initialize(images[0], {"init_bbox": BOX})
    assert first["target_bbox"] == list(BOX)
    again = [first, *(tiny.track(image) for image in images[1:])]
    assert [a["target_bbox"] for a in again] == [a["target_bbox"] for a in expected]


def test_sixteen_targets_in_one_pass_are_tracked_as_if_alone():
    """With the shipped weights, whose boxes follow the pictures."""
    tracker = Tracker(device="cpu", engine="torch")
    images = draw_sequence(4, width=320, height=240)[0]
    boxes = [(10.0, 20.0, 18.0, 14.0)]
    boxes += [(20.0 + 18 * n, 30.0 + 11 * n, 24.0 + n, 20.0) for n in range(15)]
    together = list(tracker.stream(images, boxes))
    last = {found.box for found in together[-1].targets.values()}
    assert len(last) == 16
    for number, box in enumerate(boxes, start=1):
        alone = list(tracker.stream(images, box))
        for one, all_of_them in zip(alone, together, strict=True):
            assert all_of_them.targets[number].box == pytest.approx(one.targets[1].box, abs=1e-2)


def test_targets_join_are_corrected_and_leave_while_it_runs(static):
    seen = []
    for result in static.stream(frames(5), {"cat": BOX}):
        if result.frame == 1:
            added = static.add(7, OTHER)
            assert result.targets[7] is added and added.given and added.box == OTHER
        if result.frame == 2:
            static.correct("cat", (1, 2, 30, 40))
        if result.frame == 3:
            static.remove(7)
        seen.append({target: found.box for target, found in result.targets.items()})
    moved = (1.0, 2.0, 30.0, 40.0)
    assert seen == [
        {"cat": BOX},
        {"cat": BOX, 7: OTHER},
        {"cat": moved, 7: OTHER},
        {"cat": moved},
        {"cat": moved},
    ]


def test_what_cannot_be_done_to_targets_is_said(static):
    with pytest.raises(SeqTrackError, match="no stream runs"):
        static.add(1, BOX)
    stream = static.stream(frames(3), BOX)
    next(stream)
    with pytest.raises(DataError, match=r"target 1 is there already; correct\(1, box\)"):
        static.add(1, OTHER)
    with pytest.raises(DataError, match="no target 'cat'; there are 1"):
        static.remove("cat")
    with pytest.raises(DataError, match="outside of the first frame"):
        static.correct(1, (500, 0, 5, 5))
    stream.close()
    with pytest.raises(SeqTrackError, match="no stream runs"):
        static.correct(1, BOX)


def test_what_the_source_does_not_have_is_said_at_once(static):
    two = {0: {1: BOX}, 3: {1: OTHER}}
    with pytest.raises(DataError, match="frames has no frame 3; it has 3, counted from 0"):
        static.stream(frames(3), two)
    static.stream(frames(3), two, end=2)
    never = static.stream(iter(frames(3)), {0: {1: BOX}, 2: {1: (500, 0, 5, 5)}})
    with pytest.raises(DataError, match="outside of frame 2"):
        next(never)


def test_boxes_by_frame_begin_there_also_backward(static, tmp_path):
    folder = write_got10k_folder(tmp_path, ["a"], length=6) / "a"
    boxes = {2: {1: BOX}, 4: {1: OTHER, "cat": BOX}}
    results = list(static.stream(folder, boxes))
    assert [(r.frame, [f.box for f in r.targets.values()]) for r in results] == [
        (2, [BOX]),
        (3, [BOX]),
        (4, [OTHER, BOX]),
        (5, [OTHER, BOX]),
    ]
    back = list(static.stream(folder, boxes, backward=True))
    assert [(r.frame, list(r.targets)) for r in back] == [
        (4, [1, "cat"]),
        (3, [1, "cat"]),
        (2, [1, "cat"]),
        (1, [1, "cat"]),
        (0, [1, "cat"]),
    ]
    assert back[2].targets[1].box == BOX
    assert [r.frame for r in static.stream(folder, BOX, start=3, end=4)] == [3, 4]
    with pytest.raises(DataError, match="box of frame 2 lies before the start, frame 3"):
        static.stream(folder, boxes, start=3)


@pytest.mark.parametrize(
    ("boxes", "placed"),
    [
        (None, {}),
        ([], {}),
        (np.array([1, 2, 3, 4]), {5: {1: (1, 2, 3, 4)}}),
        (np.array([[1, 2, 3, 4]] * 2), {5: {1: (1, 2, 3, 4), 2: (1, 2, 3, 4)}}),
        ({"a": [1, 2, 3, 4]}, {5: {"a": (1, 2, 3, 4)}}),
        ({9: {"a": [1, 2, 3, 4]}}, {9: {"a": (1, 2, 3, 4)}}),
    ],
    ids=str,
)
def test_boxes_are_given_in_any_way(boxes, placed):
    assert frame_boxes(boxes, 5) == placed


@pytest.mark.parametrize("box", [(1, 2, 3), (1, 2, 3, 0), (1, 2, 3, float("nan")), "box", [["a"]]])
def test_what_is_no_box_is_said(static, box):
    with pytest.raises(DataError, match="four finite numbers"):
        static.stream(frames(1), box)


def test_a_context_manager_ends_the_stream_and_lets_go():
    def camera():
        try:
            while True:
                yield image
        finally:
            ended.append(True)

    image, ended = frames(1)[0], []
    with Tracker("static_box/default") as tracker:
        stream = tracker.stream(camera(), BOX)
        assert [next(stream).frame for _ in range(3)] == [0, 1, 2]
    assert list(stream) == []
    del stream
    tracker.close()
    with pytest.raises(SeqTrackError, match="closed"):
        tracker.track(image)
    assert ended == [True], "the source is let go as well"


def test_a_model_is_a_name_a_file_or_weights(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY_YAML)
    of_yaml = Tracker(
        tmp_path / "tiny.yaml", "random", device="cpu", settings=["TEST.WINDOW=false"]
    )
    assert of_yaml.spec.config_name == "tiny" and not of_yaml.spec.config.test.window
    shipped = REPOSITORY / "checkpoints/train/seqtrack/seqtrack_nano/SEQTRACK.pth.tar"
    by_weights = Tracker(shipped, device="cpu")
    assert by_weights.spec.checkpoint == shipped and by_weights.spec.config_name == "seqtrack_nano"
    assert Tracker(device="cpu").spec.checkpoint.samefile(shipped), "the default"
    strange = tmp_path / "mine.pth.tar"
    strange.write_bytes(shipped.read_bytes())
    with pytest.raises(ConfigError, match="give the configuration's name or YAML file"):
        Tracker(strange)
    with pytest.raises(ConfigError, match="are both weights"):
        Tracker(shipped, shipped)
    with pytest.raises(ConfigError, match="did you mean 'seqtrack_tiny'"):
        Tracker("seqtrack_tini")
    with pytest.raises(CheckpointError):
        Tracker(tmp_path / "tiny.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"engine": "onxx"}, "did you mean 'onnx'"),
        ({"engine": "torch", "precision": "int8"}, "torch cannot compute in 'int8'"),
        ({"precision": "fp8"}, "no engine computes in 'fp8'"),
        ({"model": "mil/default", "engine": "onnx"}, "does nothing for 'mil'"),
    ],
)
def test_a_wrong_engine_is_said(arguments, said):
    with pytest.raises(ConfigError, match=said):
        Tracker(**{"model": "seqtrack_tiny", **arguments})


def test_auto_takes_onnx_for_a_small_network_that_was_exported(monkeypatch):
    spec, cpu = TrackerSpec("seqtrack", "tiny", tiny_config()), torch.device("cpu")
    monkeypatch.setattr(choose, "find_spec", lambda name: name)
    monkeypatch.setattr(onnx_engine, "exported", lambda *_: False)
    name, advice = choose.choose_engine(spec, cpu)
    assert name == "torch" and "--config tiny --checkpoint random --max-frames 0" in advice
    assert choose.choose_engine(replace(spec, precision="int8"), cpu) == ("onnx", "")
    monkeypatch.setattr(onnx_engine, "exported", lambda *_: True)
    assert choose.choose_engine(spec, cpu) == ("onnx", "")
    assert choose.choose_engine(replace(spec, precision="bf16"), cpu) == ("torch", "")
    assert choose.choose_engine(spec, torch.device("cuda")) == ("torch", "")
    assert choose.choose_engine(make_spec("seqtrack", "seqtrack_b256", []), cpu) == ("torch", "")
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    assert choose.choose_engine(spec, cpu) == ("torch", "")


def test_an_evaluation_scores_what_test_and_analyze_score(static, tmp_path, monkeypatch):
    folder = write_got10k_folder(tmp_path / "videos", ["a", "b"], length=6)
    paths = resolve_paths(None, tmp_path / "runs")
    found = static.evaluate(folder)
    words = [
        "static_box",
        "default",
        "--dataset",
        str(folder),
        "--save-dir",
        str(tmp_path / "runs"),
    ]
    assert run("lib.commands.test", words) == 0
    data = open_dataset(str(folder), paths)
    results = paths.dataset_results_dir("static_box", "default", data.results_folder, None)
    tracked = [
        join(data.load(name), read_results(results / f"{name}.txt"), with_size=True)
        for name in data.sequence_names
    ]
    assert found == score_dataset(tracked, data.protocol).total.percentages()
    assert static.evaluate(data, batch_size=2) == found
    assert static.evaluate(data, max_frames=1)["AUC"] > found["AUC"], "it stands still"
    with pytest.raises(DataError):
        static.evaluate(tmp_path / "nothing")
