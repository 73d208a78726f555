"""Work that is killed, starved and lied to, again and again: `python scripts/chaos.py --help`."""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.utils.console import say
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, counted, did_you_mean
from tests.chaos.device import FaultyDevice
from tests.chaos.faults import KINDS, TRACEBACK, Fault, FaultyFiles, ForkedWork
from tests.chaos.tasks import PLANTS, TASKS, Task, plant

# A worker process imports PyTorch, which takes seconds: not so often.
_WORKERS_EVERY = 10


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the faults (default: 0)")
    parser.add_argument("--task", metavar="NAME", help="one kind of work instead of all")
    parser.add_argument("--fault", metavar="KIND", help="one kind of fault instead of all")
    parser.add_argument(
        "--plant", choices=PLANTS, help="do what must never happen, to see that it is found"
    )
    return parser


@dataclass(frozen=True)
class Reference:
    """An undisturbed run.

    Attributes:
        files: content of the results, by name.
        operations: how many operations on files it took.
        moments: those by which files got their final names.
        calls: of modules of networks.
        seconds: how long it took.
    """

    files: dict[str, bytes]
    operations: int
    moments: list[int]
    calls: int
    seconds: float


class Bench:
    """A task with its folder, its data, and what an undisturbed run gives.

    Raises:
        RuntimeError: it fails without any fault.
    """

    def __init__(self, task: Task, root: Path, planted: str | None) -> None:
        self.task, self.planted = task, planted
        self.data, self.out = root / "data", root / "out"
        self._counted = root / "operations"
        self.data.mkdir(parents=True)
        self.must(self._prepare, "its data cannot be made")
        self.out.mkdir()
        began = time.monotonic()
        self.must(lambda: self._work(Fault(), count=True), "it fails without a fault")
        seconds = time.monotonic() - began
        self.reference = Reference(self.results(), *json.loads(self._counted.read_text()), seconds)
        if not self.reference.files:
            raise RuntimeError(f"{task.name}: it has no results")

    def must(self, work: Callable[[], int], what: str) -> None:
        code, text = ForkedWork(work).wait()
        if code:
            raise RuntimeError(f"{self.task.name}: {what} ({code}): {text}")

    def start(self, fault: Fault) -> ForkedWork:
        return ForkedWork(lambda: self._work(fault))

    def _prepare(self) -> int:
        self.task.prepare(self.data)
        return 0

    def _work(self, fault: Fault, count: bool = False) -> int:
        # A worker process that is started anew imports the same modules by itself.
        files = FaultyFiles(self.data.parent if self.task.disturbed else self.out, fault)
        device = FaultyDevice(fault)
        if self.planted:
            plant(self.planted, files)
        code = self.task.work(self.data, self.out)
        if count:
            counted_operations = [files.count, files.moments, device.count]
            self._counted.write_text(json.dumps(counted_operations))
        return code

    def results(self) -> dict[str, bytes]:
        """Content of the files under final names."""
        return {name: self.task.content(self.out / name) for name in self._names()}

    def _names(self) -> list[str]:
        paths = (path for path in self.out.rglob("*") if path.is_file())
        names = (path.relative_to(self.out).as_posix() for path in paths)
        visible = (name for name in names if not name.rpartition("/")[2].startswith("."))
        return sorted(name for name in visible if self.task.final(name))

    def identities(self) -> dict[str, int]:
        """Which file on the disk each result is: another number where it was written again."""
        return {name: (self.out / name).stat().st_ino for name in self._names()}

    def clear(self) -> None:
        shutil.rmtree(self.out)
        self.out.mkdir()


def choose_fault(
    rng: random.Random, task: Task, reference: Reference, only: str | None = None
) -> Fault:
    """A fault of a kind that the task meets, or of the only one, at a random moment."""
    kind = only or rng.choice(task.kinds)
    if kind == "memory":
        return Fault(kind, rng.randrange(reference.calls))
    if kind in ("late kill", "worker kill"):
        return Fault(kind)
    if kind == "short":
        largest = max(map(len, reference.files.values()))
        return Fault(kind, 0, rng.randrange(1, largest))
    if reference.moments and rng.random() < 0.5:
        # Right before a file gets its name, or right after.
        return Fault(kind, rng.choice(reference.moments) + rng.randrange(2))
    return Fault(kind, rng.randrange(reference.operations))


def disturb(bench: Bench, fault: Fault, rng: random.Random) -> str:
    """Run the work with a fault, now and then beside a second one; how it ended, in words."""
    twin = None
    if bench.task.shared and fault.kind == "kill" and rng.random() < 0.5:
        twin = bench.start(Fault())
    work = bench.start(fault)
    if fault.kind == "late kill":
        time.sleep(rng.random() * bench.reference.seconds)
        work.kill()
    elif fault.kind == "worker kill":
        work.kill_worker(rng, bench.reference.seconds / 2)
    ended = _ending(*work.wait())
    if twin is None:
        return ended
    other = _ending(*twin.wait())
    if other != "done":
        raise Lost(f"the one beside it did not get to its end: {other}")
    return f"{ended}, the one beside it went on"


class Lost(Exception):
    """What a campaign is to find."""


def _ending(code: int, text: str) -> str:
    if code < 0:
        return f"signal {-code}"
    if code == TRACEBACK:
        raise Lost(f"a traceback: {' / '.join(text.splitlines()[-3:])}")
    return "done" if code == 0 else f"exit status {code}"


def check_whole(bench: Bench) -> None:
    """No half file under a final name. Raises Lost."""
    for name, content in bench.results().items():
        whole = bench.reference.files.get(name)
        if content != whole:
            size = "no" if whole is None else len(whole)
            raise Lost(f"{name} has {len(content)} bytes that are not the {size} of a whole one")


def check_again(bench: Bench) -> int:
    """The same work goes on to the same results; how many were kept. Raises Lost."""
    before = bench.identities()
    code, text = bench.start(Fault()).wait()
    if code:
        raise Lost(f"run again, it ends with {code}: {text}")
    now = bench.results()
    for name, content in bench.reference.files.items():
        if now.get(name) != content:
            kind = "missing" if name not in now else "another"
            raise Lost(f"run again, {name} is {kind}")
    after = bench.identities()
    again = [name for name, number in before.items() if after.get(name) != number]
    if made := [name for name in again if bench.task.keeps(name)]:
        raise Lost(f"{made[0]} was there, and was made again")
    return len(before) - len(again)


def campaign(
    tasks: Sequence[Task], rounds: int, seed: int, planted: str | None, only: str | None = None
) -> int:
    """Disturb one task after the other; the number of rounds in which something was lost."""
    rng = random.Random(seed)
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    benches: dict[str, Bench] = {}
    usual = [task for task in tasks if not task.processes] or list(tasks)
    heavy = [task for task in tasks if task.processes]
    lost, kinds = 0, dict.fromkeys(KINDS, 0)
    try:
        for number in range(rounds):
            task = usual[number % len(usual)]
            if heavy and number % _WORKERS_EVERY == _WORKERS_EVERY - 1:
                task = heavy[number // _WORKERS_EVERY % len(heavy)]
            if task.name not in benches:
                benches[task.name] = Bench(task, root / task.name, planted)
            bench = benches[task.name]
            bench.clear()
            fault = choose_fault(rng, task, bench.reference, only)
            kinds[fault.kind] += 1
            try:
                ended = disturb(bench, fault, rng)
                check_whole(bench)
                text = f"{ended}; {counted(check_again(bench), 'result')} kept, the rest made"
            except Lost as error:
                lost += 1
                text = f"LOST: {error}"
            say(f"round {number}: {task.name}, {fault}: {text}")
    finally:
        _end(root)
    told = ", ".join(f"{count} {KINDS[kind]}" for kind, count in kinds.items() if count)
    say(f"{counted(rounds, 'round')} ({told}): {lost} lost something")
    return lost


def _end(root: Path) -> None:
    """End the servers, and remove the folder."""
    for file in root.glob("*/data/server.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)
    shutil.rmtree(root, ignore_errors=True)


def _tasks_that_meet(fault: str, tasks: Sequence[Task]) -> list[Task]:
    """Those of the tasks that a kind of fault can happen to. Raises ConfigError where none is."""
    met = [task for task in tasks if fault in task.kinds]
    if not met:
        known = dict.fromkeys(kind for task in tasks for kind in task.kinds)
        hint = did_you_mean(fault, known)
        raise ConfigError(f"no fault {fault!r} happens here{hint}; there are {', '.join(known)}")
    return met


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    if not sys.platform.startswith("linux"):
        raise ConfigError("processes are forked and their files watched as on Linux")
    known = {task.name: task for task in TASKS}
    if options.task is not None and options.task not in known:
        hint = did_you_mean(options.task, known)
        raise ConfigError(f"there is no task {options.task!r}{hint}; there are {', '.join(known)}")
    tasks = TASKS if options.task is None else [known[options.task]]
    if options.fault is not None:
        tasks = _tasks_that_meet(options.fault, tasks)
    lost = campaign(tasks, options.rounds, options.seed, options.plant, options.fault)
    return EXIT_PARTIAL if lost else EXIT_OK
