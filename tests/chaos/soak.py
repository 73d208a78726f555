"""Work that goes on for long, watched from outside: memory, handles and threads as CSV.

A part must not grow: what it has at the end is compared with what it had at half of its way.
"""

import argparse
import itertools
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.api import Tracker
from lib.datasets.sequence import Dataset, Video
from lib.evaluation.plan import Job
from lib.evaluation.run import evaluate
from lib.results.files import ResultsFolder, RunRecord
from lib.tracker.spec import TrackerSpec
from lib.train.loop import fit
from lib.utils.console import say
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError
from tests.chaos.faults import ForkedWork, family
from tests.helpers.memory_set import MemoryFrames, square
from tests.helpers.page_server import BOX, client_of, make_service, write_clip
from tests.helpers.tiny import draw_sequence, tiny_config
from tests.helpers.training_runs import make_config, make_run

COLUMNS = ("part", "done", "seconds", "memory_mib", "handles", "threads")
# Allocators keep some; what leaks in so many steps is more.
_MAY_GROW = {"memory": 1.05, "handles": 1.0, "threads": 1.0}
# What comes and goes besides, such as what processes hand to each other; memory in MiB.
_COMES_AND_GOES = {"memory": 16.0, "handles": 8, "threads": 1}
_EPOCH = 100

# Says how much is done, as often as it likes.
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Part:
    """Something that goes on for long."""

    name: str
    full: int  # how long at a scale of 1
    work: Callable[[int, Path, Tell], None]  # for so long, in a folder


def _spec() -> TrackerSpec:
    updates = {"UPDATE_INTERVALS": {"DEFAULT": 1}, "UPDATE_THRESHOLD": {"DEFAULT": 0.0}}
    return TrackerSpec("seqtrack", "tiny", tiny_config(TEST=updates), cpu_threads=1)


def _frames(count: int, folder: Path, tell: Tell) -> None:
    """Frames through one tracker, of which each becomes a template."""
    images, boxes = draw_sequence(50, width=320, height=240)
    endless = (images[number % 50].copy() for number in itertools.count())
    with Tracker(_spec(), device="cpu") as tracker:
        for result in tracker.stream(endless, [tuple(boxes[0])]):
            tell(result.frame + 1)
            if result.frame + 1 >= count:
                break


def _sequences(count: int, folder: Path, tell: Tell) -> None:
    """Short sequences through one worker, which writes their results."""
    names = tuple(f"s{number}" for number in range(count))
    done = itertools.count(1)

    def load(name: str) -> Video:
        # Each is looked at first, before any is tracked.
        tell(max(0, next(done) - count))
        return Video(name, MemoryFrames(name, 4), np.array([square(i) for i in range(4)], float))

    dataset = Dataset("soak", "soak", "DEFAULT", "otb", "built-in", names, load)
    record = RunRecord("seqtrack", "tiny", {}, None, "soak", "built-in")
    results = ResultsFolder(folder / "results")
    summary = evaluate(Job(dataset, list(names), _spec(), results, record), ["cpu"])
    if summary.failed:
        raise RuntimeError(next(iter(summary.failed.values())))
    tell(count)


def _steps(count: int, folder: Path, tell: Tell) -> None:
    """Training steps with two processes that load data, and a checkpoint now and then."""
    epochs = max(1, count // _EPOCH)
    cfg = make_config(epochs=epochs, steps=max(1, count // epochs), NUM_WORKER=2)
    run = make_run(folder, cfg)
    total = itertools.count(1)

    def step(*about: object, **facts: object) -> None:
        tell(next(total))

    # What it would keep of each step would grow.
    run.log.step = step  # type: ignore[attr-defined]
    fit(run)


def _requests(count: int, folder: Path, tell: Tell) -> None:
    """Requests to a server: an upload that is tracked, then a session with a download."""
    clip = write_clip(folder / "clip.mp4", 4).read_bytes()
    wanted = {"frame": 0, "boxes": {0: {"1": [10, 20, 18, 14]}}}
    with client_of(make_service(folder)) as client:

        def ask(method: str, path: str, **content: Any) -> Any:
            answer = client.request(method, path, **content)
            if answer.status_code != 200:
                raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
            tell(next(done))
            return answer

        done = itertools.count(1)
        for _ in range(0, count, 5):
            ask("POST", "/track", files={"video": ("a.mp4", clip)}, data={"boxes": BOX})
            session = "/sessions/" + ask("POST", "/sessions", content=clip).json()["id"]
            ask("POST", f"{session}/track", json=wanted)
            ask("GET", f"{session}/annotations")
            ask("POST", f"{session}/end")


PARTS = (
    Part("frames", 100_000, _frames),
    Part("sequences", 2_000, _sequences),
    Part("steps", 2_000, _steps),
    Part("requests", 500, _requests),
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = ", ".join(f"{part.name} ({part.full})" for part in PARTS)
    parser.add_argument("--part", metavar="NAME", help=f"one part instead of all: {known}")
    parser.add_argument("--scale", type=float, default=1.0, help="share of it all (default: 1)")
    parser.add_argument("--samples", type=int, default=100, help="rows of a part (default: 100)")
    return parser


@dataclass(frozen=True)
class Usage:
    """What a process and its children have."""

    memory: float  # MiB that are theirs alone, as far as the system tells
    handles: int
    threads: int


def usage_of(process: int) -> Usage:
    """Sum over a process and those that it started."""
    memory, handles, threads = 0.0, 0, 0
    for number in family(process):
        try:
            status = Path(f"/proc/{number}/status").read_text()
            handles += len(os.listdir(f"/proc/{number}/fd"))
        except OSError:
            continue  # it has just ended
        facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        memory += int(facts.get("RssAnon", "0 kB").split()[0]) / 1024
        threads += int(facts.get("Threads", "0"))
    return Usage(memory, handles, threads)


def watch(part: Part, count: int, samples: int) -> Iterator[tuple[int, float, Usage]]:
    """Run a part in a process of its own; what it has, each time it has come a step farther.

    Raises:
        RuntimeError: it failed.
    """
    shared = mmap.mmap(-1, 8)

    def tell(done: int) -> None:
        shared[:8] = done.to_bytes(8, "little")

    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        began = time.monotonic()
        work = ForkedWork(lambda: _done(part, count, Path(folder), tell))
        step, last = max(1, count // samples), 0
        while os.waitid(os.P_PID, work.number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            work.listen()
            done = int.from_bytes(shared[:8], "little")
            if done >= last + step:
                usage, last = usage_of(work.number), done
                # One that has just ended has none.
                if usage.memory:
                    yield done, time.monotonic() - began, usage
            time.sleep(0.02)
        code, text = work.wait()
    if code:
        raise RuntimeError(f"{part.name} ended with {code}: {text}")


def _done(part: Part, count: int, folder: Path, tell: Tell) -> int:
    part.work(count, folder, tell)
    return 0


def growth(rows: Sequence[tuple[int, float, Usage]]) -> list[str]:
    """What grew in the second half of a part, in words: medians of its quarters are compared."""
    usages = [usage for _, _, usage in rows]
    quarter = len(usages) // 4
    if not quarter:
        return []
    before, after = usages[quarter : 2 * quarter], usages[-quarter:]
    found = []
    for name, factor in _MAY_GROW.items():
        early, late = (
            statistics.median(getattr(one, name) for one in part) for part in (before, after)
        )
        if late > early * factor + _COMES_AND_GOES[name]:
            found.append(f"{name} grew from {early:.0f} to {late:.0f}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    if not sys.platform.startswith("linux"):
        raise ConfigError("memory and handles are read as Linux tells them")
    parts = [part for part in PARTS if options.part in (None, part.name)]
    if not parts:
        names = ", ".join(part.name for part in PARTS)
        raise ConfigError(f"there is no part {options.part!r}; there are {names}")
    torch.set_num_threads(1)
    say(",".join(COLUMNS))
    grown = []
    for part in parts:
        rows = []
        for row in watch(part, max(1, round(part.full * options.scale)), options.samples):
            rows.append(row)
            done, seconds, usage = row
            numbers = f"{usage.memory:.1f},{usage.handles},{usage.threads}"
            say(f"{part.name},{done},{seconds:.1f},{numbers}")
        grown += [f"{part.name}: {text}" for text in growth(rows)]
    for text in grown:
        say(text, error=True)
    return EXIT_PARTIAL if grown else EXIT_OK
