"""How many CPU threads: what is measured, what is kept, and who may say otherwise."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import lib.models.cpu_threads
from lib.commands.entry import run
from lib.models.cpu_threads import (
    Work,
    choose_threads,
    find_threads,
    threads_are_given,
)
from lib.models.engine import Template
from lib.models.thread_choice import choices_file
from lib.test.tracker.build import build_tracker, with_threads
from lib.test.tracker.spec import MEASURED, TrackerSpec
from tests.tiny import TINY_YAML, tiny_config, write_got10k_folder

WORK = Work(tiny_config(), "torch")
_BEFORE = dict(os.environ)


class Bench:
    """A machine on which a step takes as long as the number of threads says."""

    def __init__(self, ms: dict[int, float], busy: bool = False) -> None:
        self.ms, self.now, self.given, self.busy = ms, 0.0, 0.0, busy
        self.built: list[int] = []
        self.steps: list[int] = []
        self.said: list[str] = []

    def clock(self) -> float:
        return self.now

    def cpu_clock(self) -> float:
        return self.given

    def build(self) -> "FakeEngine":
        self.built.append(torch.get_num_threads())
        return FakeEngine(self)

    def choose(self, work: Work = WORK, most: int = 8) -> int:
        return choose_threads(self.build, work, most, self.said.append, self.clock, self.cpu_clock)


class FakeEngine:
    """An engine as ONNX Runtime's: it keeps the number of threads that it was built with."""

    name, keep_distributions = "fake", False

    def __init__(self, bench: Bench) -> None:
        self.bench, self.threads = bench, torch.get_num_threads()

    def template(self, crop, box):
        assert crop.shape == (32, 32, 3) and crop.dtype == np.uint8
        return Template(crop, tuple(box))

    def generate(self, templates, search):
        assert search.shape == (len(templates), 64, 64, 3) and search.dtype == np.uint8
        assert all(len(row) == 2 for row in templates)
        took = 1e-3 * self.bench.ms[self.threads]
        self.bench.now += took
        self.bench.given += took * self.threads * (0.3 if self.bench.busy else 0.95)
        self.bench.steps.append(self.threads)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing is decided or kept yet, and PyTorch's number of threads survives the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in lib.models.cpu_threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("ms", "chosen"),
    [
        pytest.param({8: 9, 4: 5, 2: 7, 1: 12}, 4, id="the quickest in the middle"),
        pytest.param({8: 3, 4: 4, 2: 7, 1: 12}, 8, id="all cores"),
        pytest.param({8: 9, 4: 8, 2: 7, 1: 6}, 1, id="one thread"),
        pytest.param({8: 10, 4: 10.2, 2: 10.4, 1: 11}, 2, id="fewer when within 5 %"),
        pytest.param({8: 10, 4: 10.6, 2: 11, 1: 12}, 8, id="not when further off"),
    ],
)
def test_the_choice_follows_the_times(ms, chosen):
    bench = Bench(ms)
    before = torch.get_num_threads()
    assert bench.choose() == chosen
    assert torch.get_num_threads() == before, "measuring changes nothing"
    assert bench.built == [8, 4, 2, 1][: len(bench.built)], "built with the number that it tries"
    (line,) = bench.said
    assert line.startswith(f"{chosen} of 8 CPU threads: {ms[chosen]:.1f} ms a step; ")
    assert str(choices_file()) in line and "--cpu-threads" in line


def test_numbers_that_do_not_halve_evenly():
    bench = Bench({6: 3, 3: 2, 1: 2.5})
    assert bench.choose(most=6) == 3 and bench.built == [6, 3, 1]


def test_the_numbers_take_turns():
    bench = Bench({2: 5.0, 1: 5.0})
    bench.choose(most=2)
    changes = sum(a != b for a, b in zip(bench.steps, bench.steps[1:], strict=False))
    assert changes >= 5
    # The first step of a turn pays for the change of threads: there are more than one.
    assert len(bench.steps) >= 3 * changes


def test_a_long_step_settles_it():
    bench = Bench({8: 600.0})
    assert bench.choose() == 8
    assert bench.steps == [8], "not even a second one"


def test_a_small_step_that_only_looks_large():
    """On a busy machine the threads are seldom all on their cores, and wait for each other."""
    bench = Bench({8: 600.0, 4: 90.0, 2: 20.0, 1: 30.0}, busy=True)
    assert bench.choose() == 2


def test_a_large_step_on_a_busy_machine():
    bench = Bench({8: 600.0, 4: 700.0, 2: 1300.0}, busy=True)
    assert bench.choose() == 8
    assert bench.steps == [8, 4, 2], "each once"


def test_a_first_step_may_be_long():
    bench = Bench({2: 5.0, 1: 4.0})
    generate = FakeEngine.generate

    class Slow(FakeEngine):
        def generate(self, templates, search):
            generate(self, templates, search)
            self.bench.now += 0.2 if len(self.bench.steps) == 1 else 0

    bench.build = lambda: Slow(bench)
    assert bench.choose(most=2) == 1


def test_what_is_hopeless_is_not_looked_at_further():
    bench = Bench({8: 10.0, 4: 20.0})
    assert bench.choose() == 8
    assert bench.built == [8, 4]


def test_it_takes_about_two_seconds_at_most():
    bench = Bench({8: 99.0, 4: 98.0, 2: 120.0, 1: 240.0})
    bench.choose()
    assert bench.now < 4.0
    quick = Bench({2: 50.0, 1: 60.0})
    quick.choose(most=2)
    assert quick.now < 2.5


def test_one_core_leaves_no_choice():
    bench = Bench({})
    assert bench.choose(most=1) == 1
    assert not bench.said and not choices_file().exists()


def test_a_choice_is_kept():
    assert Bench({2: 5.0, 1: 4.0}).choose(most=2) == 1
    later = Bench({2: 1.0, 1: 4.0})
    assert later.choose(most=2) == 1
    assert not later.steps and not later.built and not later.said
    (entry,) = json.loads(choices_file().read_text()).values()
    assert entry["threads"] == 1 and entry["ms"] == {"2": 5.0, "1": 4.0}


@pytest.mark.parametrize(
    ("work", "most"),
    [
        pytest.param(Work(tiny_config(), "onnx"), 2, id="engine"),
        pytest.param(Work(tiny_config(), "torch", "bf16"), 2, id="precision"),
        pytest.param(Work(tiny_config(), "torch", "fp32", 8), 2, id="batch size"),
        pytest.param(Work(tiny_config(), "torch"), 4, id="cores of a process"),
        pytest.param(Work(tiny_config(MODEL={"BINS": 128}), "torch"), 2, id="network"),
    ],
)
def test_other_work_is_measured_for_itself(work, most):
    Bench({2: 5.0, 1: 4.0}).choose(most=2)
    other = Bench({4: 2.0, 2: 1.0, 1: 4.0})
    assert other.choose(work, most) == 2 and other.steps
    assert len(json.loads(choices_file().read_text())) == 2
    assert Bench({}).choose(most=2) == 1, "the first one is still there"


def test_thresholds_and_training_share_a_choice():
    Bench({2: 5.0, 1: 4.0}).choose(most=2)
    cfg = tiny_config(TEST={"HOLD_BELOW": 0.3, "SEARCH_FACTOR": 3.0})
    assert Bench({}).choose(Work(cfg, "torch"), most=2) == 1


DAMAGED = [
    pytest.param(b"{", id="cut off"),
    pytest.param(b"[]", id="no table"),
    pytest.param(b"\xff\xfe", id="no text"),
    pytest.param(b"[" * 100_000, id="nested without end"),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_written_anew(content, caplog):
    choices_file().parent.mkdir(parents=True)
    choices_file().write_bytes(content)
    assert Bench({2: 5.0, 1: 4.0}).choose(most=2) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and str(choices_file()) in record.getMessage()
    assert Bench({}).choose(most=2) == 1, "kept now"


@pytest.mark.parametrize("threads", [0, 3, True, "1", None, [1]])
def test_a_kept_number_that_cannot_be_is_measured_again(threads):
    Bench({2: 5.0, 1: 4.0}).choose(most=2)
    choices = json.loads(choices_file().read_text())
    for entry in choices.values():
        entry["threads"] = threads
    choices_file().write_text(json.dumps(choices))
    assert Bench({2: 3.0, 1: 4.0}).choose(most=2) == 2


def test_a_cache_that_cannot_be_written_is_no_error(caplog):
    choices_file().parent.parent.mkdir()
    choices_file().parent.write_text("a file where the folder should be")
    bench = Bench({2: 5.0, 1: 4.0})
    assert bench.choose(most=2) == 1
    (record,) = caplog.records
    assert str(choices_file()) in record.getMessage() and "--cpu-threads" in record.getMessage()
    assert "kept" not in bench.said[0]


def test_no_home_folder_is_no_error(monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless(path):
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert Bench({2: 5.0, 1: 4.0}).choose(most=2) == 1
    assert len(caplog.records) == 1


def test_of_two_processes_the_first_counts():
    bench = Bench({2: 5.0, 1: 4.0})
    build = bench.build

    def build_late():
        if len(bench.built) == 1:
            assert Bench({2: 4.0, 1: 5.0}).choose(most=2) == 2
            torch.set_num_threads(1)
        return build()

    bench.build = build_late
    assert bench.choose(most=2) == 2
    assert not bench.said


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_environment_decides(name, monkeypatch):
    monkeypatch.setenv(name, "3")
    bench = Bench({})
    assert find_threads(bench.build, WORK, 1, bench.said.append) is None
    assert not bench.built
    assert threads_are_given({name: "3"}) and not threads_are_given({name: ""})


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(lib.models.cpu_threads, "_most_threads", lambda: 8)
    seen = []
    monkeypatch.setattr(
        lib.models.cpu_threads, "choose_threads", lambda b, w, most, t: seen.append(most)
    )
    for processes in (1, 2, 3, 8, 20):
        find_threads(Bench({}).build, WORK, processes, print)
    assert seen == [8, 4, 2, 1, 1]


@pytest.fixture
def measured(monkeypatch):
    """Collects what would be measured; the answer is one thread."""
    asked = []

    def choose(build, work, most, tell):
        engine = build()
        asked.append((engine.name, work.precision, work.batch_size, most))
        return 1

    monkeypatch.setattr(lib.models.cpu_threads, "choose_threads", choose)
    monkeypatch.setattr(lib.models.cpu_threads, "_most_threads", lambda: 4)
    return asked


def spec_of(**changes) -> TrackerSpec:
    return TrackerSpec("seqtrack", "tiny", tiny_config(), **{"cpu_threads": MEASURED, **changes})


def test_a_spec_gets_its_number(measured):
    assert with_threads(spec_of(precision="bf16"), "cpu", 3, 2, print).cpu_threads == 1
    assert measured == [("torch", "bf16", 3, 2)]


@pytest.mark.parametrize(
    ("spec", "device", "threads"),
    [
        pytest.param(spec_of(cpu_threads=3), "cpu", 3, id="given"),
        pytest.param(spec_of(cpu_threads=None), "cpu", None, id="not asked for"),
        pytest.param(spec_of(engine="reference"), "cpu", None, id="the yardstick"),
        pytest.param(spec_of(), "cuda:0", None, id="on a GPU"),
        pytest.param(
            TrackerSpec("static_box", "x", cpu_threads=MEASURED), "cpu", None, id="no network"
        ),
    ],
)
def test_nothing_is_measured_where_there_is_no_choice(spec, device, threads, measured):
    assert with_threads(spec, device, 1, 1, print).cpu_threads == threads
    assert not measured


def test_the_tracker_computes_with_the_number_of_its_spec():
    torch.set_num_threads(1)
    build_tracker(spec_of(cpu_threads=2))
    assert torch.get_num_threads() == 2
    for left_alone in (None, MEASURED):
        # The latter is what torchrun's workers have: nothing is measured there.
        build_tracker(spec_of(cpu_threads=left_alone))
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


def test_a_run_measures_and_keeps(place, measured):
    torch.set_num_threads(2)
    code, out, _ = place.test("--batch-size", "2")
    assert code == 0 and "2 sequences tracked" in out
    assert measured == [("torch", "fp32", 2, 4)] and torch.get_num_threads() == 1
    code, out, _ = place.test("--batch-size", "2")
    assert code == 0 and "2 were complete" in out
    assert len(measured) == 1, "with nothing to do, nothing is measured"


def test_a_run_really_measures(place, monkeypatch):
    monkeypatch.setattr(lib.models.cpu_threads, "_most_threads", lambda: 2)
    code, _, err = place.test()
    assert code == 0
    assert sum("of 2 CPU threads: " in line for line in err) == 1
    (entry,) = json.loads(choices_file().read_text()).values()
    assert entry["threads"] == torch.get_num_threads() and entry["config"] == "tiny"
    code, _, err = place.test("--overwrite")
    assert code == 0 and not any("CPU threads" in line for line in err)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--cpu-threads", "2"], id="given"),
        pytest.param(["--shard", "0/2"], id="a part"),
        pytest.param(["--engine", "reference"], id="the yardstick"),
    ],
)
def test_a_run_that_does_not_measure(place, measured, words):
    torch.set_num_threads(1)
    code, out, _ = place.test(*words)
    assert code == 0 and "tracked" in out and not measured
    assert torch.get_num_threads() == (2 if "2" in words else 1)


def test_worker_processes_get_the_number(place):
    code, out, _ = place.test("--threads", "2", "--cpu-threads", "1")
    assert code == 0 and "2 sequences tracked" in out


def test_the_video_command_measures_for_its_targets(place, measured, tmp_path):
    boxes = ["--box", "10,20,18,14", "--box", "12,22,18,14"]
    words = [str(place.videos / "a"), *boxes, "--checkpoint", "random"]
    code, _, err = place.run("track", *words, "--out", str(tmp_path / "a.webm"))
    assert code == 0, err
    assert measured == [("torch", "fp32", 2, 4)] and torch.get_num_threads() == 1


def test_profiling_takes_the_number_of_tracking(place, measured, monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.setattr("lib.commands.profile_model._tell_speed", lambda *_: None)
    assert place.run("profile_model")[0] == 0
    assert measured == [("torch", "fp32", 1, 4)] and torch.get_num_threads() == 1
    assert place.run("profile_model", "--cpu-threads", "2")[0] == 0
    assert len(measured) == 1 and torch.get_num_threads() == 2


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


def test_the_tests_of_this_project_measure_nothing():
    """Else each of their many runs would, and results would depend on it: see conftest.py."""
    assert threads_are_given(_BEFORE)
