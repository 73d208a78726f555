"""lib/train/data/loader.py and workers.py: which samples make which batch, and how loading ends."""

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lib.train.data.loader import (
    Loading,
    batches_per_epoch,
    collate,
    training_batches,
    validation_batches,
)
from lib.train.data.workers import LoadingError, make_in_order
from lib.utils.errors import EXIT_PARTIAL, ConfigError, DataError
from tests.helpers.memory_set import SIDE, MemorySet, memory_sampler

ROOT = Path(__file__).parents[2]
PLAN = {"epochs": 2, "samples_per_epoch": 26}


def numbers(batches):
    return [(epoch, step, *batch.numbers.tolist()) for epoch, step, batch in batches]


def train(sampler=None, workers=0, **changes):
    how = {k: changes.pop(k) for k in ("batch_size", "rank", "world") if k in changes}
    loading = Loading(**{"batch_size": 4, "workers": workers, **how})
    return training_batches(sampler or memory_sampler(), loading, **{**PLAN, **changes})


def same(one, other):
    keys = ("templates", "search", "template_boxes", "boxes", "numbers")
    return all(torch.equal(getattr(one, k), getattr(other, k)) for k in keys)


def test_a_batch():
    batch = next(train())[2]
    assert batch.templates.shape == (4, 2, SIDE, SIDE, 3) and batch.templates.dtype == torch.uint8
    assert batch.search.shape == (4, SIDE, SIDE, 3) and batch.search.dtype == torch.uint8
    assert batch.template_boxes.shape == (4, 2, 4) and batch.boxes.shape == (4, 4)
    assert (batch.boxes.dtype, batch.numbers.dtype) == (torch.float32, torch.int64)
    assert len(batch) == len(batch.sources) == 4
    sample = memory_sampler().sample(1, 2)
    assert torch.equal(batch.search[2], torch.from_numpy(sample.search))
    assert batch.sources[2] == sample.source
    assert batch.to("meta").boxes.device.type == "meta"
    assert batch.to("cpu").sources == batch.sources


def test_numbers_of_all_steps():
    steps = numbers(train())
    assert [step[:2] for step in steps] == [(e, s) for e in (1, 2) for s in range(6)]
    assert [n for step in steps[:6] for n in step[2:]] == list(range(24))  # 24 and 25 are left out
    assert [step[2:] for step in steps[6:]] == [step[2:] for step in steps[:6]]


def test_two_ranks_see_what_one_sees():
    alone = list(train(batch_size=8))
    ranks = [list(train(rank=rank, world=2)) for rank in range(2)]
    assert len(alone) == len(ranks[0]) == len(ranks[1]) == 6
    for (*place, whole), first, second in zip(alone, *ranks, strict=True):
        assert place == list(first[:2]) == list(second[:2])
        assert torch.equal(whole.search, torch.cat([first[2].search, second[2].search]))
        assert torch.equal(whole.numbers, torch.cat([first[2].numbers, second[2].numbers]))


@pytest.mark.parametrize("start", [0, 2, 6], ids=["nothing", "some", "a whole epoch"])
def test_resume_leaves_out_what_is_done(start):
    everything = list(train())
    rest = list(train(start_epoch=1, start_batch=start))
    assert numbers(rest) == numbers(everything)[start:]
    assert all(same(a[2], b[2]) for a, b in zip(rest, everything[start:], strict=True))


def test_workers_change_nothing_and_leave_with_the_generator():
    before = multiprocessing.active_children()
    state = torch.get_rng_state()
    batches = train(workers=2)
    first = next(batches)
    started = [c for c in multiprocessing.active_children() if c not in before]
    assert 1 <= len(started) <= 2
    alone = list(train())
    for ours, theirs in zip([first, *batches], alone, strict=True):
        assert ours[:2] == theirs[:2] and same(ours[2], theirs[2])
        assert ours[2].sources == theirs[2].sources
    assert not any(c.is_alive() for c in started)
    assert torch.equal(state, torch.get_rng_state())  # dropout's random numbers are not ours

    batches = train(workers=1)
    next(batches)
    started = [c for c in multiprocessing.active_children() if c not in before]
    batches.close()
    assert started and not any(c.is_alive() for c in started)


def test_validation_is_the_same_every_time_and_leaves_nothing_out():
    def shares(world):
        processes = (Loading(3, rank, world) for rank in range(world))
        return [list(validation_batches(memory_sampler(), how, 11)) for how in processes]

    (alone,) = shares(1)
    assert [batch.numbers.tolist() for batch in alone] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
    assert same(alone[0], collate([memory_sampler().sample(0, i) for i in range(3)]))
    apart = [n for batches in shares(2) for batch in batches for n in batch.numbers.tolist()]
    assert sorted(apart) == list(range(11))
    assert not same(alone[0], collate([memory_sampler().sample(1, i) for i in range(3)]))


def test_steps_of_an_epoch():
    assert batches_per_epoch(60000, 16, 8) == 468
    with pytest.raises(ConfigError, match=r"SAMPLE_PER_EPOCH 100 is less than .*BATCH_SIZE 16"):
        batches_per_epoch(100, 16, 8)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_warned_of_once_and_counted(workers, caplog):
    broken = frozenset(range(12))
    sampler = memory_sampler(MemorySet([[1] * 40] * 2, broken=broken))
    with caplog.at_level(logging.WARNING):
        batches = [batch for _, _, batch in train(sampler, workers=workers)]
    texts = [text for batch in batches for text in batch.broken]
    assert len(texts) > len(set(texts))
    warned = [record.getMessage() for record in caplog.records]
    assert sorted(warned) == sorted(f"{t}; another sample is drawn instead" for t in set(texts))
    assert sum(batch.redraws for batch in batches) >= len(texts)


def test_a_broken_image_is_not_warned_of_again_by_the_next_validation(caplog):
    sampler = memory_sampler(MemorySet([[1] * 40] * 2, broken=frozenset(range(12))))
    first, second = (list(validation_batches(sampler, Loading(4), 20)) for _ in range(2))
    texts = [text for batch in first for text in batch.broken]
    assert texts and texts == [text for batch in second for text in batch.broken]
    assert len(caplog.messages) == len(set(texts))


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_gives_nothing_ends_in_one_line(workers):
    sampler = memory_sampler(MemorySet([[1] * 40], broken=frozenset(range(40))))
    with pytest.raises(DataError, match=r"^MEMORY: 100 draws gave no .* damaged") as error:
        list(train(sampler, workers=workers))
    assert "\n" not in str(error.value)


def test_a_killed_worker_ends_the_run_in_one_line():
    before = multiprocessing.active_children()
    with contextlib.closing(train(workers=2, epochs=1000)) as batches:
        next(batches)
        started = [c for c in multiprocessing.active_children() if c not in before]
        os.kill(started[0].pid, signal.SIGKILL)
        with pytest.raises(LoadingError, match=r"process died \(SIGKILL\); out of") as error:
            for _ in batches:
                pass
    assert error.value.exit_code == EXIT_PARTIAL
    assert "\n" not in str(error.value)
    assert not any(c.is_alive() for c in started)


def end_by(what):
    """Ends the process that it is called in."""
    if what < 0:
        os.kill(os.getpid(), -what)
    os._exit(what)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        pytest.param(3, r"ended by itself \(exit code 3\); see above why$", id="exit code"),
        pytest.param(-signal.SIGSEGV, r"died \(SIGSEGV\)$", id="crash"),
        pytest.param(-signal.SIGBUS, r"died \(SIGBUS\); out of shared memory", id="shared memory"),
    ],
)
def test_the_end_of_a_worker_is_told_as_it_was(what, said):
    with pytest.raises(LoadingError, match=said):
        list(make_in_order(end_by, iter([what]), 1, False))


class Mistaken(MemorySet):
    """A set with a mistake in its code."""

    def load(self, index):
        raise ZeroDivisionError("one over nothing")


def test_a_mistake_in_the_code_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError, match=r"(?s)Traceback.*in load.*one over nothing"):
        list(train(memory_sampler(Mistaken([[1] * 40])), workers=1))


SCRIPT = """
import multiprocessing, sys, time
from lib.train.data.loader import Loading, training_batches
from tests.helpers.memory_set import memory_sampler

if __name__ == "__main__":
    batches = training_batches(
        memory_sampler(), Loading(4, workers=1), epochs=1000, samples_per_epoch=24
    )
    next(batches)
    print(multiprocessing.active_children()[0].pid, flush=True)
    if sys.argv[1] == "crash":
        raise ValueError("somewhere else")
    time.sleep(60)
"""


@contextlib.contextmanager
def running(tmp_path, word):
    """A process that loads batches, in a group of its own, and the number of its worker."""
    script = tmp_path / "loads.py"
    script.write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, script, word],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, int(process.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def lives(pid):
    """Whether a process runs; a dead one that nobody has asked about yet does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    return False


def gone(pid, seconds=30.0):
    deadline = time.monotonic() + seconds
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not lives(pid)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@needs_proc
def test_workers_go_with_a_killed_main_process(tmp_path):
    with running(tmp_path, "sleep") as (process, worker):
        assert lives(worker)
        # Launchers and batch systems send it to the whole group; only the main process decides.
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker, number)
        time.sleep(0.2)
        assert lives(worker)
        process.kill()
        assert gone(worker)


@needs_proc
def test_a_crash_elsewhere_does_not_hang(tmp_path):
    with running(tmp_path, "crash") as (process, worker):
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1 and "somewhere else" in said
        assert gone(worker)
