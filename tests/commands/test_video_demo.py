"""`python tracking/video_demo.py`: a clip goes in, a video and a table come out."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import lib.tracker.build
import lib.video.window
import lib.video.write
from lib.annotations.read import read_boxes
from lib.cli import COMMANDS
from lib.commands.entry import run
from lib.tracker.base import BaseTracker
from tests.helpers.tiny import TINY_YAML, draw_sequence, write_got10k_folder
from tests.helpers.video_files import numbered, read_av, write_av
from tests.video.test_video import BLUE, RED, halves, near, read_clip, spoil, write_clip

REPOSITORY = Path(__file__).parents[2]
BOX = "10,20,18,14"
# More than the picture: every box is at it, whatever the weights say.
FLOOR = "TEST.MIN_SIZE=200"


class Place:
    """A current folder with a clip and a tiny configuration, and the command run there."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture) -> None:
        self.root, self.capsys = root, capsys
        (root / "tiny.yaml").write_text(TINY_YAML)
        frames, _ = draw_sequence(6)
        self.clip = write_clip(root / "my clip.mp4", frames, fps=30)

    def run(self, *arguments):
        """Exit code, lines of standard output, last line of standard error."""
        code = run("lib.commands.track", [*map(str, arguments)])
        captured = self.capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.strip().splitlines()[-1:]

    def seqtrack(self, *arguments):
        """The same with random weights of the tiny configuration."""
        tiny = ("--config", self.root / "tiny.yaml", "--checkpoint", "random", "--device", "cpu")
        return self.run(*arguments, *tiny)

    def static(self, *arguments):
        """The same with the tracker that needs no weights."""
        return self.run(*arguments, "--tracker", "static_box")

    def files(self) -> list[str]:
        """What lies in the folder now, but for what was there at the start."""
        return sorted({p.name for p in self.root.iterdir()} - {"tiny.yaml", self.clip.name})


@pytest.fixture
def place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_several_targets_in_a_video_file(place):
    code, out, _ = place.seqtrack(place.clip, "--box", BOX, "--box", "40,30,20.5,25")
    assert code == 0 and "2 targets" in out[1] and "6 frames in" in out[2]
    assert out[3:] == ["written: my clip_seqtrack.mp4", "written: my clip_seqtrack.csv"]
    frames, fps = read_clip(place.root / "my clip_seqtrack.mp4")
    assert len(frames) == 6 and fps == 30 and frames[0].shape == (80, 96, 3)
    rows = rows_of(place.root / "my clip_seqtrack.csv")
    assert list(rows[0]) == ["frame", "target", "time_s", "x", "y", "w", "h", "confidence"]
    assert [(row["frame"], row["target"]) for row in rows] == [
        (str(frame), target) for frame in range(6) for target in "12"
    ]
    assert list(rows[1].values()) == "0 2 0.000 40.00 30.00 20.50 25.00 1.0000".split()
    assert [row["time_s"] for row in rows[::2]] == "0.000 0.033 0.067 0.100 0.133 0.167".split()
    assert all(0 < float(row["confidence"]) < 1 for row in rows[2:])
    assert place.files() == ["my clip_seqtrack.csv", "my clip_seqtrack.mp4"]


class Recorder(BaseTracker):
    """Keeps the frames it is given."""

    shared = ("frames",)

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def initialize(self, image, info):
        self.frames.append(image)

    def track(self, image, info=None):
        self.frames.append(image)
        return {"target_bbox": [30, 20, 30, 20]}


def test_colours_are_right_on_both_sides_of_the_tracker(place, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(lib.tracker.build, "build_tracker", lambda spec, device: recorder)
    clip = write_clip(place.root / "c.mp4", [halves()] * 4)
    assert place.static(clip, "--box", "30,20,30,20", "--out", "out.mp4")[0] == 0
    written, _ = read_clip(place.root / "out.mp4")
    assert len(recorder.frames) == len(written) == 4
    for frame, picture in zip(recorder.frames, written, strict=True):
        for image in (frame, picture):
            assert near(image[55, 5], RED) and near(image[55, 90], BLUE)
        assert near(frame[40, 55], BLUE), "nothing is drawn into the tracker's frame"
        assert picture[40, 55][0] > 130 > picture[40, 55][1], "the box is red, not blue"


def test_a_folder_of_images_and_a_frame_limit(place):
    frames, _ = draw_sequence(4)
    (place.root / "shots").mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(place.root / "shots" / f"{number}.png"), frame[..., ::-1])
    code, _, _ = place.static("shots", "--box", BOX, "--max-frames", 3, "--fps", 10)
    written, fps = read_clip(place.root / "shots_static_box.mp4")
    rows = rows_of(place.root / "shots_static_box.csv")
    assert code == 0 and len(written) == 3 and fps == 10
    assert [row["time_s"] for row in rows] == ["0.000", "0.100", "0.200"]
    assert {row["confidence"] for row in rows} == {""}, "static_box has none"


def test_the_first_box_of_a_sequence_folder_is_taken_and_its_truth_drawn(place, monkeypatch):
    # The speed in the heading is the machine's; so small a picture shows it in its colours too.
    monkeypatch.setattr(lib.video.write.Painter, "_heading", lambda self, index: f"frame {index}")
    folder = write_got10k_folder(place.root / "videos", ["a"]) / "a"
    code, out, _ = place.static(folder, "--out", "a.mp4")
    said = f"the box is the true one of frame 0: 10,20,18,14 ({folder / 'groundtruth.txt'})"
    assert code == 0 and out[0] == said and "green" in out[1]
    last = read_clip(place.root / "a.mp4")[0][3]
    # The target has moved by 6 and 3: truth there, the tracker's box where it began.
    assert near(last[37, 30], (64, 255, 64), 90) and near(last[34, 14], (255, 64, 64), 90)
    assert place.static(folder, "--out", "b.mp4", "--box", "1,2,30,40")[1][0].endswith("1 target")


@pytest.mark.parametrize("box", ["-5,10,30,30", "-.5,10,30,30", "0,0,3e9,40", "-1e12,5,2e12,20"])
def test_a_box_may_stick_out(place, box):
    """However far, and with a minus that is no option."""
    code, _, err = place.static(place.clip, "--box", box, "--max-frames", 2)
    assert (code, err) == (0, [])
    frames, _ = read_clip(place.root / "my clip_static_box.mp4")
    assert len(frames) == 2


def test_a_sequence_of_a_data_set(place):
    code, out, _ = place.static("--dataset", "synthetic", "--max-frames", 2, "--out", "s.gif")
    assert code == 0 and "generated with seed 1" in out[0] and place.files() == ["s.csv", "s.gif"]
    code, _, err = place.static("--dataset", "synthetic", "--sequence", "synthetic-0001")
    assert code == 2 and "did you mean 'synthetic-001'" in err[0]


def test_files_are_not_replaced_by_accident(place):
    (place.root / "o.mp4").write_text("mine")
    code, _, err = place.static(place.clip, "--box", BOX, "--out", "o.mp4")
    assert code == 2 and "o.mp4 is there already" in err[0] and "--overwrite" in err[0]
    assert place.files() == ["o.mp4"] and (place.root / "o.mp4").read_text() == "mine"
    (place.root / "b.csv").write_text("mine")
    code, _, err = place.static(place.clip, "--box", BOX, "--csv", "b.csv")
    assert code == 2 and "b.csv is there already" in err[0]
    assert place.static(place.clip, "--box", BOX, "--out", "o.mp4", "--force")[0] == 0
    assert len(read_clip(place.root / "o.mp4")[0]) == 6


@pytest.mark.parametrize("option", ["--out", "--csv"])
def test_the_clip_itself_is_never_overwritten(place, option):
    before = place.clip.read_bytes()
    (place.root / "link.mp4").symlink_to(place.clip)
    for name in (place.clip, "./my clip.mp4", "link.mp4"):
        code, _, err = place.static(place.clip, "--box", BOX, option, name, "--force")
        assert code == 2 and "is the clip itself" in err[0]
    assert place.clip.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "give one clip", id="no clip"),
        pytest.param(["CLIP", "--dataset", "synthetic"], "give one clip", id="two clips"),
        pytest.param(["CLIP", "--sequence", "a"], "needs --dataset", id="sequence of nothing"),
        pytest.param(["CLIP"], "add --box x,y,w,h: left, top, width and height", id="no box"),
        pytest.param(["CLIP"], "96 wide and 80 high", id="no box, size of the frame"),
        pytest.param(["CLIP", "--box", "1,2,3"], "write x,y,w,h", id="three numbers"),
        pytest.param(["CLIP", "--box", "-1,2,3"], "write x,y,w,h", id="three, the first below 0"),
        pytest.param(["CLIP", "--box", "1,2,3,x"], "write x,y,w,h", id="a letter"),
        pytest.param(["CLIP", "--box", "1,2,3,0"], "write x,y,w,h", id="no height"),
        pytest.param(["CLIP", "--box", "1,2,nan,9"], "write x,y,w,h", id="not a number"),
        pytest.param(["CLIP", "--box", "96,0,5,5"], "outside of the first frame", id="outside"),
        pytest.param(["no.mp4", "--box", BOX], "no.mp4: no such video file", id="no file"),
        pytest.param(["rtsp://127.0.0.1:9/b", "--box", BOX], "9/b: cannot be open", id="address"),
        pytest.param(["CLIP", "--box", "10:" + BOX], "has no frame 10; it has 6", id="frame"),
        pytest.param(["CLIP", "--box", BOX, "--start", "10"], "has no frame 10", id="start"),
        pytest.param(
            ["CLIP", "--box", BOX, "--box", "1@9:" + BOX], "no frame 9; it has 6", id="correction"
        ),
        pytest.param(
            ["CLIP", "--box", BOX, "--box", "1@3:0,80,5,5"], "outside of frame 3", id="outside, 3"
        ),
        pytest.param(
            ["CLIP", "--box", BOX, "--start", "6", "--backward"], "no frame 6", id="from the end"
        ),
        pytest.param(["CLIP", "--start", "10"], "add --box x,y,w,h", id="start without box"),
        pytest.param(["CLIP", "--box", BOX, "--backward"], "needs --start FRAME", id="backward"),
        pytest.param(
            ["CLIP", "--box", "3:" + BOX, "--start", "4"], "frame 3 lies before", id="too early"
        ),
        pytest.param(
            ["CLIP", "--box", BOX, "--start", "4", "--end", "3"], "before the start", id="no range"
        ),
        pytest.param(
            ["CLIP", "--box", "3:" + BOX, "--box", "1@3:" + BOX], "has two boxes", id="two boxes"
        ),
        pytest.param(["CLIP", "--box", "a@b@" + BOX], "write x,y,w,h", id="two names"),
        pytest.param(["CLIP", "--box", BOX, "--format", "xlsx"], "invalid choice", id="table"),
        pytest.param(
            ["CLIP", "--box", BOX, "--annotations", "a.doc"], "Add --format", id="which format"
        ),
        pytest.param(["CLIP", "--box", BOX, "--engine", "onnx"], "does nothing", id="engine"),
        pytest.param(["tiny.yaml", "--box", BOX], "not a video that FFmpeg", id="not a video"),
        pytest.param(["CLIP", "--box", BOX, "--out", "o.mov"], "ends in .mp4,", id="format"),
        pytest.param(["CLIP", "--box", BOX, "--out", "."], "ends in .mp4,", id="a folder"),
        pytest.param(["CLIP", "--box", BOX, "--fps", "0"], "no frame rate", id="no rate"),
        pytest.param(["CLIP", "--box", BOX, "--csv", "CLIP_x.mp4"], "same file", id="one name"),
        pytest.param(["CLIP", "--box", BOX, "--config", "x"], "does nothing for", id="config"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(place, arguments, said):
    words = [word.replace("CLIP_x", "my clip_static_box") for word in arguments]
    argv = [str(place.clip) if word == "CLIP" else word for word in words]
    try:
        code = run("lib.commands.track", [*argv, "--tracker", "static_box"])
    except SystemExit as ending:
        code = ending.code
    (line,) = place.capsys.readouterr().err.strip().splitlines()
    assert code == 2 and said in line
    assert place.files() == []


def test_missing_weights_are_said_before_anything_is_written(place):
    config = place.root / "tiny.yaml"
    code, _, err = place.run(place.clip, "--box", BOX, "--config", config, "--save_dir", "runs")
    assert code == 2 and "no checkpoint for tiny" in err[0]
    assert not list(place.root.rglob("*.csv"))


def test_a_typo_is_answered_before_torch_is_imported(place):
    script = (
        "import sys; from lib.commands.entry import run;"
        "code = run('lib.commands.track', ['gone.mp4', '--box', '1,2,3,4']);"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False"]


def test_a_clip_that_breaks_off_keeps_what_was_tracked(place):
    frames, _ = draw_sequence(20)
    clip = spoil(write_clip(place.root / "bad.mp4", frames), 0.5)
    code, out, err = place.static(clip, "--box", BOX)
    written, _ = read_clip(place.root / "bad_static_box.mp4")
    assert code == 1 and "breaks off" in err[0] and "s of 1.60 s" in err[0]
    assert 0 < len(written) == len(rows_of(place.root / "bad_static_box.csv")) < 20
    assert f"{len(written)} frames in" in out[1]


def test_an_image_of_another_size_keeps_what_was_tracked(place):
    (place.root / "shots").mkdir()
    for number, side in enumerate((40, 40, 48)):
        image = np.zeros((side, side, 3), np.uint8)
        cv2.imwrite(str(place.root / "shots" / f"{number}.png"), image)
    code, _, err = place.static("shots", "--box", "1,2,10,10")
    assert code == 1 and "2.png is 48 x 48, but the frames before it are 40 x 40" in err[0]
    assert len(rows_of(place.root / "shots_static_box.csv")) == 2


def test_a_varying_rate_is_kept_and_fps_makes_it_constant(place):
    times = [0, 30, 60, 90.5]
    clip = write_av(place.root / "slow.mp4", numbered(4), times=times)
    assert place.static(clip, "--box", BOX)[0] == 0
    written = place.root / "slow_static_box.mp4"
    assert [time for time, _ in read_av(written)] == pytest.approx(times, abs=1e-6)
    assert [row["time_s"] for row in rows_of(written.with_suffix(".csv"))] == [
        "0.000",
        "30.000",
        "60.000",
        "90.500",
    ]
    assert place.static(clip, "--box", BOX, "--out", "even.mp4", "--fps", 10)[0] == 0
    assert [time for time, _ in read_av(place.root / "even.mp4")] == [0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize("option", ["--csv", "--out"])
def test_a_pipe_is_not_replaced_also_with_force(place, option):
    name = "pipe.csv" if option == "--csv" else "pipe.mp4"
    os.mkfifo(place.root / name)
    code, _, err = place.static(place.clip, "--box", BOX, option, name, "--force")
    assert code == 2 and f"{name} is a named pipe and is never replaced" in err[0]
    assert (place.root / name).is_fifo() and place.files() == [name]


def test_the_null_device_takes_no_table(place):
    assert place.static(place.clip, "--box", BOX, "--out", "a.mp4", "--csv", os.devnull)[0] == 0
    assert place.files() == ["a.mp4"] and Path(os.devnull).is_char_device()


def test_a_box_at_the_floor_is_said_once_and_a_setting_lowers_it(place):
    code, out, _ = place.seqtrack(place.clip, "--box", "12,22,4,4", "--box", BOX, "--set", FLOOR)
    told = [line for line in out if "floor of 200 pixels" in line]
    assert code == 0 and [line[:26] for line in told] == [
        "target 1: from frame 1 on ",
        "target 2: from frame 1 on ",
    ]
    sides = [float(row["w"]) for row in rows_of(place.root / "my clip_seqtrack.csv")]
    assert sides[:2] == [4, 18] and set(sides[2:]) == {200}
    one = ("--set", "TEST.MIN_SIZE=1", "--out", "one.mp4")
    code, out, _ = place.seqtrack(place.clip, "--box", "12,22,2,2", *one)
    assert code == 0 and min(float(r["w"]) for r in rows_of(place.root / "one.csv")) < 10


def test_from_the_middle_backward_and_with_corrections(place):
    middle = ("--box", "3:" + BOX, "--box", "cat@4:1,2,30,40", "--box", "1@5:40,30,20,10")
    assert place.static(place.clip, *middle, "--out", "a.mp4")[0] == 0
    found = [(row["frame"], row["target"], row["x"]) for row in rows_of(place.root / "a.csv")]
    assert found == [
        ("3", "1", "10.00"),
        ("4", "1", "10.00"),
        ("4", "cat", "1.00"),
        ("5", "1", "40.00"),
        ("5", "cat", "1.00"),
    ]
    assert [time for time, _ in read_av(place.root / "a.mp4")] == pytest.approx([0, 1 / 30, 2 / 30])
    back = ("--box", "3:" + BOX, "--box", "1@1:40,30,20,10", "--backward", "--out", "b.mp4")
    assert place.static(place.clip, *back)[0] == 0
    rows = rows_of(place.root / "b.csv")
    assert [(row["frame"], row["x"]) for row in rows] == [
        ("3", "10.00"),
        ("2", "10.00"),
        ("1", "40.00"),
        ("0", "40.00"),
    ]
    assert [row["time_s"] for row in rows] == ["0.100", "0.067", "0.033", "0.000"]
    assert len(read_clip(place.root / "b.mp4")[0]) == 4
    part = ("--box", BOX, "--start", 2, "--end", 3, "--out", "c.mp4")
    assert place.static(place.clip, *part)[0] == 0
    assert [row["frame"] for row in rows_of(place.root / "c.csv")] == ["2", "3"]


def test_a_box_after_the_end_is_said_and_the_rest_kept(place, monkeypatch):
    # A pipe does not say how many frames come.
    with open(place.clip) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, _, err = place.static("-", "--box", BOX, "--box", "1@9:" + BOX, "--out", "o.mp4")
    assert code == 1 and "ends at frame 5: the box of frame 9 was not reached" in err[0]
    assert len(rows_of(place.root / "o.csv")) == 6


def test_boxes_after_the_last_frame_that_is_wanted_are_left_out(place):
    code, _, _ = place.static(place.clip, "--box", BOX, "--box", "1@9:" + BOX, "--end", 4)
    assert code == 0 and len(rows_of(place.root / "my clip_static_box.csv")) == 5


@pytest.mark.parametrize("wrong", ["96,0,5,5", "7:" + BOX], ids=["outside", "no frame"])
@pytest.mark.parametrize("kind", ["video", "folder", "data set"])
def test_what_a_clip_does_not_have_is_said_before_the_network_is_built(
    place, monkeypatch, kind, wrong
):
    monkeypatch.setattr(lib.tracker.build, "build_tracker", None)
    sequence = write_got10k_folder(place.root / "set", ["a"], length=6) / "a"
    clip = {
        "video": (place.clip,),
        "folder": (sequence,),
        "data set": ("--dataset", sequence.parent),
    }[kind]
    code, _, err = place.seqtrack(*clip, "--box", wrong)
    assert code == 2 and ("lies outside" in err[0] or "has no frame 7; it has 6" in err[0])
    assert place.files() == ["set"]


def test_a_box_mostly_outside_of_the_picture_is_a_warning(place, caplog):
    boxes = ("--box", "90,10,18,14", "--box", "-10,20,18,14", "--box", "0,0,200,60")
    assert place.static(place.clip, *boxes)[0] == 0
    (record,) = caplog.records
    assert record.message == (
        "box 90,10,18,14 of frame 0: more than half of it lies outside of the picture, which is 96 "
        "pixels wide and 80 high"
    )
    caplog.clear()
    assert place.static(place.clip, "--box", "87,20,18,14", "--overwrite")[0] == 0
    assert not caplog.records, "half of it lies inside"


@pytest.mark.parametrize("form", ["csv", "json", "mot", "coco", "cvat"])
def test_annotations_come_out_and_go_in_again(place, form):
    boxes = ("--box", BOX, "--box", "4:1,2,30,40")
    code, out, _ = place.static(place.clip, *boxes, "--out", "a.mp4", "--format", form,
                                "--annotations", "notes." + form)  # fmt: skip
    assert code == 0 and f"written: notes.{form}" in out
    placed = read_boxes(place.root / f"notes.{form}", form)
    assert {frame: list(some.values()) for frame, some in placed.items()} == {
        frame: [(10, 20, 18, 14), (1, 2, 30, 40)][: 2 if frame >= 4 else 1] for frame in range(6)
    }
    if form == "mot":
        (place.root / "notes.txt").write_bytes((place.root / "notes.mot").read_bytes())
        again = place.static(place.clip, "--boxes", "notes.txt", "--out", "b.mp4", "--start", 4)
        assert again[0] == 0 and again[1][0].endswith("2 targets")
        assert [row["frame"] for row in rows_of(place.root / "b.csv")] == ["4", "4", "5", "5"]


class FakeWindow:
    """Draws one box, and wants no more after a number of pictures."""

    def __init__(self, boxes, pictures: int = 99) -> None:
        self.boxes, self.pictures, self.shown = boxes, pictures, []

    def select(self, picture):
        self.first = picture
        return self.boxes

    def show(self, picture) -> bool:
        self.shown.append(picture)
        return len(self.shown) < self.pictures

    def close(self) -> None:
        self.pictures = -1


def test_boxes_are_drawn_with_the_mouse_and_the_window_ends_it(place, monkeypatch):
    window = FakeWindow([(30.0, 20.0, 30.0, 20.0), (1.0, 2.0, 9.0, 9.0)], 4)
    monkeypatch.setattr(lib.video.window, "open_window", lambda: window)
    clip = write_clip(place.root / "c.mp4", [halves()] * 6)
    code, out, _ = place.static(clip, "--select", "--show", "--out", "a.mp4")
    assert code == 0 and out[0].endswith("targets by the mouse")
    assert near(window.first[55, 5, ::-1], RED), "pictures are BGR"
    assert [(row["frame"], row["target"]) for row in rows_of(place.root / "a.csv")] == [
        (str(frame), target) for frame in range(4) for target in "12"
    ]
    assert len(window.shown) == 4 and window.pictures == -1, "it is closed"
    monkeypatch.setattr(lib.video.window, "open_window", lambda: FakeWindow([]))
    code, _, err = place.static(clip, "--select", "--out", "b.mp4")
    assert code == 2 and "no target was drawn" in err[0] and "b.mp4" not in place.files()


def test_without_a_screen_a_window_is_refused_in_a_line(place, monkeypatch):
    """With OpenCV's own windows; and where there is an address of a screen, but no screen."""

    def refuse(*_):
        raise cv2.error("no display")

    for screen in ("", ":987"):
        monkeypatch.setenv("DISPLAY", screen)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        code, _, err = place.static(place.clip, "--box", BOX, "--show")
        assert code == 2 and "no window can be opened" in err[0] and place.files() == []
    monkeypatch.setattr(lib.video.window, "_opens_elsewhere", lambda: True)
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    code, _, err = place.static(place.clip, "--box", BOX, "--show")
    assert code == 2 and "no window can be opened" in err[0] and place.files() == []


def test_the_engine_that_was_asked_for_tracks_and_is_said(place):
    code, out, _ = place.seqtrack(place.clip, "--box", BOX, "--engine", "reference")
    assert code == 0 and "engine reference on cpu" in out[1]


class Impatient(Recorder):
    """Its process gets a signal in the fifth frame."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def track(self, image, info=None):
        if len(self.frames) == 4:
            os.kill(os.getpid(), self.number)
        return super().track(image)


@pytest.mark.parametrize(("signal_name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_finishes_both_files(place, monkeypatch, signal_name, code):
    tracker = Impatient(getattr(signal, signal_name))
    monkeypatch.setattr(lib.tracker.build, "build_tracker", lambda spec, device: tracker)
    ending, out, err = place.static(place.clip, "--box", BOX, "--out", "o.mp4")
    assert ending == code and "hold all frames until then" in err[0]
    assert out[1].startswith("4 frames in") and out[2:] == ["written: o.mp4", "written: o.csv"]
    assert len(read_clip(place.root / "o.mp4")[0]) == 4 == len(rows_of(place.root / "o.csv"))
    assert place.files() == ["o.csv", "o.mp4"]
    modes = {(place.root / name).stat().st_mode for name in ("o.mp4", "o.csv", "tiny.yaml")}
    assert len(modes) == 1, "as readable as any other file"


def test_the_script_and_the_command_are_there():
    script = [sys.executable, "tracking/video_demo.py", "--help"]
    done = subprocess.run(script, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    text = " ".join(done.stdout.split())
    assert "--box X,Y,W,H" in text and "how sure the tracker is of the box" in text
    assert COMMANDS["track"][0] == "lib.commands.track"
