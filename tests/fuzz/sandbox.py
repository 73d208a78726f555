"""A reader of files under limits, and what became of it; imports nothing but the standard library.

Each input is read in a child process that may take so much memory and time, and may open, make and
remove files in one folder only. It may start no program and open no connection. The child says
what it is at, so that the parent knows the input at which it died.
"""

import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.utils.errors import SeqTrackError
from tests.fuzz.mutation import mutated

# More address space than the process has at its start.
MEMORY = 3 << 29
# Of the processor, for one input.
SECONDS = 10
# Of the clock, for one input, on a machine that others share.
PATIENCE = 180
GOOD = ("value", "refused")
_ROOT = Path(__file__).parents[2]
_SYSTEM = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/proc", "/sys", "/dev")
_OWN = (_ROOT / "lib", _ROOT / "tests", _ROOT / "experiments")
_PACKAGES = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
# Modules may be imported while a file is read.
_MAY_READ = tuple(os.path.realpath(path) + os.sep for path in (*_SYSTEM, *_OWN, *_PACKAGES))
_PROGRAMS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.sendto", "pickle.find_class",
    "ctypes.dlopen", "os.kill",
)  # fmt: skip
_CHANGES = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "shutil.rmtree", "shutil.move", "shutil.copyfile",
)  # fmt: skip

# Reads a file that lies in a folder, and may raise SeqTrackError.
Reader = Callable[[Path, Path], object]


class Escape(BaseException):
    """A reader did what no reader may; nothing that it catches is this."""


@dataclass(frozen=True)
class Parser:
    """A reader of files, and how to make a valid one.

    Attributes:
        name: on the command line.
        make: writes valid files into a folder, which it may fill with others as well, and names
            those that are to be damaged.
        read: reads one of them.
        words: that its format is made of.
        lines: whether what is wrong may take several lines, one for each finding.
    """

    name: str
    make: Callable[[Path], Sequence[Path]]
    read: Reader
    words: tuple[bytes, ...] = ()
    lines: bool = False


class Guard:
    """Watches what this process does while it reads; active within `with`."""

    def __init__(self) -> None:
        self.folder = ""
        self.active = False
        # Threads that were there before are none of its business.
        self.others: set[int | None] = set()
        self.broken = ""
        self._usual = shutil._use_fd_functions, sys.dont_write_bytecode  # type: ignore[attr-defined]
        sys.addaudithook(self._audit)

    def __call__(self, folder: Path) -> "Guard":
        self.folder = os.path.realpath(folder) + os.sep
        return self

    def __enter__(self) -> None:
        self.others = {one.ident for one in threading.enumerate()} - {threading.get_ident()}
        # A folder is removed by names within open folders, which Python does not report with them.
        shutil._use_fd_functions = False  # type: ignore[attr-defined]
        # Modules may be imported, not compiled into files.
        sys.dont_write_bytecode = True
        self.active, self.broken = True, ""

    def __exit__(self, *error: object) -> None:
        self.active = False
        shutil._use_fd_functions, sys.dont_write_bytecode = self._usual  # type: ignore[attr-defined]

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active or threading.get_ident() in self.others:
            return
        if event in _PROGRAMS:
            self._stop(f"{event} {arguments!r}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path, _, flags = arguments
            writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if not self._inside(path) and (writes or not self._readable(path)):
                self._stop(f"open {path!r}" + " for writing" * writes)
        elif event in _CHANGES:
            paths = [one for one in arguments if isinstance(one, (str, bytes, os.PathLike))]
            if outside := [path for path in paths if not self._inside(path)]:
                self._stop(f"{event} {outside[0]!r}")

    def _stop(self, what: str) -> None:
        self.broken = what
        raise Escape(what)

    def _inside(self, path: Any) -> bool:
        return (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(self.folder)

    def _readable(self, path: Any) -> bool:
        return os.path.realpath(os.fsdecode(path)).startswith(_MAY_READ)


def attempt(parser: Parser, folder: Path, file: Path, guard: Guard) -> tuple[str, str]:
    """Read a file: `value` or `refused`, or what is wrong with the reader; and where it is."""
    try:
        with guard(folder):
            parser.read(folder, file)
    except SeqTrackError as error:
        kind, text = "refused", str(error)
        # Of a file's own folder the name is ours.
        shown = text.replace("\n", "") if parser.lines else text
        if not text or not shown.isprintable():
            kind, text = "message", repr(text[:200])
    except Escape:
        kind, text = "escape", guard.broken
    except Exception as error:
        kind, text = type(error).__name__, f"{error!r:.160} at {_line_of(error)}"
    else:
        kind, text = "value", ""
    # Also where the reader has caught it.
    return ("escape", guard.broken) if guard.broken else (kind, text)


def _line_of(error: Exception) -> str:
    """The innermost line of this project in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(str(_ROOT / "lib"))]
    frame = (own or frames)[-1]
    path = Path(frame.filename)
    shown = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path.name
    return f"{shown}:{frame.lineno}"


def address_space() -> int:
    """Bytes of it that this process has."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()


def damaged(parser: Parser, files: Sequence[tuple[Path, bytes]], seed: int, number: int) -> tuple[
    Path, bytes
]:  # fmt: skip
    """Input `number`: which of the valid files, and its content; always the same."""
    rng = random.Random(f"{parser.name} {seed} {number}")
    path, valid = files[rng.randrange(len(files))]
    return path, mutated(rng, valid, parser.words)


@dataclass(frozen=True)
class Failure:
    """An input that was not read as it should be."""

    parser: str
    number: int
    kind: str
    text: str
    file: Path
    content: bytes


def _child(
    parser: Parser, folder: Path, files: Sequence[tuple[Path, bytes]], seed: int, first: int,
    pipe: int,
) -> None:  # fmt: skip
    """Read input after input, and write a line about each before and after."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # What decoders say on standard error is of no interest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    guard = Guard()
    number = first
    while True:
        path, content = damaged(parser, files, seed, number)
        os.write(pipe, json.dumps([number, "begins", ""]).encode() + b"\n")
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        kind, text = attempt(parser, folder, path, guard)
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_bytes(next(valid for one, valid in files if one == path))
        os.write(pipe, json.dumps([number, kind, text]).encode() + b"\n")
        number += 1


def in_child(task: Callable[[], object]) -> None:
    """Run `task` in a forked process, so that its threads and memory are not this one's.

    Raises:
        RuntimeError: it failed; its traceback is on standard error.
    """
    if not (process := os.fork()):
        try:
            task()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError("a child process failed")


def outcomes(
    parser: Parser, folder: Path, files: Sequence[tuple[Path, bytes]], seed: int
) -> Iterator[tuple[int, str, str]]:
    """Number, kind and text of one input after the other, for ever; close it to end the child."""
    number = 0
    while True:
        receiver, sender = os.pipe()
        if not (process := os.fork()):
            os.close(receiver)
            try:
                _child(parser, folder, files, seed, number, sender)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(sender)
        try:
            for number, kind, text in _lines(receiver):
                if kind != "begins":
                    yield number, kind, text
                    number += 1
        finally:
            os.close(receiver)
            os.kill(process, signal.SIGKILL)
            code = os.waitpid(process, 0)[1]
        how = "hang" if os.WTERMSIG(code) in (signal.SIGPROF, signal.SIGKILL) else "crash"
        yield number, how, f"the process ended by signal {os.WTERMSIG(code)}"
        number += 1


def _lines(receiver: int) -> Iterator[tuple[int, str, str]]:
    """What a child says, until it ends or says nothing for long."""
    rest = b""
    while select.select([receiver], [], [], PATIENCE)[0] and (block := os.read(receiver, 1 << 16)):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            number, kind, text = json.loads(line)
            yield number, kind, text
