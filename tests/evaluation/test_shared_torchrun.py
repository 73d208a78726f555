"""Evaluation under torchrun, with processes that are really killed: nothing is lost or doubled.

What workers do one by one is in test_shared_run.py; here it is real launchers, real signals.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lib.commands.entry import run
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import save_checkpoint
from tests.helpers.tiny import TINY_YAML, tiny_config, write_got10k_folder

REPOSITORY = Path(__file__).parents[2]
NAMES = [f"video{i}" for i in range(8)]
FRAMES = 30
# On a machine that does much else, importing torch alone takes a minute.
PATIENCE = 600

# tracking/test.py whose processes write one result each, and wait for the file HELD_UNTIL then:
# however quick the machine is, there is something left to do when a process is killed.
HELD = f"""\
import os, sys, time
sys.path.insert(0, {str(REPOSITORY)!r})
from lib.commands.entry import run
from lib.results.files import ResultsFolder

write, written = ResultsFolder.write, []

def held(self, name, *arguments):
    while written and not os.path.exists(os.environ["HELD_UNTIL"]):
        time.sleep(0.05)
    write(self, name, *arguments)
    written.append(name)

ResultsFolder.write = held
sys.exit(run("lib.commands.test"))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A configuration, its weights, videos, and the results of tracking one by one."""
    root = tmp_path_factory.mktemp("shared")
    (root / "tiny.yaml").write_text(TINY_YAML)
    torch.manual_seed(3)
    network = build_seqtrack(tiny_config())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1)  # tokens that depend on the picture
    save_checkpoint(root / "tiny.pth.tar", {"net": network.state_dict()})
    write_got10k_folder(root / "videos", NAMES, FRAMES)
    (root / "held.py").write_text(HELD)
    assert run("lib.commands.test", arguments(root, root / "alone")) == 0
    return root


def arguments(root: Path, save_dir: Path) -> list[str]:
    return [
        *("--config", str(root / "tiny.yaml"), "--dataset", str(root / "videos")),
        *("--checkpoint", str(root / "tiny.pth.tar"), "--save_dir", str(save_dir)),
        *("--device", "cpu"),
    ]


def results(save_dir: Path) -> dict[str, str]:
    """The content of every file of boxes."""
    folder = save_dir / "test/tracking_results/seqtrack/tiny/videos"
    files = {name: folder / f"{name}.txt" for name in NAMES}
    return {name: file.read_text() for name, file in files.items() if file.exists()}


class Launch:
    """A torchrun that shares out the videos; its output goes to a file."""

    def __init__(self, root: Path, save_dir: Path, *options: str) -> None:
        self.save_dir = save_dir
        self.log = save_dir / f"log{time.monotonic_ns()}"
        save_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "torch.distributed.run", *options, str(root / "held.py")]
        command += [*arguments(root, save_dir), "--batch-size", "2", "--readers", "1"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**os.environ, "HELD_UNTIL": str(save_dir / "go")},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def go(self) -> None:
        """Processes that hold their results write them from now on."""
        (self.save_dir / "go").touch()

    def wait_for(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def wait_for_results(self, number: int) -> None:
        self.wait_for(lambda: len(results(self.save_dir)) >= number)

    def code(self) -> int:
        return self.process.wait(PATIENCE)

    def workers(self) -> list[int]:
        return children(self.process.pid)

    def end(self) -> None:
        """Whatever is left of it."""
        for pid in [self.process.pid, *self.workers()]:
            kill(pid)
        self.process.wait(PATIENCE)


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(folder.name))
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@pytest.fixture
def launch(place, tmp_path) -> Iterator[Callable[..., Launch]]:
    started = []

    def start(*options: str) -> Launch:
        started.append(Launch(place, tmp_path, *options))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_a_killed_worker(place, tmp_path, launch):
    """torchrun starts the workers again; they go on with what is not on disk."""
    one = launch("--standalone", "--nproc_per_node", "2", "--max-restarts", "1")
    one.wait_for_results(1)
    before = results(tmp_path)
    kill(one.workers()[0])
    one.go()
    assert one.code() == 0, one.log.read_text()
    assert results(tmp_path) == results(place / "alone")
    # What was there has not been tracked again: each is named once in what the workers said.
    said = one.log.read_text()
    assert all(said.count(f" {name}: ") == 1 for name in before), said
    assert "8 of 8 results are there, 0 failed" in said


def test_a_node_that_goes_down(place, tmp_path, launch):
    """An agent and its worker are killed; the other machine's worker does what they had in hand.

    The other agent then waits some minutes for the dead one, which is torchrun's way; by then
    its worker has said that everything is there.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    options = ("--nnodes", "1:2", "--nproc_per_node", "1", "--rdzv-backend", "c10d")
    options += ("--rdzv-id", "shared", "--rdzv-endpoint", f"localhost:{port}")
    first = launch(*options)
    # The first agent holds the store: the second one must find it there.
    first.wait_for(lambda: listens(port))
    second = launch(*options)
    first.wait_for(lambda: " video" in second.log.read_text())
    assert len(results(tmp_path)) < len(NAMES)
    for pid in [second.process.pid, *second.workers()]:
        kill(pid)
    first.go()
    first.wait_for(lambda: "results are there" in first.log.read_text())
    assert "8 of 8 results are there, 0 failed" in first.log.read_text()
    assert results(tmp_path) == results(place / "alone")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


def test_everything_killed_then_interrupted_then_finished(place, tmp_path, launch):
    """A machine that loses power, a Ctrl-C, a removed result: the same command goes on."""
    options = ("--standalone", "--nproc_per_node", "2")
    one = launch(*options)
    one.wait_for_results(1)
    one.end()
    two = launch(*options)
    two.wait_for(lambda: " video" in two.log.read_text())
    two.process.send_signal(signal.SIGINT)
    assert two.code() != 0
    whole = results(tmp_path)
    assert 2 <= len(whole) < len(NAMES)
    assert whole == {name: results(place / "alone")[name] for name in whole}
    next(tmp_path.rglob(f"{min(whole)}.txt")).unlink()
    two.go()
    three = launch(*options)
    assert three.code() == 0, three.log.read_text()
    assert results(tmp_path) == results(place / "alone")
