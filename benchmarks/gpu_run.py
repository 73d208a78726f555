"""How `gpu_check.py` runs its parts: each in processes of its own, with a time limit, once.

A finished part leaves `records/<part>.json`; the next start goes on with the parts that have
none. A part that fails stops no other. The output of a part's commands is in `logs/<part>.log`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"


class PartFailed(Exception):
    """A part did not show what it has to; the message says why, in a line."""


class PartSkipped(Exception):
    """A part cannot run here; the message says why."""


@dataclass(frozen=True)
class Sizes:
    """How much each part does.

    Attributes:
        sequences, frames: tracked beside the CPU.
        samples: of a training epoch.
        batch: samples of a measured training step of b256.
        seconds: of a measurement, for each situation.
        networks: measured ones.
        batches: targets at a time in the measurements.
        race: sequences and frames of the whole run beside the reference.
        targets: at a time, tracked beside the CPU.
        slack: times the seconds that each part has.
    """

    sequences: int = 128
    frames: int = 12
    samples: int = 3200
    batch: int = 64
    seconds: int = 30
    networks: tuple[str, ...] = ("seqtrack_b256", "seqtrack_l384")
    batches: tuple[int, ...] = (1, 8, 32, 128)
    race: tuple[int, int] = (48, 110)
    targets: tuple[int, ...] = (1, 2, 3, 5, 33, 128)
    slack: int = 1


@dataclass(frozen=True)
class Record:
    """What a part showed.

    Attributes:
        part: its name.
        outcome: `passed`, `FAILED` or `skipped`.
        words: a line.
        seconds: that it took.
        table: Markdown rows for the summary, the heading first.
    """

    part: str
    outcome: str
    words: str
    seconds: float
    table: tuple[str, ...] = ()


@dataclass
class Check:
    """One run of all parts into a folder.

    Attributes:
        out: the folder.
        device: `cuda` or `cpu`.
        sizes: how much each part does.
        quick: whether this is a rehearsal.
        cards: CUDA devices of this machine.
        deadline: of the part that is running, in seconds of `time.monotonic`.
        part: name of the part that is running.
        table: rows that it adds to the summary.
    """

    out: Path
    device: str
    sizes: Sizes
    quick: bool = False
    cards: int = 0
    deadline: float = 0.0
    part: str = ""
    table: list[str] = field(default_factory=list)

    @property
    def work(self) -> Path:
        """Folder of what the commands write."""
        return self.out / "work"

    def start(self, *words: object, **settings: str) -> subprocess.Popen[bytes]:
        """Start a program in the checkout, Python's but for bash; it writes to the part's log."""
        command = [str(word) for word in words]
        # What a rehearsal computes is too little to be shared out, and others are at work.
        threads = {"OMP_NUM_THREADS": "1"} if self.quick else {}
        if command[0] != "bash":
            command.insert(0, sys.executable)
        with open(self.out / "logs" / f"{self.part}.log", "ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **threads, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of a program, all of which is ended with the part.

        Raises:
            PartFailed: the time of the part is over.
        """
        try:
            return process.wait(max(0.1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise PartFailed(f"not done in the time it has: {self.last_line()}") from None
        finally:
            end(process)

    def call(self, *words: object, **settings: str) -> None:
        """Run a program to its end.

        Raises:
            PartFailed: it ended with another code than 0, or the time of the part is over.
        """
        code = self.wait(self.start(*words, **settings))
        if code:
            raise PartFailed(f"the command ended with {code}: {self.last_line()}")

    def last_line(self) -> str:
        """The last error, or else the last line, that the programs of the part printed."""
        text = (self.out / "logs" / f"{self.part}.log").read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("error: ", "E   "))]
        return (errors or lines or ["no output"])[-1][:300]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started, if there is anything left."""
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


@dataclass(frozen=True)
class Part:
    """A part: its name, the seconds it has, and what runs it and says in a line what was seen."""

    name: str
    limit: int
    run: Callable[[Check], str]


def write(path: Path, text: str) -> None:
    """All of it or nothing."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def read_records(out: Path) -> dict[str, Record]:
    """What earlier starts have finished."""
    found = [json.loads(path.read_text()) for path in (out / "records").glob("*.json")]
    return {one["part"]: Record(**{**one, "table": tuple(one["table"])}) for one in found}


def run_part(check: Check, part: Part, left: float) -> Record:
    """Run one part; whatever goes wrong in it is its outcome."""
    begun = time.monotonic()
    check.part, check.table = part.name, []
    check.deadline = begun + min(part.limit * check.sizes.slack, left)
    (check.out / "logs" / f"{part.name}.log").write_text("")
    outcome = PASSED
    try:
        words = part.run(check)
    except PartSkipped as why:
        outcome, words = SKIPPED, str(why)
    except PartFailed as why:
        outcome, words = FAILED, str(why)
    except Exception as error:
        # A mistake in one part must not hide what the others show.
        outcome, words = FAILED, f"{type(error).__name__}: {error}"
    took = round(time.monotonic() - begun, 1)
    return Record(part.name, outcome, " ".join(words.split()), took, tuple(check.table))


def run_parts(check: Check, parts: Sequence[Part], minutes: float, about: dict[str, Any]) -> int:
    """Run the parts that have no record; returns the exit code."""
    for name in ("records", "logs", "work", "benchmarks"):
        (check.out / name).mkdir(parents=True, exist_ok=True)
    records = read_records(check.out)
    for number, part in enumerate(parts, 1):
        place = f"[{number}/{len(parts)}] {part.name}"
        if part.name in records:
            record = records[part.name]
            print(f"{place}: {record.outcome} earlier: {record.words}", flush=True)
            continue
        left = 60 * minutes - sum(record.seconds for record in records.values())
        if left <= 0:
            print(f"{place}: not run, the {minutes:g} minutes are over (--minutes)", flush=True)
            continue
        print(f"{place} …", flush=True)
        record = run_part(check, part, left)
        print(f"{place}: {record.outcome} in {record.seconds:.0f} s: {record.words}", flush=True)
        records[part.name] = record
        write(check.out / "records" / f"{part.name}.json", json.dumps(asdict(record), indent=1))
        write(check.out / "summary.md", summary(about, parts, records))
    print(f"summary: {check.out / 'summary.md'}")
    done = [records[part.name].outcome for part in parts if part.name in records]
    return 1 if FAILED in done or len(done) < len(parts) else 0


def summary(about: dict[str, Any], parts: Sequence[Part], records: dict[str, Record]) -> str:
    """`summary.md`."""
    lines = ["# What the GPU shows" if about["device"] != "cpu" else "# A rehearsal on the CPU", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += ["", "| part | outcome | seconds | words |", "|---|---|---|---|"]
    for part in parts:
        record = records.get(part.name, Record(part.name, "not run", "", 0.0))
        words = record.words.replace("|", "\\|")
        lines.append(f"| {part.name} | {record.outcome} | {record.seconds:.0f} | {words} |")
    for part in parts:
        if part.name in records and records[part.name].table:
            lines += ["", f"## {part.name}", "", *records[part.name].table]
    return "\n".join(lines) + "\n"


def claim(out: Path, about: dict[str, Any], again: bool) -> None:
    """Make the folder this run's; with `again`, records of parts that failed go.

    Raises:
        SystemExit: its records are of another commit or machine.
    """
    out.mkdir(parents=True, exist_ok=True)
    about_file = out / "about.json"
    before = json.loads(about_file.read_text()) if about_file.is_file() else about
    for key, value in before.items():
        if about.get(key) != value:
            print(
                f"error: {out} has records of {key} {value}, and this is {about.get(key)}; name "
                "another folder with --out, or remove it",
                file=sys.stderr,
            )
            raise SystemExit(2)
    write(about_file, json.dumps(about, indent=1))
    if again:
        for record in read_records(out).values():
            if record.outcome != PASSED:
                (out / "records" / f"{record.part}.json").unlink()
