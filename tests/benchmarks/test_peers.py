"""`python benchmarks/peers.py`: every tracker sees the same frames, and its boxes are scored."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lib.utils.errors import SeqTrackError
from lib.utils.image_io import read_rgb, write_rgb

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers.py"


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """Two clips of four frames: a textured square on noise that does not move."""
    rng = np.random.default_rng(3)
    for name in ("left", "right"):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        image = rng.integers(0, 80, (120, 160, 3), dtype=np.uint8)
        image[40:72, 50:82] = rng.integers(120, 255, (32, 32, 3), dtype=np.uint8)
        for index in range(4):
            write_rgb(folder / f"{index + 1:08d}.png", image)
        (folder / "groundtruth.txt").write_text("50,40,32,32\n" * 4, encoding="utf-8")
    return tmp_path / "clips"


@pytest.mark.slow  # three processes, two of which import torch
def test_it_prints_and_writes_the_scores_of_ours_and_of_opencv(
    peers: ModuleType, sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "peers.json"
    code = peers.main(["--sequences", str(sequences), "--threads", "1", "--json", str(out)])
    said = capsys.readouterr().out
    assert code == 0
    assert "ours" in said and "mil" in said and "left" in said and "right" in said
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert set(figures) >= {"ours", "mil"}
    for one in figures.values():
        assert set(one["auc"]) == {"left", "right"}
        # Nothing moves, so whoever starts on the given box stays somewhere near it.
        assert min(one["auc"].values()) > 20
        assert one["frames_per_second"] > 0
    test = figures["mil"]["ours_minus_this"]
    assert test["low"] <= test["auc"] <= test["high"]


def test_scores_of_known_boxes(peers: ModuleType, sequences: Path) -> None:
    from lib.datasets.benchmarks.folder import open_folder

    dataset = open_folder(sequences)
    videos = [dataset.load(name) for name in dataset.sequence_names]
    right = {video.name: np.array([[50.0, 40, 32, 32]] * 4) for video in videos}
    away = {name: boxes.copy() for name, boxes in right.items()}
    for boxes in away.values():
        boxes[1:, :2] += (100, 60)
    figures = peers._figures(
        videos,
        {"ours": peers.Runs(right, [10.0, 30.0, 20.0], {}), "mil": peers.Runs(away, [5.0], {})},
    )
    assert figures["ours"]["auc"]["left"] == pytest.approx(100 * 20 / 21)
    assert figures["mil"]["auc"]["left"] == pytest.approx(100 * 20 / 21 / 4)
    assert figures["ours"]["frames_per_second"] == 20.0
    assert figures["mil"]["ours_minus_this"]["auc"] == pytest.approx(100 * 20 / 21 * 3 / 4)


# Put in place of OpenCV's tracker before `peers.py` begins.
CRASHING = """
import os, cv2
class TrackerMIL:
    @classmethod
    def create(cls):
        return cls()
    def init(self, image, box):
        self.frames, self.box, self.bright = 1, box, image[0, 0, 0] == 255
    def update(self, image):
        self.frames += 1
        if self.bright and self.frames == 3:
            {crash}
        x, y, w, h = self.box
        return True, (x + self.frames, y, w, h)
cv2.TrackerMIL = TrackerMIL
"""


@pytest.mark.parametrize(
    ("crash", "says"),
    [
        pytest.param("raise MemoryError('std::bad_alloc')", "std::bad_alloc", id="an exception"),
        pytest.param("os.abort()", "SIGABRT", id="the process dies"),
    ],
)
def test_a_tracker_that_fails_keeps_its_last_box_and_goes_on(
    peers: ModuleType,
    sequences: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    crash: str,
    says: str,
) -> None:
    from lib.datasets.benchmarks.folder import open_folder

    for file in (sequences / "left").glob("*.png"):
        image = read_rgb(file)
        image[0, 0] = 255  # tells the clip that it fails on
        write_rgb(file, image)
    (tmp_path / "sitecustomize.py").write_text(CRASHING.format(crash=crash), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    dataset = open_folder(sequences)
    videos = [dataset.load(name) for name in dataset.sequence_names]
    args = peers._parser().parse_args(["--sequences", str(sequences)])
    run = peers._run(args, "mil", sys.executable, [peers._as_entry(video) for video in videos])
    assert run.boxes["left"][:, 0].tolist() == [50, 52, 52, 52]
    assert run.boxes["right"][:, 0].tolist() == [50, 52, 53, 54]
    assert set(run.failed) == {"left"}
    assert run.failed["left"].startswith("after 2 of 4 frames: ") and says in run.failed["left"]
    assert run.rates[0] > 0
    figures = peers._figures(videos, {"ours": run})
    peers._print_tables(figures, [video.name for video in videos])
    assert "ours failed on left after 2 of 4 frames: " in capsys.readouterr().out


def test_a_tracker_that_cannot_begin_is_an_error(
    peers: ModuleType, sequences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['cv2'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    args = peers._parser().parse_args(["--sequences", str(sequences)])
    entry = {"name": "left", "files": [], "box": [0, 0, 1, 1]}
    with pytest.raises(SeqTrackError, match="mil: its process ended before the first sequence"):
        peers._run(args, "mil", sys.executable, [entry])


def test_errors_are_one_line(
    peers: ModuleType, sequences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert peers.main([]) == 2
    assert "--sequences DIR is missing" in capsys.readouterr().err
    assert peers.main(["--sequences", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "nowhere" in said and said.count("\n") == 1
    clips = tmp_path / "clips"
    assert peers.main(["--sequences", str(clips), "--nanotrack", "no.onnx", "head.onnx"]) == 2
    assert capsys.readouterr().err.startswith("error: --nanotrack no.onnx: no such file")


def test_only_the_trackers_that_are_wanted_run(
    peers: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    args = peers._parser().parse_args(["--trackers", "mil"])
    assert set(peers._trackers(args)) == {"ours", "mil"}
    assert capsys.readouterr().err == ""
    with pytest.raises(SeqTrackError, match=r"--trackers nano: there are nanotrack, mil"):
        peers._trackers(peers._parser().parse_args(["--trackers", "nano"]))
