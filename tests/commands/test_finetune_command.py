"""`train --finetune`: one's own clips as training data, before and after, what is kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.annotations.rows import ClipFacts, TargetRow
from lib.annotations.write import write_annotations
from lib.commands._finetune import check_name, plan_finetuning
from lib.commands._own_clips import prepare
from lib.commands.entry import run
from lib.commands.train import build_parser
from lib.config.loader import load_config
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.folder import open_folder
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import read_state_dict, save_checkpoint
from lib.utils.errors import ConfigError, DataError
from lib.utils.image_io import read_rgb, write_rgb
from tests.helpers.tiny import draw_sequence, write_got10k_folder
from tests.helpers.train_command import QUICK, SHRUNK
from tests.helpers.video_files import number_in, numbered, write_av

BOX = (10.0, 12.0, 20.0, 16.0)
FACTS = ClipFacts("clip.mp4", 96, 64, 25.0)


def boxes_of(frames, target=1, **facts):
    return [TargetRow(i, i / 25, target, BOX, **facts) for i in frames]


def annotate(path: Path, rows, format="csv") -> Path:
    write_annotations(path, rows, format, FACTS)
    return path


def video(path: Path, count: int) -> Path:
    return write_av(path, numbered(count), options={"crf": "10"})


def numbers(folder: Path) -> list[int]:
    """The numbers that the pictures of a sequence show."""
    return [number_in(read_rgb(path)) for path in sorted((folder / "img").iterdir())]


# clips --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["csv", "json", "mot", "coco", "cvat"])
def test_a_single_clip_is_split_by_time(tmp_path, format):
    suffix = {"csv": "csv", "json": "json", "mot": "txt", "coco": "json", "cvat": "xml"}[format]
    clip = video(tmp_path / "clip.mp4", 100)
    boxes = annotate(tmp_path / f"clip.{suffix}", boxes_of(range(100)), format)
    own = prepare([boxes], [clip], 0.25, tmp_path / "out")
    assert "frames 0 to 69 to train on, 75 to 99 held out" in own.split
    assert numbers(own.train / "clip") == list(range(70))
    assert numbers(own.held_out / "clip") == list(range(75, 100))
    (name,) = open_folder(own.held_out).sequence_names
    assert open_folder(own.held_out).load(name).init_box == BOX


def test_targets_are_tracks_and_frames_without_a_box_are_absences(tmp_path):
    video(tmp_path / "a.mp4", 40)
    (tmp_path / "b").mkdir()
    for i, picture in enumerate(draw_sequence(30)[0]):
        write_rgb(tmp_path / "b" / f"{i:03d}.png", picture)
    seen = [*range(5, 15), *range(20, 40)]
    rows = [*boxes_of(seen), *boxes_of(range(3), target="short"), *boxes_of(range(25), "red car")]
    annotate(tmp_path / "a.csv", rows)
    annotate(tmp_path / "b.csv", boxes_of(range(30)))
    own = prepare([tmp_path], [], 0.5, tmp_path / "out")
    assert "2 clips: 1 to train on, 1 held out (b)" in own.split
    assert {path.name for path in own.train.iterdir()} == {"a-1", "a-red_car"}
    assert numbers(own.train / "a-1") == list(range(5, 40))
    track = open_folder(own.train).load("a-1")
    assert track.visible is not None
    assert np.flatnonzero(~track.visible).tolist() == list(range(10, 15))
    assert open_folder(own.train).protocol == "lasot"
    # Pictures are linked to, not copied.
    assert (own.held_out / "b" / "img" / "00000001.png").is_symlink()


def test_sequences_are_divided_and_linked_to(tmp_path):
    write_got10k_folder(tmp_path / "own", list("abcdefgh"), length=20)
    own = prepare([tmp_path / "own"], [], 0.25, tmp_path / "out")
    held = [path.name for path in sorted(own.held_out.iterdir())]
    assert held == ["c", "g"] and len(list(own.train.iterdir())) == 6
    assert open_folder(own.held_out).sequence_names == ("c", "g")
    assert (own.train / "a").is_symlink()


def test_a_single_sequence_is_split_by_time(tmp_path):
    write_got10k_folder(tmp_path / "own", ["a"], length=90)
    own = prepare([tmp_path / "own" / "a"], [], 0.3, tmp_path / "out")
    assert own.split.startswith("1 clip, split by time")
    train, held = (open_folder(part).load("a") for part in (own.train, own.held_out))
    assert len(train) == 59 and len(held) == 27
    expected = open_folder(tmp_path / "own").load("a").ground_truth
    assert np.allclose(held.ground_truth, expected[63:])


def test_the_layout_of_motchallenge(tmp_path):
    for name in ("01", "02"):
        folder = tmp_path / "own" / name
        write_got10k_folder(folder, ["img1"], length=25)
        (folder / "img1" / "groundtruth.txt").unlink()
        (folder / "gt").mkdir()
        annotate(folder / "gt" / "gt.txt", boxes_of(range(25), 7), "mot")
    own = prepare([tmp_path / "own"], [], 0.25, tmp_path / "out")
    assert [path.name for part in (own.train, own.held_out) for path in part.iterdir()] in (
        ["01", "02"],
        ["02", "01"],
    )


def test_what_is_there_is_taken_again_until_it_changes(tmp_path):
    write_got10k_folder(tmp_path / "own", ["a", "b"], length=20)
    own = prepare([tmp_path / "own"], [], 0.25, tmp_path / "out")
    about = (own.train.parent / "about.json").stat().st_mtime_ns
    assert prepare([tmp_path / "own"], [], 0.25, tmp_path / "out") == own
    assert (own.train.parent / "about.json").stat().st_mtime_ns == about
    write_got10k_folder(tmp_path / "own", ["c"], length=20)
    other = prepare([tmp_path / "own"], [], 0.25, tmp_path / "out")
    assert "3 clips" in other.split and other.train != own.train and not own.train.exists()


@pytest.mark.parametrize(
    ("frames", "boxes", "words"),
    [
        pytest.param(30, range(60), "boxes up to frame 59, but clip has 30", id="another clip"),
        pytest.param(40, range(40), "boxes in 40 frames are too few", id="too short"),
    ],
)
def test_clips_that_cannot_be_used(tmp_path, frames, boxes, words):
    clip = video(tmp_path / "clip.mp4", frames)
    with pytest.raises(DataError, match=words):
        prepare([annotate(tmp_path / "clip.csv", boxes_of(boxes))], [clip], 0.4, tmp_path / "out")


def test_boxes_without_a_clip(tmp_path):
    boxes = annotate(tmp_path / "boxes.xml", boxes_of(range(50)), "cvat")
    with pytest.raises(DataError, match=r"which clip are these boxes of\? .*--video"):
        prepare([boxes], [], 0.25, tmp_path / "out")
    with pytest.raises(ConfigError, match="--video is given 2 times, and --data 1 times"):
        prepare([boxes], [tmp_path, tmp_path], 0.25, tmp_path / "out")


def test_a_box_outside_of_the_picture_is_said_as_data_check_does(tmp_path):
    write_got10k_folder(tmp_path / "own", ["a", "b"], length=20)
    (tmp_path / "own" / "b" / "groundtruth.txt").write_text("500,500,10,10\n" * 20)
    with pytest.raises(Exception, match="lies outside of"):
        prepare([tmp_path / "own"], [], 0.25, tmp_path / "out")


# the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return write_got10k_folder(tmp_path_factory.mktemp("clips"), list("abcd"), length=20)


class Place:
    def __init__(self, root: Path, own: Path, capsys) -> None:
        self.own, self.save, self.capsys = own, root / "save", capsys
        self.folder = self.save / "checkpoints" / "train" / "seqtrack" / "mine"
        self.start = root / "start.pth.tar"
        network = build_seqtrack(load_config("seqtrack_b256", SHRUNK))
        save_checkpoint(self.start, {"epoch": 1, "net": network.state_dict()})

    def tune(self, *options, sets=()):
        words = ["--finetune", "--config", "seqtrack_b256", "--init-from", str(self.start)]
        words += ["--data", str(self.own), "--name", "mine", "--device", "cpu", "--held-out", "0.5"]
        words += ["--save-dir", str(self.save), "--set", *SHRUNK, *QUICK, *sets]
        words += ["DATA.TRAIN.DATASETS_RATIO=[1, 0]", "DATA.VAL.SAMPLE_PER_EPOCH=4", *options]
        code = run("lib.commands.train", words)
        captured = self.capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture
def place(tmp_path, own, capsys):
    return Place(tmp_path, own, capsys)


@pytest.mark.parametrize("preset", ["full", "lora", "frozen"])
def test_the_whole_command(place, preset):
    lora = ["TRAIN.LORA_RANK=2"] if preset == "lora" else []
    code, out, err = place.tune("--preset", preset, sets=["TRAIN.LR=0.01", *lora])
    text = "\n".join(out)
    assert code == 0, err
    assert "4 clips: 2 to train on, 2 held out (b, d)" in text and f"preset {preset}: " in text
    assert "parameters train; about 0.0" in text and "[val: 0] " in text
    assert "  AUC: " in next(line for line in out if "[val: 1] " in line)
    assert "held out: AUC " in text and " before, " in text and "2 clips" in text
    record = json.loads((place.folder / "finetune.json").read_text())
    assert record["clips"] == ["b", "d"]
    assert record["difference"] == pytest.approx(record["after"] - record["before"])
    assert (place.folder / "finetune.html").stat().st_size > 10_000
    start, final = (read_state_dict(f) for f in (place.start, place.folder / "SEQTRACK.pth.tar"))
    assert start.keys() == final.keys()
    files = {path: path.stat().st_mtime_ns for path in place.folder.iterdir()}
    code, out, _ = place.tune("--preset", preset, sets=["TRAIN.LR=0.01", *lora])
    assert code == 0 and out[-1] == record["result"]
    assert files == {path: path.stat().st_mtime_ns for path in place.folder.iterdir()}


def test_no_gain_keeps_the_weights_of_before(place):
    """A learning rate at which nothing moves."""
    code, out, err = place.tune(sets=["TRAIN.LR=1e-30", "TRAIN.WEIGHT_DECAY=0"])
    assert code == 0 and "no gain, so " in "\n".join(out), err
    start, final = (read_state_dict(f) for f in (place.start, place.folder / "SEQTRACK.pth.tar"))
    assert all((start[name] == final[name]).all() for name in start)


@pytest.mark.parametrize(
    ("instructions", "given", "used"),
    [
        pytest.param(False, [], "fp32", id="emulated"),
        pytest.param(False, ["--precision", "bf16"], "bf16", id="emulated, and asked for"),
        pytest.param(True, [], "bf16", id="as the configuration says"),
    ],
)
def test_bf16_is_left_out_where_a_cpu_emulates_it(place, monkeypatch, instructions, given, used):
    monkeypatch.setattr("lib.utils.device.computes_bf16", lambda device: instructions)
    monkeypatch.setattr("lib.train.memory.expected_memory", lambda cfg: "")  # takes a while
    words = ["--finetune", "--data", str(place.own), "--device", "cpu", "--name", "mine", *given]
    args = build_parser().parse_args(words)
    precision = [f"TRAIN.PRECISION={args.precision}"] if args.precision else []
    tuning = plan_finetuning(args, precision, resolve_paths(None, place.save))
    assert tuning is not None and tuning.cfg.train.precision == used


def test_samples_fit_the_motion_and_epochs_are_judged_by_tracking(place, monkeypatch):
    """The target of these clips is sqrt(18 * 14) wide and moves by 2 pixels a frame."""
    monkeypatch.setattr("lib.train.memory.expected_memory", lambda cfg: "")  # takes a while
    words = ["--finetune", "--data", str(place.own), "--device", "cpu", "--name", "mine"]
    args, paths = build_parser().parse_args(words), resolve_paths(None, place.save)
    tuning = plan_finetuning(args, [], paths)
    assert tuning is not None
    data = tuning.cfg.data
    assert data.search.center_jitter == pytest.approx(2 * (2 / 252**0.5 + 0.25), abs=0.01)
    assert data.val.sequences_name == str(tuning.own.held_out)
    assert (data.val.sequences_number, data.val.sequences_frames) == (1, 1000)
    # What is asked for goes first.
    asked = plan_finetuning(args, ["DATA.SEARCH.CENTER_JITTER=3"], paths)
    assert asked is not None and asked.cfg.data.search.center_jitter == 3


def test_a_dry_run_says_the_memory_and_leaves_no_weights(place):
    code, out, err = place.tune("--dry-run")
    text = "\n".join(out)
    assert code == 0, err
    assert "parameters train; about" in text and "estimated:" in text
    assert not list(place.save.rglob("*.tar"))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param(["--data", "x"], "--data is for --finetune", id="data alone"),
        pytest.param([], "--config NAME is needed", id="nothing"),
        pytest.param(["--finetune"], "--finetune needs --data PATH", id="no data"),
        pytest.param(["--finetune", "--data", "nowhere.csv"], "nowhere.csv", id="no such file"),
        pytest.param(
            ["--finetune", "--data", "x", "--preset", "lorra"], "did you mean 'lora'", id="preset"
        ),
    ],
)
def test_wrong_words(capsys, tmp_path, words, problem):
    assert run("lib.commands.train", [*words, "--save-dir", str(tmp_path)]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../../checkpoints", "is no plain name of a folder"),
        ("..", "is no plain name of a folder"),
        ("/", "is no plain name of a folder"),
        ("seqtrack_tiny", "weights of its own"),
    ],
)
def test_a_name_that_would_reach_other_files(name, problem):
    with pytest.raises(ConfigError, match=problem):
        check_name(name)
    assert check_name("my_cells.v2") == "my_cells.v2"


def test_clips_are_made_among_files_that_are_not_ours(tmp_path):
    """A folder for the clips that has something else in it loses nothing."""
    root = write_got10k_folder(tmp_path / "place", ["kept"], length=3)
    (root / "0123456789ab").mkdir()
    (root / "0123456789ab" / "mine.txt").write_text("kept")
    before = sorted(path for path in root.rglob("*"))
    for name in "ab":
        data = write_got10k_folder(tmp_path / name, list("xyzw"), length=20)
        prepare([data], [], 0.25, root)
    assert set(before) <= set(root.rglob("*"))
    assert len(list(root.glob("*/about.json"))) == 1, "those of other clips are gone"
