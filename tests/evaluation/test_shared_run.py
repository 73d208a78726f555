"""What a worker of a shared run does, in this process, on a real store; see also
test_shared_torchrun.py, where processes are killed."""

import dataclasses
import threading

import numpy as np
import pytest
from torch import distributed as dist

from lib.commands import entry
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.evaluation import distributed as shared_run
from lib.evaluation.distributed import Run, evaluate_shared
from lib.evaluation.one_by_one import RunOptions
from lib.evaluation.plan import make_plan
from lib.evaluation.queue import Place
from lib.results.files import ResultsFolder, RunRecord, read_results
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import PartialFailure, SeqTrackError
from tests.helpers.tiny import write_got10k_folder

NAMES = ["a", "b", "c", "d", "e"]
# What torchrun tells its workers.
SHARED = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def videos(tmp_path):
    return write_got10k_folder(tmp_path / "videos", NAMES)


@pytest.fixture
def make_runs(videos, tmp_path):
    """Two configurations of the smallest tracker on the same videos."""

    def make(**options):
        dataset = open_dataset(str(videos), resolve_paths())
        runs = []
        for config in ("one", "two"):
            record = RunRecord("static_box", config, {}, None, "videos", "there")
            folder = ResultsFolder(tmp_path / "results" / config)
            plan = make_plan(dataset, NAMES, folder, RunOptions(**options))
            runs.append(Run(dataset, TrackerSpec("static_box", config), record, plan))
        return runs

    return make


@pytest.fixture
def store():
    return dist.TCPStore("127.0.0.1", 0, is_master=True)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(shared_run, "_PAUSE", 0.01)
    monkeypatch.setattr(shared_run, "_LATE_PAUSE", 0.01)


def place(store, attempt=0):
    return Place("none", attempt, 0, 1, "127.0.0.1", store.port)


def work(runs, store, attempt=0, say=lambda text: None):
    return evaluate_shared(runs, place(store, attempt), "cpu", say)


def check(runs):
    for run in runs:
        for name in NAMES:
            first = run.dataset.load(name).init_box
            boxes = read_results(run.plan.folder.boxes_file(name))
            np.testing.assert_array_equal(boxes, [first] * 4)


def test_one_worker_does_all_and_another_finds_nothing_to_do(make_runs, store):
    lines = []
    first = work(make_runs(), store, say=lines.append)
    assert (first.expected, first.failed, first.tracked) == (10, {}, 10) and first.reports
    assert "10 of 10 results are there" in first.text
    assert lines[0].startswith("[0] static_box/one a: 4 frames")
    check(make_runs())
    second = work(make_runs(), store)
    assert (second.failed, second.tracked, second.reports) == ({}, 0, False)


def test_two_workers_share_both_configurations(make_runs, store):
    summaries = []
    threads = [
        threading.Thread(target=lambda: summaries.append(work(make_runs(), store)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(summary.tracked for summary in summaries) == 10
    assert [summary.failed for summary in summaries] == [{}, {}]
    assert sum(summary.reports for summary in summaries) == 1
    check(make_runs())


def test_a_removed_result_is_noticed(make_runs, store):
    """By whoever counts, although the store says that it was written."""
    runs = make_runs()
    gone = runs[0].plan.folder.boxes_file("b")
    summary = work(runs, store, say=lambda text: gone.unlink(missing_ok=True))
    assert list(summary.failed) == ["static_box/one b"] and summary.tracked == 10
    assert str(gone) in summary.failed["static_box/one b"]
    assert work(make_runs(), store, attempt=1).failed == {}
    check(runs)


def test_failures_are_counted_by_all(make_runs, videos, store):
    """A broken picture and a broken annotation, in both configurations."""
    (videos / "b" / "00000003.jpg").write_bytes(b"no picture")
    (videos / "d" / "groundtruth.txt").write_text("nan,nan,nan,nan\n" * 4)
    for _ in range(2):
        summary = work(make_runs(), store)
        assert sorted(summary.failed) == [
            *("static_box/one b", "static_box/one d", "static_box/two b", "static_box/two d")
        ]
        assert "00000003.jpg" in summary.failed["static_box/two b"]
        assert "groundtruth.txt:1" in summary.failed["static_box/two d"]
        assert "6 of 10 results are there, 4 failed" in summary.text


def test_overwrite_tracks_again_once_and_not_after_a_restart(make_runs, store):
    work(make_runs(), store)
    other = dist.TCPStore("127.0.0.1", 0, is_master=True)
    runs = make_runs(overwrite=True)
    runs[0].plan.folder.boxes_file("a").write_text("1\t2\t3\t4\n" * 4)
    assert work(runs, other).tracked == 10
    check(runs)
    assert work(make_runs(overwrite=True), other, attempt=1).tracked == 0


def test_results_of_another_run_are_left_alone(make_runs, store):
    work(make_runs(), store)
    runs = make_runs()
    for run in runs:
        run.plan.folder.boxes_file("a").unlink()
    changed = [
        dataclasses.replace(run, record=dataclasses.replace(run.record, max_frames=2))
        for run in runs
    ]
    with pytest.raises(SeqTrackError, match="max_frames"):
        work(changed, store, attempt=1)


def test_two_runs_never_share_a_folder(make_runs, store):
    """Their titles may be the same, and the second finds all complete."""
    one, two = make_runs()
    record = dataclasses.replace(one.record, settings={"X": 1})
    twin = dataclasses.replace(two, record=record, spec=one.spec, plan=one.plan)
    assert twin.title == one.title
    with pytest.raises(SeqTrackError, match="results of another run"):
        work(
            [dataclasses.replace(one, record=dataclasses.replace(record, settings={"X": 2})), twin],
            store,
        )


def test_a_full_disk_ends_a_worker(make_runs, store, monkeypatch):
    write = ResultsFolder.write

    def full(self, name, result, as_float=False):
        if name == "c":
            raise OSError(28, "No space left on device")
        write(self, name, result, as_float)

    with monkeypatch.context() as patch:
        patch.setattr(ResultsFolder, "write", full)
        with pytest.raises(PartialFailure, match=r"results/one: the disk is full.* 3 of 5 seq"):
            work(make_runs(), store)
    assert work(make_runs(), store, attempt=1).tracked == 8


def test_a_worker_whose_store_dies_saves_what_it_has_and_says_so(make_runs):
    """As when the machine that holds the queue goes down."""
    holder = [dist.TCPStore("127.0.0.1", 0, is_master=True)]
    runs = make_runs()
    where = place(holder[0])
    with pytest.raises(PartialFailure, match=r"queue of this run is gone|cannot be reached"):
        evaluate_shared(runs, where, "cpu", lambda text: holder.clear())
    assert runs[0].plan.folder.is_complete("a", 4)


def test_nobody_at_the_address(make_runs, monkeypatch):
    from datetime import timedelta

    from lib.evaluation import queue as shared_queue

    monkeypatch.setattr(shared_queue, "_STORE_TIMEOUT", timedelta(seconds=1))
    with pytest.raises(SeqTrackError, match=r"cannot be reached at 127\.0\.0\.1:9"):
        evaluate_shared(make_runs(), Place("none", 0, 0, 1, "127.0.0.1", 9), "cpu", print)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        pytest.param(
            ["--threads", "2"], SHARED, "--threads does not go with torchrun", id="threads"
        ),
        pytest.param(["--shard", "0/2"], SHARED, "--shard does not go with torchrun", id="shard"),
        pytest.param(["--batch-size", "2"], SHARED, "follows one target", id="lock-step"),
        pytest.param(["--engine", "torchh"], {}, "did you mean 'torch'", id="engine"),
        pytest.param(["--engine", "onnx"], {}, "it has no network", id="engine of a baseline"),
        pytest.param(
            ["--config", "a", "b", "--checkpoint", "x.pth"], {}, "2 configurations", id="weights"
        ),
    ],
)
def test_what_does_not_go_together(videos, monkeypatch, capsys, words, environment, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = [] if "--config" in words else ["--config", "default"]
    argv = ["static_box", *config, "--dataset", str(videos), "--save_dir", str(videos), *words]
    assert entry.run("lib.commands.test", argv) == 2
    assert said in capsys.readouterr().err
    assert not list(videos.rglob("run.json"))


def test_the_command_as_a_worker(videos, store, tmp_path, monkeypatch, capsys):
    """Two configurations, as torchrun would call it."""
    for name, value in {**SHARED, "MASTER_PORT": str(store.port)}.items():
        monkeypatch.setenv(name, value)
    argv = ["static_box", "--config", "one", "two", "--dataset", str(videos)]
    argv += ["--save_dir", str(tmp_path), "--device", "cpu"]
    assert entry.run("lib.commands.test", argv) == 0
    said = capsys.readouterr()
    assert "10 of 10 results are there, 0 failed" in said.out and "cannot be" not in said.err
    assert said.err.count("[0] static_box/two ") == 5
    assert entry.run("lib.commands.test", argv) == 0
    assert capsys.readouterr().out == ""  # another worker has reported
