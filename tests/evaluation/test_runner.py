"""lib/evaluation: resume, failures, workers, times, debug pictures."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.evaluation import processes as workers
from lib.evaluation import run as runner
from lib.evaluation.one_by_one import OneByOne, failure
from lib.evaluation.plan import Job, RunOptions, make_plan
from lib.evaluation.processes import track_in_processes
from lib.evaluation.run import evaluate
from lib.evaluation.sequence import ListSource, Outcome, run_sequence
from lib.evaluation.writer import Ended
from lib.results.files import (
    ResultsFolder,
    RunRecord,
    claim_folder,
    read_results,
    write_results,
)
from lib.tracker.base import BaseTracker
from lib.tracker.baselines.static_box import StaticBox
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import DataError, PartialFailure, ResultsError, SeqTrackError
from tests.helpers.tiny import write_got10k_folder

NAMES = ["a", "b", "c"]
SPEC = TrackerSpec("static_box", "default")
PLAIN = RunOptions()
RECORD = RunRecord("static_box", "default", {}, None, "videos", "there")


@pytest.fixture
def dataset(tmp_path):
    return open_dataset(str(write_got10k_folder(tmp_path / "videos", NAMES)), resolve_paths())


@pytest.fixture
def folder(tmp_path):
    return ResultsFolder(tmp_path / "results")


def job(dataset, folder, options=PLAIN, record=RECORD):
    return Job(dataset, list(dataset.sequence_names), SPEC, folder, record, options)


def run(dataset, folder, options=PLAIN):
    return evaluate(job(dataset, folder, options), ["cpu"])


@pytest.fixture
def tracked(dataset, folder):
    """Track in processes of the test's own kind; how each sequence ended, by name."""

    def track(follow, devices, names=NAMES, spec=SPEC, on_frame=int):
        folder.root.mkdir(exist_ok=True)
        plan = make_plan(job(dataset, folder))
        ends = track_in_processes(plan, list(names), spec, devices, follow, on_frame)
        return {ended.name: ended for ended in ends}

    return track


def test_a_run_writes_every_sequence_and_the_next_one_resumes(dataset, folder):
    summary = run(dataset, folder)
    assert (summary.finished, summary.resumed, summary.failed) == (NAMES, [], {})
    assert summary.frames == 12
    for name in NAMES:
        first = dataset.load(name).init_box
        np.testing.assert_array_equal(read_results(folder.boxes_file(name)), [first] * 4)
        assert len(np.loadtxt(folder.time_file(name))) == 4
    folder.boxes_file("b").write_text("1\t2\t3\t4\n")  # cut short: three rows are missing
    again = run(dataset, folder)
    assert (again.finished, again.resumed) == (["b"], ["a", "c"])


def test_max_frames_limits_rows_and_completeness(dataset, folder):
    run(dataset, folder, RunOptions(max_frames=2))
    assert len(read_results(folder.boxes_file("a"))) == 2
    assert run(dataset, folder, RunOptions(max_frames=2)).resumed == NAMES
    assert run(dataset, folder).finished == NAMES


def test_a_broken_image_fails_its_sequence_alone(dataset, folder):
    broken = dataset.load("b").frames.describe(2)
    with open(broken, "wb") as stream:
        stream.write(b"not a picture")
    summary = run(dataset, folder)
    assert summary.finished == ["a", "c"]
    assert list(summary.failed) == ["b"] and broken in summary.failed["b"]
    assert not folder.boxes_file("b").exists()


def test_nothing_that_can_start_is_wrong_input(dataset, folder, tmp_path):
    for name in NAMES:
        (tmp_path / "videos" / name / "groundtruth.txt").write_text("nan,nan,nan,nan\n" * 4)
    with pytest.raises(DataError, match=r"a: .*groundtruth\.txt:1"):
        run(dataset, folder)
    assert not list(folder.root.glob("*"))


def test_debug_draws_boxes(dataset, folder, tmp_path):
    debug = RunOptions(debug_dir=tmp_path / "debug")
    run(dataset, folder)
    assert run(dataset, folder, debug).finished == NAMES  # results were there, pictures not
    (tmp_path / "debug" / "b" / "000002.jpg").unlink()
    assert run(dataset, folder, debug).finished == ["b"]
    picture = cv2.imread(str(tmp_path / "debug" / "a" / "000004.jpg"))[..., ::-1].astype(int)
    x, y, w, h = (int(v) for v in dataset.load("a").init_box)
    red, green = picture[y + h, x + w // 2, 0], picture[y + h, x + w // 2, 1]
    assert red > green + 60


class Confident(BaseTracker):
    """Reports a confidence, and forgets nothing it should not."""

    def initialize(self, image, info):
        self.frames = 0

    def track(self, image, info=None):
        self.frames += 1
        return {"target_bbox": [1.5, 2, 3, 4], "confidence": 0.25 * self.frames}


def test_confidences_and_decimals_are_kept(dataset, folder):
    result = run_sequence(Confident(), dataset.load("a"))
    assert result.confidences.tolist() == [1, 0.25, 0.5, 0.75]
    assert (result.times > 0).all() and result.times.shape == (4,)
    folder.write("a", result, as_float=True)
    assert read_results(folder.boxes_file("a"))[1].tolist() == [1.5, 2, 3, 4]
    assert folder.confidence_file("a").read_text().splitlines()[2].startswith("0.5")


class Answers(StaticBox):
    """Gives the same answer for every frame."""

    def __init__(self, answer):
        self.answer = answer

    def track(self, image, info=None):
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"target_bbox": [1, 2, float("nan"), 4]}, id="not finite"),
        pytest.param({"target_bbox": [1, 2, 3]}, id="three numbers"),
        pytest.param({"target_bbox": "1,2,3,4"}, id="text"),
        pytest.param({"target_bbox": None}, id="nothing"),
        pytest.param({"bbox": [1, 2, 3, 4]}, id="another key"),
        pytest.param([1, 2, 3, 4], id="the box alone"),
        pytest.param(None, id="no answer"),
    ],
)
def test_an_answer_that_is_no_box_is_named(dataset, answer, caplog):
    (outcome,) = OneByOne(dataset, RunOptions())(Answers(answer), ListSource(["a"]), int)
    for words in (f"returned {answer}", "00000002.jpg", "'target_bbox' is four finite numbers"):
        assert words in outcome.reason
    assert not caplog.records, "a traceback helps nobody here"


def test_workers_give_the_same_results(dataset, folder, tmp_path):
    run(dataset, folder)
    other = ResultsFolder(tmp_path / "workers")
    summary = evaluate(job(dataset, other), ["cpu", "cpu"], in_process=False)
    assert sorted(summary.finished) == NAMES and summary.frames == 12
    for name in NAMES:
        assert other.boxes_file(name).read_text() == folder.boxes_file(name).read_text()


@dataclass(frozen=True)
class DieOn:
    """Tracks by the real thing, but its process kills itself on one sequence."""

    track: OneByOne
    name: str

    def __call__(self, tracker, source, on_frame):
        while (name := source.take(wait=True)) is not None:
            if name == self.name:
                os.kill(os.getpid(), signal.SIGKILL)
            yield from self.track(tracker, ListSource([name]), on_frame)


def test_a_killed_worker_takes_only_its_sequence(dataset, folder, tracked):
    ends = tracked(DieOn(OneByOne(dataset, RunOptions()), "b"), ["cpu", "cpu"])
    assert sorted(ends) == NAMES
    assert "SIGKILL" in ends["b"].reason and not folder.boxes_file("b").exists()
    assert not ends["a"].reason and not ends["c"].reason
    assert [name for name in NAMES if folder.is_complete(name, 4)] == ["a", "c"]


@dataclass(frozen=True)
class ChatterThenDie:
    """Reports many frames and dies: the parent has unread messages when it notices."""

    def __call__(self, tracker, source, on_frame):
        source.take(wait=True)
        for _ in range(200):
            on_frame()
        yield os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_worker_with_unread_messages_loses_no_sequence(tracked):
    slowly = functools.partial(time.sleep, 0.002)
    ends = tracked(ChatterThenDie(), ["cpu"] * 2, ["a", "b"], on_frame=slowly)
    assert sorted(ends) == ["a", "b"]
    assert all("SIGKILL" in ended.reason for ended in ends.values())


def test_two_runs_on_one_folder_do_not_delete_each_others_results(dataset, folder):
    """The other run starts on the empty folder as well, and claims it first."""
    other = dataclasses.replace(RECORD, max_frames=2)
    claim_folder(folder, other)
    write_results(folder.boxes_file("a"), np.ones((2, 4)))
    with pytest.raises(ResultsError, match="max_frames"):
        run(dataset, folder)
    assert len(read_results(folder.boxes_file("a"))) == 2


def test_sequences_whose_files_would_collide_are_refused(tmp_path, folder):
    videos = write_got10k_folder(tmp_path / "clash", ["x", "x_time", "y"])
    summary = run(open_dataset(str(videos), resolve_paths()), folder)
    assert summary.finished == ["x", "y"] and "rename" in summary.failed["x_time"]


def test_a_folder_that_cannot_be_written_stops_before_tracking(dataset, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SeqTrackError, match="cannot write there"):
        run(dataset, ResultsFolder(tmp_path / "file" / "results"))


def test_no_worker_left_is_said_for_every_sequence(dataset, tracked):
    ends = tracked(DieOn(OneByOne(dataset, RunOptions()), "a"), ["cpu"])
    assert ends["a"].reason and ends["b"].reason == "no worker process is left"


def test_a_tracker_that_cannot_be_built_stops_the_run(dataset, tracked):
    spec = TrackerSpec("no_such_tracker", "default")
    with pytest.raises(SeqTrackError, match="no_such_tracker"):
        tracked(OneByOne(dataset, RunOptions()), ["cpu"], spec=spec)


class Pipe:
    """The parent's end of a pipe to a worker that says what it is told to."""

    def __init__(self, *messages):
        self.messages = list(messages)

    def recv(self):
        if not self.messages:
            raise EOFError
        return self.messages.pop(0)

    def close(self):
        """Nothing to do."""


class Over:
    """A process that nobody needs to end."""

    exitcode = 0

    def terminate(self):
        """Nothing to do."""

    def join(self):
        """Nothing to do."""


@pytest.fixture
def track_with(monkeypatch, tracked):
    """Names of the sequences that ended in a run whose workers talk in this order."""

    def track(*pipes, order):
        started = [workers._Worker(Over(), pipe, str(number)) for number, pipe in enumerate(pipes)]
        monkeypatch.setattr(workers, "_start", lambda *arguments: list(started))
        turns = iter(order)
        monkeypatch.setattr(workers, "_poll", lambda there: [started[next(turns)]])
        return [name for name, ended in tracked(None, ["cpu"] * 2).items() if not ended.reason]

    return track


FULL = ("unable", SeqTrackError("cuda:0 out of memory"))


def test_a_worker_that_fails_first_leaves_the_work_to_those_still_starting(track_with, caplog):
    """One GPU is full; the others have not loaded their networks when it says so."""
    second = Pipe(("ready", None), *(("ended", Ended(name, "", 1, 1.0)) for name in NAMES))
    assert track_with(Pipe(FULL), second, order=[0, 0, 1, 1, 1, 1, 1]) == NAMES
    assert caplog.messages == ["a worker cannot start: cuda:0 out of memory"]


def test_no_worker_that_could_start_ends_the_run(track_with, caplog):
    with pytest.raises(SeqTrackError, match="cuda:0 out of memory"):
        track_with(Pipe(FULL), Pipe(FULL), order=[0, 1, 0, 1])
    assert caplog.messages == []


def test_complete_results_of_another_run_are_not_taken_for_this_ones(dataset, folder):
    """Nothing is left to do then, and so nothing would be written."""
    one, other = (dataclasses.replace(RECORD, settings={"X": value}) for value in (1, 2))
    evaluate(job(dataset, folder, record=one), ["cpu"])
    with pytest.raises(ResultsError, match="X was 1 and is now 2"):
        evaluate(job(dataset, folder, record=other), ["cpu"])


def test_an_unexpected_error_is_a_named_failure(dataset):
    class Buggy(StaticBox):
        def track(self, image, info=None):
            raise ZeroDivisionError("oops")

    follow = OneByOne(dataset, RunOptions())
    (outcome,) = follow(Buggy(), ListSource(["a"]), lambda: None)
    assert outcome == Outcome("a", reason="ZeroDivisionError: oops")


def test_a_device_without_memory_is_one_line(dataset, caplog):
    class Full(StaticBox):
        def track(self, image, info=None):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    (outcome,) = OneByOne(dataset, RunOptions())(Full(), ListSource(["a"]), lambda: None)
    assert outcome.reason.startswith("CUDA out of memory; ") and "--batch-size" in outcome.reason
    assert caplog.messages == []


def refuse(monkeypatch, name, error):
    """Results of one sequence cannot be written."""
    write = ResultsFolder.write

    def refusing(self, sequence, result, as_float=False):
        if sequence == name:
            raise error
        write(self, sequence, result, as_float)

    monkeypatch.setattr(ResultsFolder, "write", refusing)


def test_a_result_that_cannot_be_written_is_a_named_failure(dataset, folder, monkeypatch):
    refuse(monkeypatch, "b", PermissionError(13, "Permission denied", "b.txt"))
    summary = run(dataset, folder)
    assert summary.finished == ["a", "c"] and "Permission denied" in summary.failed["b"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_ends_the_run_at_once(dataset, folder, monkeypatch, overwrite):
    """Tracking the others would take days, for nothing."""
    if overwrite:
        run(dataset, folder)
    options = RunOptions(overwrite=overwrite)
    with monkeypatch.context() as patch:
        refuse(patch, "b", OSError(28, "No space left on device"))
        with pytest.raises(PartialFailure) as caught:
            run(dataset, folder, options)
    for words in (str(folder.root), "disk is full", "2 of 3 sequences are left", "goes on"):
        assert words in str(caught.value)
    assert ("without --overwrite" in str(caught.value)) is overwrite
    if not overwrite:
        again = run(dataset, folder)
        assert (again.finished, again.resumed) == (["b", "c"], ["a"])


@pytest.mark.parametrize("what", ["run.json", "a.txt", "a_time.txt", "000001.jpg"])
def test_whatever_there_is_no_room_for_the_run_ends(dataset, folder, tmp_path, monkeypatch, what):
    """Also for the first file of all, and for a picture with the boxes drawn."""
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == what:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    options = RunOptions(debug_dir=tmp_path / "debug")
    with pytest.raises(PartialFailure, match=f"{what}.*3 of 3 sequences are left"):
        run(dataset, folder, options)
    assert not folder.boxes_file("a").exists()


class NoRoomForPictures(OneByOne):
    """The disk of the debug pictures is full, in a process where nothing can be patched."""

    def _track(self, tracker, name, on_frame, readers):
        return failure(name, OSError(28, "No space left on device", f"{name}.jpg"))


class NoRoomForResults(ResultsFolder):
    """Its disk is full."""

    def write(self, sequence, result, as_float=False):
        raise OSError(28, "No space left on device", f"{sequence}.txt")


@pytest.mark.parametrize("what", ["results", "pictures"])
def test_a_full_disk_ends_the_workers_too(dataset, folder, monkeypatch, what):
    if what == "results":
        folder = NoRoomForResults(folder.root)
    else:
        follow = NoRoomForPictures(dataset, PLAIN)
        monkeypatch.setattr(runner, "make_follow", lambda *_: follow)
    before = set(multiprocessing.active_children())
    with pytest.raises(PartialFailure, match=r"disk is full.*3 of 3 sequences are left"):
        evaluate(job(dataset, folder), ["cpu"], in_process=False)
    assert set(multiprocessing.active_children()) <= before


def test_workers_are_gone_when_the_reader_stops(dataset, folder):
    """Ctrl-C in the parent closes the generator; no process may stay behind."""
    started = []
    original = workers._start
    track = OneByOne(dataset, RunOptions())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_start", lambda *a: started.extend(original(*a)) or started[:])
        folder.root.mkdir()
        plan = make_plan(job(dataset, folder))
        ends = track_in_processes(plan, NAMES, SPEC, ["cpu"], track, functools.partial(int))
        next(ends)
        ends.close()
    assert [worker.process.is_alive() for worker in started] == [False]
    assert not list(folder.root.glob(".claims/*.claim"))
