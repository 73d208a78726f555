"""Evaluation in parts: `--shard`, and scripts/cluster.py with Slurm's way."""

import os
import sys
from pathlib import Path

import pytest

from lib.commands import cluster
from lib.commands.entry import run
from tests.helpers.tiny import write_got10k_folder

NAMES = [f"v{i}" for i in range(7)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    write_got10k_folder(tmp_path / "videos", NAMES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(config="default"):
    """Relative, as people write them."""
    return ["static_box", config, "--dataset", "./videos", "--save_dir", ".", "--device", "cpu"]


def results(place: Path, config="default") -> list[str]:
    folder = place / "test/tracking_results/static_box" / config / "videos"
    return sorted(f.stem for f in folder.glob("v?.txt"))


def test_parts_make_a_whole_and_share_nothing(place):
    seen = []
    for part in range(3):
        assert run("lib.commands.test", [*arguments(), "--shard", f"{part}/3"]) == 0
        seen.append(results(place))
    assert [len(names) for names in seen] == [3, 5, 7] and seen[-1] == NAMES


def test_the_longest_are_spread_and_no_configuration_has_them_all_in_one_part(place, capsys):
    """Two configurations: part 0 starts with the longest of one, and the second of the other."""
    for number, name in enumerate(NAMES):
        frames = sorted((place / "videos" / name).glob("*.jpg"))
        for frame in frames[1 : 1 + number % 3]:
            frame.unlink()
    for name in NAMES:
        left = sorted((place / "videos" / name).glob("*.jpg"))
        truth = (place / "videos" / name / "groundtruth.txt").read_text().splitlines()[: len(left)]
        (place / "videos" / name / "groundtruth.txt").write_text("\n".join(truth) + "\n")
        for index, path in enumerate(left):
            path.rename(path.with_name(f"{index + 1:08d}.jpg"))
    argv = ["static_box", "--config", "one", "two", *arguments()[2:], "--shard", "0/3"]
    assert run("lib.commands.test", argv) == 0
    # By length: v0 v3 v6 (4 frames), v1 v4 (3), v2 v5 (2).
    assert results(place, "one") == ["v0", "v1", "v5"]
    assert results(place, "two") == ["v3", "v4"]


@pytest.mark.parametrize("text", ["3/3", "1", "/2", "a/2", "-1/2", "1/0"])
def test_no_part_of_a_whole(text, capsys):
    with pytest.raises(SystemExit) as end:
        run("lib.commands.test", [*arguments(), f"--shard={text}"])
    assert end.value.code == 2 and "write K/N" in capsys.readouterr().err


def test_more_parts_than_sequences(place):
    assert run("lib.commands.test", [*arguments(), "--shard", "9/10"]) == 0
    assert results(place) == []


def test_a_broken_sequence_belongs_to_one_part(place, capsys):
    (place / "videos/v3/groundtruth.txt").write_text("nan,nan,nan,nan\n" * 4)
    codes = [run("lib.commands.test", [*arguments(), "--shard", f"{k}/2"]) for k in range(2)]
    assert sorted(codes) == [0, 1]
    assert capsys.readouterr().err.count("failed: v3: ") == 1


@pytest.fixture
def here(monkeypatch):
    """Parts run in this process; the first try loses those that a test names."""
    lost: set[int] = set()
    tries: list[int] = []

    def make(args):
        def submit(arguments):
            tries.append(args.parts)
            for part in range(args.parts):
                if part not in lost:
                    cluster.run_part(arguments, part, args.parts, os.getcwd())
            lost.clear()

        return submit

    monkeypatch.setattr(cluster, "_slurm_jobs", make)
    return lost, tries


def test_what_a_dead_job_left_is_run_again(place, here, capsys):
    lost, tries = here
    lost.add(1)
    assert run("lib.commands.cluster", ["--parts", "3", "slurm", *arguments()]) == 0
    assert tries == [3, 3] and results(place) == NAMES
    out = capsys.readouterr()
    assert "5 of 7 results are there" in out.out and "7 of 7 results are there" in out.out
    assert "v1.txt is not there" in out.err


def test_what_stays_away_is_an_error(place, here, capsys):
    (place / "videos/v3/00000002.jpg").write_bytes(b"no picture")
    assert run("lib.commands.cluster", ["slurm", *arguments()]) == 1
    assert here[1] == [8, 8]
    assert "failed: static_box/default v3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "behind", "words"),
    [
        pytest.param([], ["--shard", "0/2"], "leave it out", id="shard"),
        pytest.param([], ["--overwrite"], "add --tries 1", id="overwrite"),
        pytest.param([], ["--engine", "torchh"], "unknown engine", id="no engine"),
    ],
)
def test_refusals(place, here, capsys, before, behind, words):
    assert run("lib.commands.cluster", [*before, "slurm", *arguments(), *behind]) == 2
    assert words in capsys.readouterr().err
    assert here[1] == []


def test_a_missing_package_is_named(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert run("lib.commands.cluster", ["slurm", *arguments()]) == 2
    assert "pip install submitit" in capsys.readouterr().err


@pytest.mark.slow
def test_slurms_way_with_real_jobs(place, capsys):
    pytest.importorskip("submitit")
    (place / "videos/v3/00000002.jpg").write_bytes(b"no picture")
    argv = ["--parts", "2", "--tries", "1", "local", *arguments()]
    assert run("lib.commands.cluster", argv) == 1
    assert results(place) == [name for name in NAMES if name != "v3"]
    out = capsys.readouterr()
    assert "6 of 7 results are there" in out.out
    assert "ended with exit code 1" in out.err
    assert any("00000002.jpg" in f.read_text() for f in (place / "logs/cluster").rglob("*.err"))
