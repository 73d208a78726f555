"""The results folder as a queue: everything once, and what the dead had in hand again."""

import os
import threading
import time

import pytest
from torch import distributed as dist

from lib.evaluation import queue as shared_queue
from lib.evaluation.distributed import WorkerRank
from lib.evaluation.plan import Job, Plan, RunOptions
from lib.evaluation.queue import FolderQueue, end_claims, failure_of, folder_time
from lib.results.files import ResultsFolder
from lib.utils.errors import SeqTrackError

NAMES = [f"s{i:02d}" for i in range(30)]
ENVIRONMENT = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


class Clock:
    """The clock of the workers: it goes on where a worker waits, and where a test says so."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(shared_queue, "time", Clock())
    monkeypatch.setattr(shared_queue, "_BEAT", 0.01)
    return shared_queue.time


@pytest.fixture
def plan(tmp_path):
    folder = ResultsFolder(tmp_path / "results")
    folder.root.mkdir()
    return Plan(Job(None, NAMES, None, folder, None), dict.fromkeys(NAMES, 1))


def write(plan, name):
    # Not as a worker does: that waits for the disk.
    plan.job.folder.boxes_file(name).write_text("1\t2\t3\t4\n")


def finish(plan, queue, name):
    write(plan, name)
    queue.settle(name)


def drain(plan, queue):
    """Take and finish all that there is just now."""
    with queue:
        names = []
        while (name := queue.take(wait=True)) is not None:
            names.append(name)
            finish(plan, queue, name)
        return names


def dead(plan, *names):
    """A worker that was killed when it was on some sequences."""
    queue = FolderQueue(plan, names).__enter__()
    queue._heartbeat.stop()
    for _ in names:
        queue.take(wait=False)
    return queue


def claims(plan):
    return sorted(path.name for path in plan.job.folder.root.glob(".claims/*"))


def test_workers_share_everything_without_doubles(plan):
    taken = {}

    def take(number):
        taken[number] = drain(plan, FolderQueue(plan, NAMES))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for names in taken.values() for name in names) == NAMES
    assert drain(plan, FolderQueue(plan, NAMES)) == []
    assert not (plan.job.folder.root / ".claims").exists()


def test_what_is_on_disk_is_skipped(plan):
    for name in NAMES[5:]:
        write(plan, name)
    assert drain(plan, FolderQueue(plan, NAMES)) == NAMES[:5]


def test_the_sequences_of_a_dead_worker_are_taken_over(plan):
    dead(plan, *NAMES[:2])
    alive = FolderQueue(plan, NAMES)
    assert drain(plan, alive) == [*NAMES[2:], *NAMES[:2]] and alive.settled


def test_one_that_died_before_it_could_write_its_name(plan):
    with FolderQueue(plan, []):
        (plan.job.folder.root / ".claims/s00.claim").touch()
        assert drain(plan, FolderQueue(plan, NAMES)) == [*NAMES[1:], NAMES[0]]


def test_a_living_worker_keeps_its_sequence(plan, clock):
    with FolderQueue(plan, NAMES[:1]) as slow, FolderQueue(plan, NAMES[:1]) as other:
        assert slow.take(wait=False) == NAMES[0]
        heartbeat = next(plan.job.folder.root.glob(f".claims/{slow._worker}.heartbeat"))
        for _ in range(5):
            before = heartbeat.stat().st_mtime_ns
            while heartbeat.stat().st_mtime_ns == before:
                time.sleep(0.001)
            clock.now += shared_queue.PATIENCE - 1
            assert other.take(wait=False) is None and not other.settled
        finish(plan, slow, NAMES[0])
        assert other.take(wait=True) is None and other.settled


def test_a_failure_is_the_end_of_a_sequence_and_its_reason_is_kept(plan):
    plan.started = folder_time(plan.job.folder.root)
    with FolderQueue(plan, NAMES[:2]) as first, FolderQueue(plan, NAMES[:2]) as second:
        first.settle(first.take(wait=False), "no picture")
        finish(plan, second, second.take(wait=False))
        assert second.take(wait=True) is None
    assert failure_of(plan, NAMES[0]) == "no picture" and failure_of(plan, NAMES[1]) == ""


def test_a_failure_of_an_earlier_run_is_tried_again(plan):
    with FolderQueue(plan, NAMES[:1]) as first:
        first.settle(first.take(wait=False), "no picture")
    mark = plan.job.folder.root / ".claims/s00.failed"
    os.utime(mark, (0, mark.stat().st_mtime - 1))
    plan.started = folder_time(plan.job.folder.root)
    assert drain(plan, FolderQueue(plan, NAMES[:1])) == NAMES[:1]
    assert claims(plan) == []


def test_only_one_of_two_takes_over(plan, clock):
    dead(plan, NAMES[0])
    with FolderQueue(plan, NAMES[:1]) as one, FolderQueue(plan, NAMES[:1]) as other:
        heirs = [one, other]
        for patience in (0, shared_queue.PATIENCE - 1):
            clock.now += patience
            assert [heir.take(wait=False) for heir in heirs] == [None, None]
        clock.now += 2
        assert [heir.take(wait=False) for heir in heirs] == [NAMES[0], None]


def test_an_heir_that_was_slower_gives_back_what_it_took(plan, clock):
    """It has seen that the owner is dead; before it acts another one has taken over."""
    lost = dead(plan, NAMES[0])
    with FolderQueue(plan, NAMES[:1]) as quick, FolderQueue(plan, NAMES[:1]) as slow:
        quick._is_alive(lost._worker)
        clock.now += shared_queue.PATIENCE + 1
        slow._is_alive = lambda worker: quick.take(wait=False) is None
        assert slow.take(wait=False) is None
        assert (plan.job.folder.root / ".claims/s00.claim").read_text() == quick._worker


def test_claims_end_with_their_worker(plan):
    with FolderQueue(plan, NAMES) as mine:
        mine.take(wait=False)
        other = dead(plan, *NAMES[1:3])
        assert end_claims(plan.job.folder.root, other._worker, "killed") in (
            NAMES[1:3],
            NAMES[2:0:-1],
        )
        assert failure_of(plan, NAMES[1]) == "killed"
        assert "s00.claim" in claims(plan) and "s01.claim" not in claims(plan)
    assert "s00.claim" not in claims(plan)


def test_files_written_after_a_time_are_newer(plan):
    for _ in range(5):
        now = folder_time(plan.job.folder.root)
        write(plan, NAMES[0])
        assert plan.job.folder.boxes_file(NAMES[0]).stat().st_mtime > now


def test_what_a_worker_does_alone(plan):
    order = []

    def do(number):
        with FolderQueue(plan, []) as queue, queue.alone():
            order.append(number)
            time.sleep(0.05)
            order.append(number)

    threads = [threading.Thread(target=do, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[::2] == order[1::2]


def test_results_to_be_replaced_are_those_before_the_run(plan):
    job = Job(None, NAMES, None, plan.job.folder, None, RunOptions(overwrite=True))
    write(plan, NAMES[0])
    old = plan.job.folder.boxes_file(NAMES[0])
    os.utime(old, (0, old.stat().st_mtime - 1))
    again = Plan(job, plan.lengths, started=folder_time(job.folder.root) - 0.5)
    assert not again.is_done(NAMES[0]) and plan.is_done(NAMES[0])
    write(plan, NAMES[0])
    assert again.is_done(NAMES[0])


def test_the_rank_is_read_from_the_environment():
    assert WorkerRank.of(ENVIRONMENT) == WorkerRank(0, 2, ("127.0.0.1", 29500))
    assert WorkerRank.of({"PATH": os.environ.get("PATH", "")}) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"MASTER_PORT": "x"}, "not complete.*'x'", id="no number"),
        pytest.param({"LOCAL_RANK": None}, "not complete.*LOCAL_RANK", id="missing"),
    ],
)
def test_a_rank_that_cannot_be(change, words):
    env = {name: value for name, value in (ENVIRONMENT | change).items() if value is not None}
    with pytest.raises(SeqTrackError, match=words):
        WorkerRank.of(env)


def test_the_first_worker_of_a_launch_says_when_it_began():
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    ranks = [WorkerRank(number, 2, ("127.0.0.1", store.port)) for number in range(2)]
    assert [rank.shared("started x", 1.5 + rank.local_rank) for rank in ranks] == [1.5, 1.5]
    assert ranks[1].shared("started y", 3.0) == 3.0


def test_a_launch_without_a_store(monkeypatch):
    from datetime import timedelta

    from lib.evaluation import distributed as shared_run

    rank = WorkerRank.of(ENVIRONMENT | {"TORCHELASTIC_USE_AGENT_STORE": "False"})
    with pytest.raises(SeqTrackError, match="TORCH_DISABLE"):
        rank.shared("started", 0.0)
    monkeypatch.setattr(shared_run, "_STORE_TIMEOUT", timedelta(seconds=1))
    with pytest.raises(SeqTrackError, match=r"cannot be reached at 127\.0\.0\.1:9"):
        WorkerRank(0, 1, ("127.0.0.1", 9)).shared("started", 0.0)
