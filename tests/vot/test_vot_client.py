"""The tracker's side of VOT: what it does between the toolkit's requests."""

import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lib.tracker.base import BaseTracker
from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import DataError, MissingExtraError
from lib.utils.image_io import write_rgb
from lib.vot.client import Session, answer, import_trax
from tests.helpers.picture_files import thermal, write_clip
from tests.helpers.tiny import draw_sequence, tiny_config

ROOT = Path(__file__).parents[2]
trax = pytest.importorskip("trax", reason="vot-trax is not installed; it is in the dev extra")


class Steps(BaseTracker):
    """Moves one pixel to the right per frame; says NaN in frame 2 and no confidence in frame 3."""

    def initialize(self, image, info) -> None:
        self.box, self.frame = list(info["init_bbox"]), 0

    def track(self, image, info=None):
        self.frame += 1
        self.box[0] += 1
        if self.frame == 2:
            return {"target_bbox": [math.nan, 0, 1, 1], "confidence": math.nan}
        found = {"target_bbox": list(self.box)}
        return found if self.frame == 3 else {**found, "confidence": 0.5}


class BoxMask:
    """Paints the box; notes what it was started with."""

    def initialise(self, image, box) -> None:
        self.first = box

    def get_mask(self, image, box):
        mask = np.zeros(image.shape[:2], np.uint8)
        x, y, w, h = box.astype(int)
        mask[y : y + h, x : x + w] = 1
        return mask


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    images, _ = draw_sequence(6)
    paths = [tmp_path / f"{i:08d}.jpg" for i in range(6)]
    for path, image in zip(paths, images, strict=True):
        write_rgb(path, image)
    return paths


def test_thermal_frames_have_the_range_of_the_one_it_started_on(tmp_path: Path) -> None:
    clip = write_clip(tmp_path, ".png", [thermal(i, 7000, 9000 + 400 * i) for i in range(3)])
    seen = []

    class Looks(Steps):
        def track(self, image, info=None):
            seen.append(image)
            return super().track(image, info)

    session = Session(Looks())
    session.initialise(tmp_path / clip.names[0], (10.0, 10.0, 12.0, 10.0))
    for name in clip.names[1:]:
        session.track(tmp_path / name)
    for index, image in enumerate(seen, start=1):
        np.testing.assert_array_equal(image, clip.read(index))


def test_boxes_and_confidence(frames: list[Path]) -> None:
    session = Session(Steps())
    session.initialise(frames[0], (10.0, 20.0, 18.0, 14.0))
    answers = [session.track(path) for path in frames[1:5]]
    assert [box[0] for box, _ in answers] == [11, 11, 13, 14], "the last box instead of NaN"
    assert [properties for _, properties in answers] == [
        {"confidence": 0.5},
        {},
        {},
        {"confidence": 0.5},
    ]


def test_a_start_forgets_the_one_before(frames: list[Path]) -> None:
    """The real tracker, with template updates in every frame: one process, several starts."""
    config = tiny_config(TEST={"UPDATE_INTERVALS": {"VOT20": 1}, "UPDATE_THRESHOLD": {"VOT20": 0}})

    def session() -> Session:
        spec = TrackerSpec("seqtrack", "tiny", config, None, "VOT20")
        return Session(build_tracker(spec))

    def follow(one: Session) -> list:
        one.initialise(frames[1], (12.0, 21.0, 18.0, 14.0))
        return [one.track(path) for path in frames[2:]]

    fresh, used = session(), session()
    used.warm_up()
    used.initialise(frames[5], (40.0, 10.0, 30.0, 30.0))
    for path in frames[:4]:
        used.track(path)
    assert follow(used) == follow(fresh)


def test_masks_start_from_the_tight_box_and_fill_the_frame(frames: list[Path]) -> None:
    refiner = BoxMask()
    session = Session(Steps(), refiner)
    region = np.zeros((34, 28), np.uint8)  # ends where the target does; the frame is 80 x 96
    region[20:34, 10:28] = 1
    session.initialise(frames[0], region)
    assert refiner.first.tolist() == [10, 20, 18, 14]
    assert refiner.first.dtype == np.float32
    mask, _ = session.track(frames[1])
    assert mask.shape == (80, 96) and mask.dtype == np.uint8
    assert mask[20:34, 11:29].all() and mask.sum() == 18 * 14
    assert session.tracker.box[:2] == [11.0, 20.0], "the tracker goes on from its own box"


def test_nothing_can_start_on_an_empty_mask(frames: list[Path]) -> None:
    with pytest.raises(DataError, match="empty"):
        Session(Steps()).initialise(frames[0], np.zeros((9, 9), np.uint8))


def test_the_loop_refuses_several_targets_and_ends_with_quit() -> None:
    def server(*requests):
        queue = iter(requests)
        return SimpleNamespace(wait=lambda: next(queue), status=lambda objects: None)

    two = SimpleNamespace(type="initialize", objects=[(None, {}), (None, {})], image={})
    with pytest.raises(DataError, match="2 targets"):
        answer(Session(Steps()), server(two), trax)
    answer(Session(Steps()), server(SimpleNamespace(type="quit")), trax)


def test_without_trax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trax", None)
    with pytest.raises(MissingExtraError, match=r'pip install -e "\.\[vot\]"'):
        import_trax()
    monkeypatch.setitem(sys.modules, "trax", SimpleNamespace(__file__="/x/trax.py"))
    with pytest.raises(MissingExtraError, match="another package"):
        import_trax()


def test_log_of_a_start(frames: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lib.vot")
    logger.propagate = True
    with caplog.at_level(logging.INFO, logger="lib.vot"):
        session = Session(Steps())
        session.initialise(frames[0], (10.0, 20.0, 18.0, 14.0))
        for path in frames[1:4]:
            session.track(path)
        session.close()
    assert "start 1" in caplog.text and "box 10,20,18,14" in caplog.text
    assert "3 frames" in caplog.text and "1 boxes were not finite" in caplog.text


# Plays the toolkit: greets a tracker process over its pipes, starts it twice, then quits.
TOOLKIT = """
import subprocess, sys
from trax.client import Client
from trax.image import FileImage
from trax.region import Rectangle
frames, words = sys.argv[1:4], sys.argv[4:]
process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, bufsize=0)
client = Client(stream=(process.stdin.fileno(), process.stdout.fileno()), log=str)
assert client.get("vot") is None, "one process must serve many starts"
for start in (0, 1):
    region = Rectangle.create(10 + start, 20, 18, 14)
    client.initialize({"color": FileImage.create(frames[start])}, [(region, {})], {})
    for path in frames[start + 1:]:
        objects, _ = client.frame({"color": FileImage.create(path)}, {}, [])
        print(*objects[0][0].bounds())
client.quit()
print("code", process.wait(60))
"""


def speak(frames: list[Path], workspace: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "tracking/vot.py"), "serve", "static_box"]
    words += ["--workspace", str(workspace)]
    return subprocess.run(
        [sys.executable, "-c", TOOLKIT, *map(str, frames[:3]), *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )


def test_a_process_serves_two_starts(frames: list[Path], tmp_path: Path) -> None:
    done = speak(frames, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == ["10.0 20.0 18.0 14.0"] * 2 + ["11.0 20.0 18.0 14.0", "code 0"]
    (log,) = (tmp_path / "logs/static_box").glob("*.log")
    text = log.read_text()
    assert "ready after" in text and "start 2" in text and text.rstrip().endswith("the end")


def test_a_damaged_frame_ends_the_process_with_its_reason(
    frames: list[Path], tmp_path: Path
) -> None:
    frames[2].write_bytes(frames[2].read_bytes()[:200])
    done = speak(frames, tmp_path)
    assert done.returncode != 0
    (log,) = (tmp_path / "logs/static_box").glob("*.log")
    assert "error: " in log.read_text() and "cut short" in log.read_text()
