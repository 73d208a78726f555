"""Workers that share results folders, in this process; see also test_shared_torchrun.py, where
processes are killed."""

import dataclasses
import threading

import numpy as np
import pytest
from torch import distributed as dist

from lib.commands import entry
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.evaluation import queue as shared_queue
from lib.evaluation import run as runner
from lib.evaluation.distributed import WorkerRank
from lib.evaluation.plan import Job, RunOptions
from lib.evaluation.run import Evaluation, evaluate
from lib.results.files import ResultsFolder, RunRecord, read_results
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import PartialFailure
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
def jobs(videos, tmp_path):
    """Two configurations of the smallest tracker on the same videos."""
    dataset = open_dataset(str(videos), resolve_paths())
    return [
        Job(
            dataset,
            NAMES,
            TrackerSpec("static_box", config),
            ResultsFolder(tmp_path / "results" / config),
            RunRecord("static_box", config, {}, None, "videos", "there"),
        )
        for config in ("one", "two")
    ]


@pytest.fixture
def store():
    return dist.TCPStore("127.0.0.1", 0, is_master=True)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(runner, "_LATE_PAUSE", 0.01)
    monkeypatch.setattr(shared_queue, "_LOOK", 0.01)


def work(job, **options):
    return evaluate(dataclasses.replace(job, options=RunOptions(**options)), ["cpu"])


def check(jobs):
    for job in jobs:
        for name in NAMES:
            first = job.dataset.load(name).init_box
            boxes = read_results(job.folder.boxes_file(name))
            np.testing.assert_array_equal(boxes, [first] * 4)


def test_two_workers_share_a_folder(jobs):
    summaries = []
    threads = [threading.Thread(target=lambda: summaries.append(work(jobs[0]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finished = [name for summary in summaries for name in summary.finished]
    assert sorted(finished) == NAMES
    assert [summary.failed for summary in summaries] == [{}, {}]
    for summary in summaries:
        whole = (*summary.finished, *summary.resumed, *summary.elsewhere)
        assert sorted(whole) == NAMES
    check(jobs[:1])


def test_what_others_did_is_said(jobs):
    one = Evaluation(jobs[0], ["cpu"])
    one._begin()
    work(jobs[0])
    one.run()
    assert one.finish().elsewhere == [] and one.summary.resumed == NAMES


def test_a_removed_result_is_noticed(jobs):
    """By whoever counts, although it was written."""
    run = Evaluation(jobs[0], ["cpu"])
    run.run()
    gone = jobs[0].folder.boxes_file("b")
    gone.unlink()
    summary = run.finish()
    assert list(summary.failed) == ["b"] and str(gone) in summary.failed["b"]
    assert work(jobs[0]).failed == {}
    check(jobs[:1])


def test_failures_are_known_to_all_and_tried_again_by_the_next_run(jobs, videos):
    """A broken picture and a broken annotation."""
    (videos / "b" / "00000003.jpg").write_bytes(b"no picture")
    (videos / "d" / "groundtruth.txt").write_text("nan,nan,nan,nan\n" * 4)
    first, second = (Evaluation(jobs[0], ["cpu"]) for _ in range(2))
    second._todo = second._begin()
    first.run()
    second.run()
    for run in (first, second):
        failed = run.finish().failed
        assert sorted(failed) == ["b", "d"]
        assert "00000003.jpg" in failed["b"] and "groundtruth.txt:1" in failed["d"]
    assert second.summary.elsewhere == ["a", "c", "e"], "b was not tried again"
    (videos / "b" / "00000003.jpg").write_bytes((videos / "b" / "00000002.jpg").read_bytes())
    assert work(jobs[0]).finished == ["b"]


def test_overwrite_replaces_once_per_launch(jobs, store):
    """Also where torchrun restarts its workers."""
    work(jobs[0])
    jobs[0].folder.boxes_file("a").write_text("1\t2\t3\t4\n" * 4)
    job = dataclasses.replace(jobs[0], options=RunOptions(overwrite=True))
    rank = WorkerRank(0, 1, ("127.0.0.1", store.port))
    for finished in (NAMES, []):
        run = Evaluation(job, ["cpu"], rank=rank)
        run.run()
        assert run.finish().finished == finished and not run.summary.failed
    check(jobs[:1])


def test_a_full_disk_ends_a_worker(jobs, monkeypatch):
    write = ResultsFolder.write

    def full(self, name, result, as_float=False):
        if name == "c":
            raise OSError(28, "No space left on device")
        write(self, name, result, as_float)

    with monkeypatch.context() as patch:
        patch.setattr(ResultsFolder, "write", full)
        with pytest.raises(PartialFailure, match=r"results/one: the disk is full.* 3 of 5 seq"):
            work(jobs[0])
    assert work(jobs[0]).finished == ["c", "d", "e"]


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        pytest.param(
            ["--threads", "2"], SHARED, "--workers does not go with torchrun", id="workers"
        ),
        pytest.param(["--shard", "0/2"], SHARED, "--shard does not go with torchrun", id="shard"),
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
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert entry.run("lib.commands.test", argv) == 0
    assert capsys.readouterr().out == ""  # one worker of a machine reports
