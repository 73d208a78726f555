"""The shared queue over a real store: everything once, and what the dead had in hand again."""

import os
import threading
import time

import pytest
from torch import distributed as dist

from lib.evaluation import queue as shared_queue
from lib.evaluation.queue import Hearts, Place, SharedQueue
from lib.utils.errors import SeqTrackError

NAMES = [f"s{i:02d}" for i in range(30)]
ENVIRONMENT = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "1",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def store():
    return dist.TCPStore("127.0.0.1", 0, is_master=True)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Look often; the tests say themselves who is alive."""
    monkeypatch.setattr(shared_queue, "_LOOK", 0.01)
    monkeypatch.setattr(shared_queue, "_BEAT", 0.01)


def queue(store, names=NAMES, done=(), patience=60.0):
    return SharedQueue(store, names, lambda name: name in done, Hearts(store, patience))


def drain(queue):
    while (name := queue.take(wait=False)) is not None:
        yield name


def test_workers_share_everything_without_doubles(store):
    """Four threads with a queue object each, as four processes would have."""
    taken = {n: [] for n in range(4)}

    def work(number):
        mine = queue(store)
        while (name := mine.take(wait=True)) is not None:
            taken[number].append(name)
            time.sleep(0.001)
            mine.settle(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for names in taken.values() for name in names) == NAMES
    assert queue(store).take(wait=True) is None


def test_what_is_on_disk_is_skipped(store):
    assert list(drain(queue(store, done=NAMES[5:]))) == NAMES[:5]


def test_the_sequences_of_a_dead_worker_are_taken_over(store):
    dead, alive = queue(store), queue(store, patience=0.05)
    lost = [dead.take(wait=False), dead.take(wait=False)]
    found = []
    while (name := alive.take(wait=True)) is not None:
        found.append(name)
        alive.settle(name)
    assert sorted(found) == NAMES and found[-2:] == lost and alive.settled


def test_one_that_died_before_it_could_write_its_name(store):
    """The counter has moved on, and nobody owns the first sequence."""
    store.add("next", 1)
    alive = queue(store, patience=0.05)
    found = []
    while (name := alive.take(wait=True)) is not None:
        found.append(name)
        alive.settle(name)
    assert found == [*NAMES[1:], NAMES[0]]


def test_a_beating_worker_keeps_its_sequence(store):
    slow = queue(store, patience=0.3)
    with slow._hearts.beating(store):
        held = slow.take(wait=False)
        other = queue(store, patience=0.3)
        for name in drain(other):
            other.settle(name)
        deadline = time.monotonic() + 1.5  # five times the patience
        while time.monotonic() < deadline:
            assert other.take(wait=False) is None
            assert not other.settled
        slow.settle(held)
        assert other.take(wait=True) is None and other.settled


def test_a_failure_is_the_end_of_a_sequence_and_its_reason_is_kept(store):
    first, second = queue(store, ["a", "b"]), queue(store, ["a", "b"], patience=0.0)
    first.take(wait=False)
    first.settle("a", "no picture")
    second.take(wait=False)
    second.settle("b")
    assert second.take(wait=True) is None
    assert first.reasons() == second.reasons() == {"a": "no picture"}


def test_only_one_of_two_takes_over(store):
    dead = queue(store, ["a"])
    dead.take(wait=False)
    heirs = [queue(store, ["a"], patience=0.02) for _ in range(2)]
    for heir in heirs:
        assert heir.take(wait=False) is None  # still within the patience
    time.sleep(0.1)
    assert sorted(str(heir.take(wait=False)) for heir in heirs) == ["None", "a"]


def test_another_attempt_starts_from_the_files(store):
    """The store outlives the workers; a counter for all attempts would lose what was in hand."""
    first = queue(dist.PrefixStore("attempt 0", store))
    list(drain(first))
    second = queue(dist.PrefixStore("attempt 1", store), done=NAMES[:20])
    assert list(drain(second)) == NAMES[20:]


def test_workers_with_other_work_are_told(store):
    queue(store)
    with pytest.raises(SeqTrackError, match="30 sequences to share out, and this one has 29"):
        queue(store, NAMES[1:])


def test_a_lost_store_ends_the_queue(store):
    class Gone:
        def __getattr__(self, name):
            raise RuntimeError("connection reset")

    mine = queue(store)
    mine._store = Gone()
    assert mine.take(wait=True) is None and mine.lost


def test_the_place_is_read_from_the_environment():
    place = Place.of(ENVIRONMENT)
    assert (place.run, place.attempt, place.local_size, place.port) == ("none", 1, 2, 29500)
    assert Place.of({"PATH": os.environ.get("PATH", "")}) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"TORCHELASTIC_USE_AGENT_STORE": "False"}, "TORCH_DISABLE", id="no store"),
        pytest.param({"MASTER_PORT": "x"}, "not complete.*'x'", id="no number"),
        pytest.param({"LOCAL_RANK": None}, "not complete.*LOCAL_RANK", id="missing"),
    ],
)
def test_a_place_that_cannot_be(change, words):
    env = {name: value for name, value in (ENVIRONMENT | change).items() if value is not None}
    with pytest.raises(SeqTrackError, match=words):
        Place.of(env)
