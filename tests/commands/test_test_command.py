"""`python tracking/test.py`: spellings, exit codes, and one clear line for every wrong input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.commands.entry import run
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import save_checkpoint
from tests.helpers.tiny import TINY_YAML, tiny_config, write_got10k_folder

REPOSITORY = Path(__file__).parents[2]


class Workplace:
    """A folder with a config, weights and videos, and a way to run the command there."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture) -> None:
        self.root, self.capsys = root, capsys
        (root / "tiny.yaml").write_text(TINY_YAML)
        torch.manual_seed(0)
        save_checkpoint(root / "tiny.pth.tar", {"net": build_seqtrack(tiny_config()).state_dict()})
        self.videos = write_got10k_folder(root / "videos", ["a", "b"])
        self.results = root / "test" / "tracking_results" / "seqtrack" / "tiny" / "videos"

    def run(self, *arguments, config="tiny.yaml", checkpoint="tiny.pth.tar", dataset="videos"):
        """Exit code, standard output and the lines of standard error."""
        argv = ["--config", str(self.root / config) if "." in config else config]
        argv += ["--dataset", str(self.root / dataset) if dataset == "videos" else dataset]
        if checkpoint:
            argv += [
                "--checkpoint",
                str(self.root / checkpoint) if "." in checkpoint else checkpoint,
            ]
        argv += ["--save_dir", str(self.root), "--device", "cpu", *map(str, arguments)]
        code = run("lib.commands.test", argv)
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err.strip().splitlines()


@pytest.fixture
def place(tmp_path, capsys):
    return Workplace(tmp_path, capsys)


def rows(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_run_and_its_files(place):
    code, out, _ = place.run()
    assert code == 0 and "2 sequences tracked" in out
    for name in ("a", "b"):
        boxes = rows(place.results / f"{name}.txt")
        assert len(boxes) == 4 and boxes[0] == "10\t20\t18\t14"
        assert all(int(v) == float(v) for row in boxes for v in row.split("\t"))
        assert len(rows(place.results / f"{name}_time.txt")) == 4
        scores = [float(row) for row in rows(place.results / f"{name}_confidence.txt")]
        assert len(scores) == 4 and scores[0] == 40 and all(0 < v < 40 for v in scores[1:])
    assert place.run()[1].startswith("seqtrack/tiny on videos: 2 sequences\n0 sequences tracked, 2")


def test_known_spelling_and_short_spelling_agree(place, tmp_path):
    place.run("--sequence", "a")
    other = tmp_path / "other"
    config = str(place.root / "tiny.yaml")
    argv = ["seqtrack", config, "--dataset_name", str(place.videos), "--sequence", "0"]
    argv += ["--checkpoint", str(place.root / "tiny.pth.tar"), "--threads", "1"]
    assert run("lib.commands.test", [*argv, "--save_dir", str(other), "--device", "cpu"]) == 0
    found = [p for p in other.rglob("*.txt") if p.name == "a.txt"]
    assert [p.relative_to(other) for p in found] == [
        (place.results / "a.txt").relative_to(place.root)
    ]
    assert rows(found[0]) == rows(place.results / "a.txt")
    assert not (found[0].parent / "b.txt").exists()


def test_static_box_needs_no_weights(place, tmp_path):
    argv = ["static_box", "default", "--dataset", str(place.videos), "--save_dir", str(tmp_path)]
    assert run("lib.commands.test", argv) == 0
    folder = tmp_path / "test" / "tracking_results" / "static_box" / "default" / "videos"
    assert set(rows(folder / "a.txt")) == {"10\t20\t18\t14"}


def test_runid_float_results_and_max_frames(place):
    code, _, _ = place.run("--runid", 7, "--float-results", "--max-frames", 3)
    folder = place.results.parent.with_name("tiny_007") / "videos"
    assert code == 0 and len(rows(folder / "a.txt")) == 3
    assert "." in rows(folder / "a.txt")[1]
    record = json.loads((folder / "run.json").read_text())
    assert (record["max_frames"], record["float_results"]) == (3, True)


def test_another_run_does_not_mix_in(place):
    place.run()
    before = rows(place.results / "a.txt")
    code, _, err = place.run(checkpoint="random")
    assert code == 2 and "checkpoint_sha256 was" in err[-1] and "--overwrite" in err[-1]
    assert rows(place.results / "a.txt") == before
    argv = ["--config", str(place.root / "tiny.yaml"), "--dataset", str(place.videos)]
    argv += ["--checkpoint", "random", "--save_dir", str(place.root), "--device", "cpu"]
    assert run("lib.commands.test", argv) == 2
    assert run("lib.commands.test", [*argv, "--overwrite"]) == 0
    assert run("lib.commands.test", [*argv, "--runid", "1"]) == 0


def test_videos_that_moved_are_gone_on_with(place):
    """To another disk, say, or with the machine; the message used to offer to delete results."""
    argv = ["static_box", "default", "--save_dir", str(place.root), "--dataset"]
    assert run("lib.commands.test", [*argv, str(place.videos), "--sequence", "a"]) == 0
    moved = place.root / "disk" / "videos"
    moved.parent.mkdir()
    place.videos.rename(moved)
    place.capsys.readouterr()
    assert run("lib.commands.test", [*argv, str(moved)]) == 0
    assert "1 sequence tracked" in (out := place.capsys.readouterr().out)
    assert "1 were complete already" in out
    # Others of the same names.
    write_got10k_folder(place.root / "later" / "videos", ["a", "b"], length=5)
    assert run("lib.commands.test", [*argv, str(place.root / "later" / "videos")]) == 2
    assert "other sequences lie" in place.capsys.readouterr().err


def test_a_folder_called_as_a_benchmark_has_results_of_its_own(place, caplog):
    """`--dataset lasot` would take them for its own, and so would its scores."""
    folder = write_got10k_folder(place.root / "lasot", ["airplane-1"])
    argv = ["static_box", "default", "--dataset", str(folder), "--save_dir", str(place.root)]
    assert run("lib.commands.test", argv) == 0
    assert "its results and scores are those of 'lasot_folder'" in caplog.text
    (result,) = place.root.rglob("airplane-1.txt")
    assert result.parent.name == "lasot_folder"
    assert json.loads((result.parent / "run.json").read_text())["dataset"] == "lasot_folder"
    assert run("lib.commands.analyze", argv) == 0
    assert "lasot_folder" in place.capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--batch-size", 2)])
def test_two_configurations_of_one_name_are_refused(place, options):
    """The second would find the results of the first complete, and report them as its own."""
    for number, name in enumerate(("a", "b")):
        (place.root / f"exp{name}").mkdir()
        text = TINY_YAML.replace("WINDOW: true", "WINDOW: false") if number else TINY_YAML
        (place.root / f"exp{name}" / "mine.yaml").write_text(text)
    both = [str(place.root / f"exp{name}" / "mine.yaml") for name in ("a", "b")]
    code, _, err = place.run(
        "--config", both[1], *options, config="expa/mine.yaml", checkpoint="random"
    )
    assert code == 2 and all(word in err[-1] for word in (*both, "'mine'", "--runid"))
    assert not list(place.root.rglob("run.json"))


def test_a_changed_tracker_setting_is_another_run(place):
    place.run()
    code, _, err = place.run("--set", "TEST.WINDOW=false")
    assert code == 2 and "TEST.WINDOW was True and is now False" in err[-1]
    assert place.run("--set", "TRAIN.NUM_WORKER=3")[0] == 0  # says nothing about tracking


def test_results_in_other_precisions_do_not_mix(place):
    place.run("--sequence", "a")
    code, _, err = place.run("--precision", "bf16")
    assert code == 2 and "ENGINE was 'fp32' and is now 'torch bf16'" in err[-1]
    place.run("--precision", "bf16", "--overwrite")
    assert place.run()[0] == 2
    assert place.run("--set", "TEST.HOLD_BELOW=0.1", "--precision", "bf16")[0] == 2


def make_hostile(path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {path.parent / 'PWNED'}",)

    torch.save({"net": Attack()}, path)


@pytest.mark.parametrize(
    ("change", "kwargs", "said"),
    [
        (None, {"config": "seqtrack_b265"}, ["seqtrack_b265", "did you mean", "seqtrack_b256"]),
        (None, {"dataset": "lasott"}, ["lasott", "did you mean 'lasot'"]),
        ("MODEL: {BINZ: 3}\n", {}, ["tiny.yaml:1", "MODEL.BINZ", "BINS"]),
        (None, {"checkpoint": ""}, ["SEQTRACK.pth.tar", "SEQTRACK_ep", "--checkpoint"]),
        (None, {"checkpoint": "gone.pth.tar"}, ["gone.pth.tar"]),
        ("hostile", {"checkpoint": "bad.pth.tar"}, ["bad.pth.tar", "system"]),
        ("truncated", {"checkpoint": "bad.pth.tar"}, ["bad.pth.tar"]),
        ("l384", {"config": "seqtrack_b256"}, ["tiny.pth.tar"]),
        ("empty", {"dataset": "empty"}, ["empty"]),
        ("no_truth", {"dataset": "no_truth"}, ["no_truth", "groundtruth"]),
    ],
    ids=[
        "unknown config", "unknown data set", "unknown key", "no checkpoint", "missing checkpoint",
        "hostile checkpoint", "truncated checkpoint", "another model's checkpoint", "empty folder",
        "folder without ground truth",
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_code_2(place, change, kwargs, said, monkeypatch):
    monkeypatch.chdir(place.root)
    bad = place.root / "bad.pth.tar"
    if change == "hostile":
        make_hostile(bad)
    elif change == "truncated":
        bad.write_bytes((place.root / "tiny.pth.tar").read_bytes()[:20000])
    elif change == "empty":
        (place.root / "empty").mkdir()
    elif change == "no_truth":
        folder = write_got10k_folder(place.root / "no_truth", ["a"])
        (folder / "a" / "groundtruth.txt").unlink()
    elif change and change.startswith("MODEL"):
        (place.root / "tiny.yaml").write_text(change)
    if "dataset" in kwargs and (place.root / kwargs["dataset"]).exists():
        kwargs = {**kwargs, "dataset": str(place.root / kwargs["dataset"])}
    code, _, err = place.run(**kwargs)
    assert code == 2
    errors = [line for line in err if line.startswith("error: ")]
    assert len(errors) == 1 and all(word in "\n".join(err) for word in said), err
    assert not any("Traceback" in line for line in err)
    assert not (place.root / "PWNED").exists()
    assert not list(place.results.glob("*"))


def test_a_full_disk_is_one_line_and_code_1(place, monkeypatch):
    """Nothing was written, but something was done."""

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    (place.root / "mine.yaml").write_text(TINY_YAML)
    code, _, err = place.run("--config", str(place.root / "mine.yaml"), checkpoint="random")
    assert code == 1 and err[-1].startswith(f"error: {place.results}: the disk is full")
    assert "2 of 2 sequences are left" in err[-1] and "not begun: seqtrack/mine" in err[-1]
    assert not any("Traceback" in line for line in err)


def test_unreadable_image_in_the_middle(place):
    broken = place.videos / "a" / "00000003.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    code, _, err = place.run()
    (line,) = [line for line in err if line.startswith("failed: ")]
    assert code == 1 and str(broken) in line
    assert not (place.results / "a.txt").exists() and (place.results / "b.txt").exists()


def test_ground_truth_with_nan(place):
    truth = place.videos / "a" / "groundtruth.txt"
    lines = rows(truth)
    truth.write_text("\n".join([lines[0], "nan,nan,nan,nan", *lines[2:]]))
    code, _, err = place.run()
    (line,) = [line for line in err if line.startswith("failed: ")]
    assert code == 1 and "groundtruth.txt:2" in line and "nan" in line.lower()
    # On a large folder the end is hours away.
    early = [line.partition(": ")[0] for line in err]
    assert early.index("cannot be started") < early.index("[1/1] b")
    assert "cannot be started" + line.removeprefix("failed") in err
    assert (place.results / "b.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sequence", "\u00b2"], "sequence '\u00b2'"),
        (["--device", "cuda:"], "unknown device 'cuda:'"),
        (["--device", "cpu:3"], "unknown device 'cpu:3'"),
        (["--num_gpus", "2"], "--num-gpus"),
        (["--dataset", "~nobody_here/x"], "no home folder"),
        (["--checkpoint", "~nobody_here/x"], "no home folder"),
        (["--checkpoint", "x" * 300], "x" * 100),
        (["--save_dir", "/dev/null/x"], "/dev/null"),
        (["--set", "MODEL.BINS=100000000000", "--checkpoint", "random"], "cannot be built"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_odd_arguments_are_one_line_and_code_2(place, arguments, said):
    code, _, err = place.run(*arguments)
    assert code == 2, err
    (line,) = [line for line in err if line.startswith("error: ")]
    assert said in line and not any("Traceback" in line for line in err)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b"])
def test_a_name_that_is_no_folder_is_refused(place, name):
    argv = ["static_box", name, "--dataset", str(place.videos), "--save_dir", str(place.root)]
    assert run("lib.commands.test", argv) == 2
    assert "plain word" in place.capsys.readouterr().err


def test_damaged_weights_do_not_track(place):
    network = build_seqtrack(tiny_config())
    network.bottleneck.weight.data[:] = float("nan")
    save_checkpoint(place.root / "tiny.pth.tar", {"net": network.state_dict()})
    code, _, err = place.run()
    assert code == 2 and "bottleneck.weight has" in err[-1] and "not finite" in err[-1]
    assert not (place.results / "a.txt").exists()


def test_a_reader_that_goes_away_does_not_stop_the_work(place):
    command = [sys.executable, "tracking/test.py", "static_box", "default", "--dataset"]
    command += [str(place.videos), "--save_dir", str(place.root)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    folder = place.root / "test" / "tracking_results" / "static_box" / "default" / "videos"
    assert len(rows(folder / "b.txt")) == 4


def test_overwriting_one_sequence_of_another_run_is_refused(place):
    """It would remove the results of all the others, which nobody asked for."""
    place.run()
    code, _, err = place.run("--overwrite", "--sequence", "a", "--max-frames", 2)
    assert code == 2 and "leave --sequence out" in err[-1]
    assert len(rows(place.results / "a.txt")) == len(rows(place.results / "b.txt")) == 4
    assert place.run("--overwrite", "--sequence", "a")[0] == 0  # the same run: harmless
    assert place.run("--overwrite", "--max-frames", 2)[0] == 0
    assert len(rows(place.results / "b.txt")) == 2


def test_both_spellings_of_an_option(place):
    assert place.run("--max_frames", 2, "--float_results", "--num-gpus=0")[0] == 0
    assert len(rows(place.results / "a.txt")) == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--config", "x", "--dataset", "y", "--overwrit"], "did you mean '--overwrite'"),
        (["--config", "x", "--dataset", "y", "--threads", "two"], "'two' is not a whole number"),
        (["seqtrack_b265", "--dataset", "y"], "did you mean 'seqtrack_b256'"),
        (["seqtrack", "--dataset", "y"], "'seqtrack' alone names no configuration"),
        (["--dataset", "y"], "no configuration is given"),
        (["--config", "a", "--dataset", "otb", "uav"], "'uav' is a data set: give one at a time"),
        (["--config", "gone.yaml", "--dataset", "y"], "no configuration file 'gone.yaml'"),
    ],
)
def test_wrong_arguments_are_one_line(argv, said, capsys):
    try:
        code = run("lib.commands.test", argv)
    except SystemExit as ending:
        code = ending.code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and said in line


def test_a_wrong_line_is_answered_before_torch_is_imported():
    script = (
        "import sys; from lib.commands.entry import run;"
        "code = run('lib.commands.test', ['--config', 'x', '--dataset', 'y']);"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False"]


def test_a_first_box_outside_the_image_names_the_annotation(place):
    truth = place.videos / "a" / "groundtruth.txt"
    truth.write_text("900,900,10,10\n" * 4)
    code, _, err = place.run()
    assert code == 1 and str(truth) in err[-1] and "first box" in err[-1]


def test_many_failures_fit_a_screen(place):
    for i in range(30):
        (place.videos / f"bad{i:02d}").mkdir()
        (place.videos / f"bad{i:02d}" / "groundtruth.txt").write_text("1,2,3,4\n")
    code, _, err = place.run()
    failures = [line for line in err if line.startswith("failed: ")]
    assert code == 1 and len(failures) == 21
    assert failures[-1].startswith("failed: 10 more: bad20, bad21")


def test_bad_sequence_names(place):
    code, _, err = place.run("--sequence", "aa")
    assert code == 2 and "'aa'" in err[-1]
    code, _, err = place.run("--sequence", "2")
    assert code == 2 and "0 to 1" in err[-1]


@pytest.mark.parametrize(("signal_name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("threads", ["0", "1"])
def test_interrupting_keeps_finished_sequences(place, signal_name, code, threads):
    """The second sequence is endless for our patience; the first one must be whole on disk."""
    frames = sorted((place.videos / "b").glob("*.jpg"))
    for i in range(5, 3001):
        (place.videos / "b" / f"{i:08d}.jpg").hardlink_to(frames[i % 4])
    truth = np.loadtxt(place.videos / "b" / "groundtruth.txt", delimiter=",")
    np.savetxt(place.videos / "b" / "groundtruth.txt", truth[np.arange(3000) % 4], delimiter=",")
    command = [sys.executable, "tracking/test.py", "--config", str(place.root / "tiny.yaml")]
    command += ["--dataset", str(place.videos), "--checkpoint", str(place.root / "tiny.pth.tar")]
    command += ["--save_dir", str(place.root), "--threads", threads, "--device", "cpu"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (place.results / "a.txt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(getattr(signal, signal_name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err
    assert len(rows(place.results / "a.txt")) == 4
    assert not (place.results / "b.txt").exists()
