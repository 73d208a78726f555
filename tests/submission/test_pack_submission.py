"""Submissions: what the servers take is packed, anything else is named; raw results stay as is."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from lib.commands.entry import run
from lib.results.files import ResultsFolder
from tests.helpers.benchmark_files import fill
from tests.helpers.dataset_files import boxes_text, numbered, write_text

FRAMES = 3
GIVEN = "10.5,20.25,30.0,40.0\n"
GOT10K = tuple(f"GOT-10k_Test_{number:06d}" for number in range(1, 181))
# Names that the original leaves out, and one that looks like a file of times.
ODD = ("EoallCLchmo_0", "all_0", "timeless_1", "abc_time")
VIDEOS = (*ODD, *(f"-video_{number:03d}" for number in range(507)))
NAMES = {"got10k": GOT10K, "trackingnet": VIDEOS}


class Trees:
    """Raw results of every sequence, without and with the data sets."""

    def __init__(self, root: Path) -> None:
        self.data, self.save = root / "data", root / "save"
        self.names_file = root / "videos.txt"
        write_text(self.names_file, "".join(f"{name}\n" for name in VIDEOS))

    def track(self, server: str, run_name: str = "any") -> ResultsFolder:
        """As `tracking/test.py` writes them; times are 0.1, 0.2 and so on."""
        root = self.save / "test/tracking_results/seqtrack" / run_name / server
        for name in NAMES[server]:
            write_text(root / f"{name}.txt", boxes_text(FRAMES, separator="\t"))
            times = "".join(f"0.{i}00000\n" for i in range(1, FRAMES + 1))
            write_text(root / f"{name}_time.txt", times)
            write_text(root / f"{name}_confidence.txt", times)
            write_text(root / f"{name}_certainty.txt", times)
        write_text(root / "run.json", f'{{"dataset": "{self.data_set(server)}"}}')
        return ResultsFolder(root)

    def write_data(self, server: str) -> Path:
        """The test set with all sequences and frames; returns the folder of the first one's."""
        root = self.data / server / ("test" if server == "got10k" else "TEST")
        for name in NAMES[server]:
            if server == "got10k":
                fill(root / name, numbered(FRAMES))
                write_text(root / name / "groundtruth.txt", GIVEN)
            else:
                fill(root / "frames" / name, numbered(FRAMES, "%d.jpg", 0))
                write_text(root / "anno" / f"{name}.txt", GIVEN)
        if server == "trackingnet":
            return root / "frames" / NAMES[server][0]
        write_text(root / "list.txt", "".join(f"{name}\n" for name in GOT10K))
        return root / GOT10K[0]

    def data_set(self, server: str) -> str:
        return "got10k_test" if server == "got10k" else server

    def pack(self, server: str, *arguments: str, names: bool = True) -> int:
        common = ["--config", "any", "--data_dir", str(self.data), "--save_dir", str(self.save)]
        if server == "trackingnet" and names:
            common += ["--names", str(self.names_file)]
        return run("lib.commands.submit", [server, *common, *arguments])


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trees:
    for name in ("SEQTRACK_DATA", "SEQTRACK_SAVE"):
        monkeypatch.delenv(name, raising=False)
    return Trees(tmp_path)


def digests(root: Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of every file below `root`."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in root.rglob("*")
        if path.is_file()
    }


def expected_listing(server: str, runs: int = 1) -> list[str]:
    if server == "trackingnet":
        return sorted(f"{name}.txt" for name in VIDEOS)
    ends = [*(f"{number:03d}" for number in range(1, runs + 1)), "time"]
    return sorted(f"{name}/{name}_{end}.txt" for name in GOT10K for end in ends)


def contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("with_data", [False, True], ids=["results only", "with the data set"])
@pytest.mark.parametrize("server", NAMES)
def test_complete_results_are_packed(
    trees: Trees, capsys: pytest.CaptureFixture[str], server: str, with_data: bool
) -> None:
    folder = trees.track(server)
    if with_data:
        trees.write_data(server)
    before = digests(folder.root)
    assert trees.pack(server, names=not with_data) == 0, capsys.readouterr().err
    assert digests(folder.root) == before
    found = contents(folder.root.parent / f"{server}.zip")
    assert sorted(found) == expected_listing(server)
    boxes = [text for name, text in found.items() if not name.endswith("/")]
    wanted = boxes_text(FRAMES)
    if server == "got10k":
        times = {text for name, text in found.items() if name.endswith("_time.txt")}
        assert times == {"0.10000000\n0.20000000\n0.30000000\n"}
        boxes = [text for name, text in found.items() if name.endswith("_001.txt")]
    assert set(boxes) == {wanted}
    assert len(boxes) == len(NAMES[server])
    assert ("not at" in capsys.readouterr().out) is not with_data
    assert sorted(path.name for path in folder.root.parent.iterdir()) == [server, f"{server}.zip"]


def test_several_runs_are_repetitions(trees: Trees) -> None:
    folders = [trees.track("got10k", f"any_00{number}") for number in (1, 2, 3)]
    moved = boxes_text(FRAMES, separator="\t").replace("30", "31")
    write_text(folders[2].boxes_file(GOT10K[0]), moved)
    assert trees.pack("got10k", "--runid", "1", "2", "3") == 0
    found = contents(folders[0].root.parent / "got10k_001_002_003.zip")
    assert sorted(found) == expected_listing("got10k", runs=3)
    first = f"{GOT10K[0]}/{GOT10K[0]}"
    assert found[f"{first}_003.txt"] == moved.replace("\t", ",") != found[f"{first}_001.txt"]
    assert found[f"{first}_time.txt"].splitlines()[0] == "0.10000000,0.10000000,0.10000000"
    assert trees.pack("got10k", "--runid", "0", "1", "2", "3") == 2


def test_runs_that_were_not_made_alike_are_not_joined(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [trees.track("got10k", f"any_00{number}") for number in (1, 2)]
    for folder, window in zip(folders, (True, False), strict=True):
        record = {"dataset": "got10k_test", "settings": {"TEST.WINDOW": window}}
        write_text(folder.root / "run.json", json.dumps(record))
    assert trees.pack("got10k", "--runid", "1", "2") == 1
    error = capsys.readouterr().err
    path = folders[1].root / "run.json"
    assert f"wrong: {path}: not made as the first run: TEST.WINDOW (True and False)\n" in error
    assert "--overwrite" in error
    assert trees.pack("got10k", "--runid", "2") == 0, "alone it is as good as any"


def test_untrained_weights_are_not_submitted(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trees.track("got10k")
    record = {"dataset": "got10k_test", "settings": {"TEST.WINDOW": 1}, "checkpoint_sha256": None}
    write_text(folder.root / "run.json", json.dumps(record))
    assert trees.pack("got10k") == 1
    assert "tracked with untrained weights" in capsys.readouterr().err


def test_decimals_are_kept(trees: Trees, tmp_path: Path) -> None:
    folder = trees.track("trackingnet")
    text = "10.123457, -2.000000,3e1 40\r\n11\t0.000001\t30\t0\r\n"
    folder.boxes_file("all_0").write_bytes(text.encode())
    folder.time_file("all_0").write_bytes(b"0.1\r\n1e-05\r\n")
    out = tmp_path / "elsewhere" / "mine.zip"
    assert trees.pack("trackingnet", "--out", str(out)) == 0
    assert contents(out)["all_0.txt"] == "10.123457,-2,30,40\n11,0.000001,30,0\n"
    once = out.read_bytes()
    assert trees.pack("trackingnet", "--out", str(out)) == 0
    assert out.read_bytes() == once


@pytest.mark.parametrize("server", NAMES)
def test_incomplete_results(trees: Trees, capsys: pytest.CaptureFixture[str], server: str) -> None:
    folder = trees.track(server)
    lost = NAMES[server][3:10]
    for name in lost:
        folder.boxes_file(name).unlink()
    folder.time_file(NAMES[server][20]).unlink()
    before = digests(trees.save)
    assert trees.pack(server) == 1
    assert digests(trees.save) == before, "nothing may be written"
    error = capsys.readouterr().err
    shown = ", ".join(f"{name}.txt" for name in lost[:5])
    assert f"missing: 7 of {len(NAMES[server])} files of boxes in {folder.root}: {shown}" in error
    assert "and 2 more" in error
    assert "tracking/test.py" in error
    times = f"missing: 1 of 180 files of times in {folder.root}: GOT-10k_Test_000021_time.txt"
    assert (times in error) is (server == "got10k")


BROKEN = {
    "": "the file is empty",
    "1\t2\t3\t4\n" * (FRAMES - 1): "3 times, but {} has 2 boxes",
    "10\t20\t30\t40\n" * 2 + "1\t2\t3\n": ":3: 3 values",
    "10\t20\t30\t40\n1\tnan\t3\t4\n1\t2\t3\t4\n": ":2: NaN",
    "10\t20\t30\t40\n1\tinf\t3\t4\n1\t2\t3\t4\n": ":2: 'inf'",
    "10;20;30;40\n" * 3: ":1: '10;20;30;40'",
    "10\t20\t30\t40\n" * 2 + "1\t2\t3\t-4\n": ":3: a size below zero",
}


@pytest.mark.parametrize("server", NAMES)
def test_malformed_boxes(trees: Trees, capsys: pytest.CaptureFixture[str], server: str) -> None:
    """Each kind in a file of its own has a line of its own, in order."""
    folder = trees.track(server)
    for name, text in zip(NAMES[server], BROKEN, strict=False):
        write_text(folder.boxes_file(name), text)
    before = digests(trees.save)
    assert trees.pack(server) == 1
    assert digests(trees.save) == before
    lines = capsys.readouterr().err.splitlines()
    wrong = [line for line in lines if line.startswith("wrong: ")]
    assert len(wrong) == len(BROKEN) == len(lines) - 1
    for line, name, message in zip(wrong, NAMES[server], BROKEN.values(), strict=False):
        assert line.startswith(f"wrong: {folder.root / name}")
        assert message.format(f"{name}.txt") in line


@pytest.mark.parametrize(
    "text", ["0.1\nx\n0.3\n", "0.1\nnan\n0.3\n", "0.1\n-1\n1\n", "1\n1,1\n1\n"]
)
def test_malformed_times(trees: Trees, capsys: pytest.CaptureFixture[str], text: str) -> None:
    folder = trees.track("got10k")
    file = folder.time_file(GOT10K[4])
    write_text(file, text)
    assert trees.pack("got10k") == 1
    assert f"wrong: {file}:2: " in capsys.readouterr().err


@pytest.mark.parametrize("server", NAMES)
def test_the_data_set_tells_lengths_and_first_boxes(
    trees: Trees, capsys: pytest.CaptureFixture[str], server: str
) -> None:
    folder = trees.track(server)
    frames = trees.write_data(server)
    name, other = sorted(NAMES[server])[5:7]
    write_text(folder.boxes_file(name), boxes_text(FRAMES, separator="\t", first=1))
    write_text(folder.boxes_file(other), boxes_text(FRAMES - 1, separator="\t"))
    write_text(folder.time_file(other), "0.1\n" * (FRAMES - 1))
    for image in frames.glob("*.jpg"):
        image.unlink()
    assert trees.pack(server, names=False) == 1
    shown = capsys.readouterr()
    assert (
        f"wrong: {folder.boxes_file(name)}:1: the first box (11, 20, 30, 40) is not the given one "
        "(10.5, 20.25, 30, 40)" in shown.err
    )
    assert f"wrong: {folder.boxes_file(other)}: 2 boxes, but the video has 3 frames" in shown.err
    assert len(shown.err.splitlines()) == 3
    assert (
        f"frames were not counted in 1 sequence, of which they are not at hand: {frames.name}"
        in (shown.out)
    )


def test_files_that_are_no_results_are_named_and_left_out(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trees.track("got10k")
    write_text(folder.root / "GOT-10k_Test_000181.txt", "1,2,3,4\n")
    write_text(folder.root / "notes.md", "")
    assert trees.pack("got10k") == 0
    out = capsys.readouterr().out
    assert "2 files beside the results stay out of the zip" in out
    assert "GOT-10k_Test_000181.txt" in out and "notes.md" in out
    assert sorted(contents(folder.root.parent / "got10k.zip")) == expected_listing("got10k")


def test_a_run_of_fewer_frames_is_refused(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trees.track("got10k")
    write_text(folder.root / "run.json", '{"dataset": "got10k_val", "max_frames": 3}')
    assert trees.pack("got10k") == 1
    error = capsys.readouterr().err
    assert "results on 'got10k_val', not on 'got10k_test'" in error
    assert "without --max-frames" in error
    assert "--overwrite` tracks all of it again" in error


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("{}.txt", "11\t20\t30\t40\n" * FRAMES, id="wrong first box"),
        pytest.param("{}.txt", "10\t20\t30\t40\n" * 2 + "1\t2\t-3\t4\n", id="negative size"),
        pytest.param("{}_time.txt", None, id="no times"),
        pytest.param("{}_time.txt", "x\n", id="malformed times"),
    ],
)
def test_what_tracking_takes_for_done_is_to_be_moved_away(
    trees: Trees, capsys: pytest.CaptureFixture[str], file: str, text: str | None
) -> None:
    """The command that is proposed leaves whole boxes alone, so the message says more."""
    trees.write_data("got10k")
    folder = trees.track("got10k")
    folder.boxes_file(GOT10K[8]).unlink()
    path = folder.root / file.format(GOT10K[2])
    if text is None:
        path.unlink()
    else:
        write_text(path, text)
    assert trees.pack("got10k") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "tracks what is missing, unreadable or of the wrong length" in last
    assert f"so move away {GOT10K[2]}.txt first, or add --overwrite" in last
    write_text(folder.boxes_file(GOT10K[2]), "")
    write_text(folder.time_file(GOT10K[2]), "0.1\n" * FRAMES)
    assert trees.pack("got10k") == 1
    assert "--overwrite" not in capsys.readouterr().err


def test_results_of_others_are_not_to_be_completed_here(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trees.track("trackingnet")
    (folder.root / "run.json").unlink()
    folder.boxes_file("all_0").unlink()
    assert trees.pack("trackingnet") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{folder.root} has no run.json" in last and "--overwrite`" in last


def test_one_name_that_is_the_other_ones_file_of_times(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.track("trackingnet")
    write_text(trees.names_file, "".join(f"{n}\n" for n in ("abc", *VIDEOS[:-1])))
    assert trees.pack("trackingnet") == 1
    assert "the boxes of 'abc_time' and times or confidences of 'abc'" in capsys.readouterr().err


def test_wrong_input(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    assert trees.pack("got10k") == 2
    assert "no such folder of raw results" in capsys.readouterr().err
    folder = trees.track("got10k")
    assert trees.pack("got10k", "--out", str(folder.root / "x.zip")) == 2
    assert "stays as it is" in capsys.readouterr().err
    assert trees.pack("got10k", "--out", "results") == 2
    assert "give the name of a zip file" in capsys.readouterr().err
    trees.track("trackingnet")
    assert trees.pack("trackingnet", names=False) == 2
    assert "--names FILE" in capsys.readouterr().err
    write_text(trees.names_file, "a\nb\n")
    assert trees.pack("trackingnet") == 2
    assert "2 sequences, but TrackingNet's server expects 511" in capsys.readouterr().err
    assert not list(trees.save.rglob("*.zip"))


def test_a_cut_list_of_got10k_does_not_cut_the_submission(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trees.track("got10k")
    trees.write_data("got10k")
    write_text(trees.data / "got10k/test/list.txt", f"{GOT10K[0]}\n")
    assert trees.pack("got10k") == 0
    assert "lists 1 sequence; the server's 180 were looked for" in capsys.readouterr().out
    assert sorted(contents(folder.root.parent / "got10k.zip")) == expected_listing("got10k")
