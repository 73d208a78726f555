"""How many CPU threads a network gets, and who may say otherwise."""

import os
from pathlib import Path

import pytest
import torch

import lib.tracker.build as build
from lib.commands.entry import run
from lib.config.loader import load_config
from lib.tracker.spec import TrackerSpec
from lib.utils.cores import threads_are_given
from tests.helpers.tiny import TINY_YAML, tiny_config, write_got10k_folder


@pytest.fixture(autouse=True)
def own_threads(monkeypatch):
    """Nothing is decided yet, and PyTorch's number of threads survives the test."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cores(monkeypatch):
    """A machine with 16 cores."""
    monkeypatch.setattr(build, "_DEFAULT_THREADS", 16)
    monkeypatch.setattr(build, "usable_cores", lambda: 16)


@pytest.mark.parametrize(
    ("config", "batch", "processes", "threads"),
    [
        pytest.param("seqtrack_b256", 1, 1, 16, id="a large network: all cores"),
        pytest.param("seqtrack_b256", 1, 4, 4, id="its share of them"),
        pytest.param("seqtrack_b256", 8, 20, 1, id="more processes than cores"),
        pytest.param("seqtrack_tiny", 1, 1, 2, id="a small network: few"),
        pytest.param("seqtrack_tiny", 1, 16, 1, id="fewer still beside others"),
        pytest.param("seqtrack_tiny", 64, 1, 16, id="a small network's large batch"),
    ],
)
def test_a_small_step_gets_few_threads(config, batch, processes, threads, cores):
    assert build.choose_threads(load_config(config), batch, processes) == threads


def test_a_container_with_fewer_cores(cores, monkeypatch):
    monkeypatch.setattr(build, "usable_cores", lambda: 3)
    assert build.choose_threads(load_config("seqtrack_b256")) == 3


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_environment_decides(name, cores, monkeypatch):
    monkeypatch.setenv(name, "3")
    assert build.choose_threads(load_config("seqtrack_b256")) is None
    assert threads_are_given({name: "3"}) and not threads_are_given({name: ""})


def spec_of(**changes) -> TrackerSpec:
    return TrackerSpec("seqtrack", "tiny", tiny_config(), **changes)


@pytest.mark.parametrize(
    ("spec", "device", "threads"),
    [
        pytest.param(spec_of(), "cpu", 2, id="chosen"),
        pytest.param(spec_of(cpu_threads=3), "cpu", 3, id="given"),
        pytest.param(spec_of(engine="reference"), "cpu", None, id="the yardstick"),
        pytest.param(spec_of(), "cuda:0", None, id="on a GPU"),
        pytest.param(TrackerSpec("static_box", "x"), "cpu", None, id="no network"),
    ],
)
def test_a_spec_gets_its_number(spec, device, threads, cores):
    assert build.with_threads(spec, device, 1, 1).cpu_threads == threads


def test_the_tracker_computes_with_the_number_of_its_spec():
    torch.set_num_threads(1)
    build.build_tracker(spec_of(cpu_threads=2))
    assert torch.get_num_threads() == 2
    build.build_tracker(spec_of())
    assert torch.get_num_threads() == 2


class Place:
    """A configuration, two short sequences, and the commands on them."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture) -> None:
        self.root, self.capsys = root, capsys
        (root / "tiny.yaml").write_text(TINY_YAML)
        self.videos = write_got10k_folder(root / "videos", ["a", "b"])

    def run(self, command: str, *words: str) -> tuple[int, str, list[str]]:
        argv = [*words, "--config", str(self.root / "tiny.yaml"), "--device", "cpu"]
        code = run(f"lib.commands.{command}", argv)
        said = self.capsys.readouterr()
        return code, said.out, said.err.strip().splitlines()

    def test(self, *words: str) -> tuple[int, str, list[str]]:
        save = ["--checkpoint", "random", "--save_dir", str(self.root)]
        return self.run("test", "--dataset", str(self.videos), *save, *words)


@pytest.fixture
def place(tmp_path, capsys):
    return Place(tmp_path, capsys)


@pytest.mark.parametrize(
    ("words", "threads"),
    [
        pytest.param([], 2, id="chosen"),
        pytest.param(["--cpu-threads", "3"], 3, id="given"),
        pytest.param(["--shard", "0/2"], 2, id="a part gets what the whole would"),
        pytest.param(["--engine", "reference"], 1, id="the yardstick"),
    ],
)
def test_threads_of_a_run(place, cores, words, threads):
    torch.set_num_threads(1)
    code, out, _ = place.test(*words)
    assert code == 0 and "tracked" in out and torch.get_num_threads() == threads


def test_no_file_in_the_home_folder_decides(place, cores, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert place.test()[0] == 0
    assert not (tmp_path / "cache").exists()


def test_worker_processes_get_the_number(place):
    code, out, _ = place.test("--threads", "2", "--cpu-threads", "1")
    assert code == 0 and "2 sequences tracked" in out


def test_the_video_command_chooses_for_its_targets(place, cores, tmp_path):
    torch.set_num_threads(1)
    boxes = ["--box", "10,20,18,14", "--box", "12,22,18,14"]
    words = [str(place.videos / "a"), *boxes, "--checkpoint", "random"]
    code, _, err = place.run("track", *words, "--out", str(tmp_path / "a.webm"))
    assert code == 0, err
    assert torch.get_num_threads() == 2


def test_profiling_takes_the_number_of_tracking(place, cores, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr("lib.commands.profile_model._print_speed", lambda *_: None)
    assert place.run("profile_model")[0] == 0
    assert torch.get_num_threads() == 2
    assert place.run("profile_model", "--cpu-threads", "3")[0] == 0
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("command", ["test", "track", "profile_model"])
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1025", "9" * 30])
def test_a_wrong_number_is_one_line(place, command, value):
    with pytest.raises(SystemExit) as left:
        place.run(command, "--dataset", str(place.videos), "--cpu-threads", value)
    (line,) = place.capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2 and "--cpu-threads" in line and value in line


def test_a_tracker_without_a_network_has_no_use_for_it(place):
    argv = ["static_box", "x", "--dataset", str(place.videos), "--cpu-threads", "1"]
    assert run("lib.commands.test", [*argv, "--save_dir", str(place.root)]) == 2
    assert "--cpu-threads" in place.capsys.readouterr().err
    argv = [str(place.videos / "a"), "--tracker", "mil", "--cpu-threads", "1"]
    assert run("lib.commands.track", argv) == 2
    assert "--cpu-threads" in place.capsys.readouterr().err


_BEFORE = dict(os.environ)


def test_the_tests_of_this_project_choose_nothing():
    """Their number of threads is one for all machines: see conftest.py."""
    assert threads_are_given(_BEFORE)
