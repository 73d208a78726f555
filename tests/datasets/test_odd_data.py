"""Data that is read without an error and is not what it seems: what is said of it, and where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.commands.entry import run
from lib.datasets.benchmarks import check
from lib.datasets.benchmarks.open import open_dataset
from tests.helpers.dataset_files import numbered, paths_of, write_frames, write_text

SIZE = (160, 120)
CORNERS = (
    "in 10 of 10 rows the box leaves the picture (160 x 120); are these corners (x1, y1, x2, y2), "
    "or labels of pictures of another size?"
)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture) -> Call:
    """Runs a command; gives exit code, output and errors."""

    def command(module: str, *words: object) -> tuple[int, str, str]:
        code = run(f"lib.commands.{module}", [str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def boxes(frames: int = 10) -> np.ndarray:
    steps = np.arange(frames)
    return np.column_stack([95 + steps, 70 + steps, np.full(frames, 24), np.full(frames, 20)])


def write_clip(folder: Path, rows: np.ndarray, frames: int | None = None) -> Path:
    write_frames(folder, numbered(frames or len(rows)), SIZE)
    text = "".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows)
    write_text(folder / "groundtruth.txt", text)
    return folder


def as_corners(rows: np.ndarray) -> np.ndarray:
    return np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:]])


def test_check_warns_of_corners_and_refuses_them_when_strict(call: Call, tmp_path: Path) -> None:
    for name in ("clip0", "clip1"):
        write_clip(tmp_path / "data" / name, as_corners(boxes()))
    code, out, _ = call("data", "check", tmp_path / "data")
    assert code == 0 and "nothing is wrong" not in out
    assert f"  warning: {tmp_path}/data/clip0/groundtruth.txt: {CORNERS}\n" in out
    assert "  2 warnings; with --strict that is wrong (exit 1)\n" in out
    code, out, _ = call("data", "check", tmp_path / "data", "--strict")
    assert code == 1 and "  wrong: 2 findings\n" in out
    assert f"  - {tmp_path}/data/clip1/groundtruth.txt: {CORNERS}\n" in out


def test_check_names_shares_of_the_picture(call: Call, tmp_path: Path) -> None:
    write_clip(tmp_path / "data" / "clip", boxes() / np.tile(SIZE, 2))
    code, out, _ = call("data", "check", tmp_path / "data")
    assert code == 0
    assert "clip/groundtruth.txt: no side of most boxes is longer than one pixel" in out


def test_check_has_no_word_on_sound_data(call: Call, tmp_path: Path) -> None:
    write_clip(tmp_path / "data" / "clip", boxes(24))
    code, out, _ = call("data", "check", tmp_path / "data", "--strict")
    assert code == 0 and "nothing is wrong" in out
    assert "warning" not in out and "note" not in out


def test_check_names_rows_that_are_no_boxes_in_the_picture(call: Call, tmp_path: Path) -> None:
    rows = boxes(24)
    rows[5:7] = -1
    rows[9] = [200, 40, 20, 20]
    write_clip(tmp_path / "data" / "clip", rows)
    out = call("data", "check", tmp_path / "data")[1]
    assert (
        "  note: "
        f"{tmp_path}/data/clip/groundtruth.txt: 2 rows without area, where the target counts as "
        "absent; the first is row 6 (-1, -1, -1, -1)\n" in out
    )
    assert (
        f"  warning: {tmp_path}/data/clip/groundtruth.txt: in 1 of 24 rows the box lies outside "
        "of the picture (160 x 120); the first is row 10 (200, 40, 20, 20)\n" in out
    )


def test_check_names_pictures_of_another_size_and_repeated_ones(call: Call, tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "data" / "clip", boxes(24))
    (folder / "00000004.jpg").write_bytes((folder / "00000003.jpg").read_bytes())
    write_frames(folder, ["00000024.jpg"], (200, 120))
    out = call("data", "check", tmp_path / "data")[1]
    assert "00000024.jpg: 200 x 120 pixels, but the first frame has 160 x 120" in out
    assert "note: clip: 1 frame of 24 the same as the one before; the first is" in out
    assert f"{folder}/00000004.jpg\n" in out


def test_check_says_what_a_training_can_be_drawn_from(call: Call, tmp_path: Path) -> None:
    hidden = boxes(30)
    hidden[6:] = 0
    for name, rows in (("long", boxes(24)), ("short", boxes(19)), ("unseen", hidden)):
        write_clip(tmp_path / "clips" / name, rows)
    out = call("data", "check", tmp_path / "clips")[1]
    assert (
        "note: for a training, 1 of 3 sequences can be drawn from, 2 cannot: fewer than 20 frames "
        "or 7 visible ones; the first is short\n" in out
    )


def test_tracking_says_it_once_and_goes_on(call: Call, tmp_path: Path) -> None:
    for name in ("clip0", "clip1"):
        write_clip(tmp_path / "data" / name, as_corners(boxes()))
    words = ("--dataset", tmp_path / "data", "--save_dir", tmp_path / "save")
    code, _, err = call("test", "static_box", "default", *words)
    assert code == 0
    assert err.count("warning: ") == 1
    assert f"warning: {tmp_path}/data/clip0/groundtruth.txt: {CORNERS}\n" in err


def test_a_video_of_a_folder_says_it(call: Call, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip", as_corners(boxes()))
    out = tmp_path / "out.mp4"
    code, _, err = call("track", tmp_path / "clip", "--tracker", "static_box", "--out", out)
    assert code == 0
    assert f"warning: {tmp_path}/clip/groundtruth.txt: {CORNERS}\n" in err


def test_only_a_few_sequences_are_looked_at_before_tracking(tmp_path: Path) -> None:
    for number in range(3):
        odd = number == 2
        write_clip(tmp_path / f"clip{number}", as_corners(boxes()) if odd else boxes())
    dataset = open_dataset(str(tmp_path), paths_of(tmp_path))
    names = list(dataset.sequence_names)
    assert check.first_odd_boxes(dataset, names, most=2) is None
    assert "clip2" in (check.first_odd_boxes(dataset, names, most=3) or "nothing")
    # One that cannot be read is named when its turn comes.
    (tmp_path / "clip0" / "groundtruth.txt").write_text("")
    assert "clip2" in (check.first_odd_boxes(dataset, names, most=3) or "nothing")
