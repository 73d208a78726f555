"""lib/train/lock.py: two trainings never share a folder, and no lock outlives its training."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from lib.train import lock as module
from lib.train.lock import LOCK_NAME, TrainingLock
from lib.utils.errors import SeqTrackError
from tests.helpers.training_runs import ROOT

HOLD = (
    "import sys; from pathlib import Path; from lib.train.lock import TrainingLock;"
    "TrainingLock(Path(sys.argv[1])).acquire(); print('has it', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.wait()


def test_second_training_is_refused_and_told_who_is_there(tmp_path, holder):
    before = (tmp_path / LOCK_NAME).read_bytes()
    with pytest.raises(SeqTrackError, match="a training runs there") as error:
        TrainingLock(tmp_path).acquire()
    text = str(error.value)
    assert f"process {holder.pid} on {socket.gethostname()}, since 20" in text
    assert "--save-dir" in text and error.value.exit_code == 2 and "\n" not in text
    assert (tmp_path / LOCK_NAME).read_bytes() == before


def test_lock_of_a_killed_training_does_no_harm(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK_NAME).exists()
    lock = TrainingLock(tmp_path)
    lock.acquire()
    assert json.loads((tmp_path / LOCK_NAME).read_text())["process"] == os.getpid()
    lock.close()
    assert not list(tmp_path.iterdir())


def elsewhere(folder, age: float) -> None:
    """A lock as it looks from here when a training on another machine made it."""
    path = folder / LOCK_NAME
    path.write_text(json.dumps({"process": 7, "host": "elsewhere", "since": "yesterday"}))
    os.utime(path, (time.time() - age,) * 2)


def test_training_of_another_machine(tmp_path):
    elsewhere(tmp_path, age=10)
    with pytest.raises(SeqTrackError, match="process 7 on elsewhere, since yesterday") as error:
        TrainingLock(tmp_path).acquire()
    assert f"if it was killed, {tmp_path / LOCK_NAME} is void 120 s later, or remove it" in str(
        error.value
    )


def test_training_that_was_killed_on_another_machine(tmp_path):
    elsewhere(tmp_path, age=1000)
    lock = TrainingLock(tmp_path)
    lock.acquire()
    assert json.loads(lock.path.read_text(encoding="utf-8"))["process"] == os.getpid()
    lock.close()
    assert not lock.path.exists()


def test_file_system_without_locks_goes_by_age(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_lock", lambda stream: None)
    first, second = TrainingLock(tmp_path), TrainingLock(tmp_path)
    first.acquire()
    with pytest.raises(SeqTrackError, match="a training runs there"):
        second.acquire()
    os.utime(first.path, (time.time() - 1000,) * 2)
    second.acquire()
    first.close(), second.close()


def test_running_training_keeps_its_lock_fresh(tmp_path, monkeypatch):
    touched = threading.Event()
    monkeypatch.setattr(module, "_HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(module.os, "utime", lambda path: touched.set())
    lock = TrainingLock(tmp_path)
    lock.acquire()
    assert touched.wait(30)
    lock.close()


def test_lock_that_was_removed_while_it_was_opened(tmp_path, monkeypatch):
    """The lock of a file that has no name any more keeps nobody away."""
    original, removals = module._lock, iter([True])

    def removed_in_between(stream):
        if next(removals, False):
            (tmp_path / LOCK_NAME).unlink()
        return original(stream)

    monkeypatch.setattr(module, "_lock", removed_in_between)
    lock = TrainingLock(tmp_path)
    lock.acquire()
    assert json.loads((tmp_path / LOCK_NAME).read_text())["process"] == os.getpid()
    lock.close()
