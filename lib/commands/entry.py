"""The one wrapper around every command: errors become one line and an exit code."""

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import Any, NoReturn

from lib.utils.errors import (
    EXIT_BAD_INPUT,
    EXIT_CODES_HELP,
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    EXIT_TERMINATED,
    SeqTrackError,
    did_you_mean,
)

# What every library takes for a number or a seed.
_LARGEST = 2**63 - 1
# More than any machine has cores; at some number above, systems end a program that starts them.
_MOST_THREADS = 1024


class Terminated(BaseException):
    """SIGTERM arrived; a BaseException so that no `except Exception` swallows it."""


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    raise Terminated


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes `--max_frames` for `--max-frames`.

    PyTracking's options are spelled with underscores, most others with dashes; nobody should
    have to remember which is which.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # Argparse takes `-5,10,30,30` for an option, as it is not a single number. Nothing of
        # ours is called by a digit.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse, after the options were spelled as they are defined."""
        known = {name.replace("_", "-"): name for name in self._option_string_actions}
        words = sys.argv[1:] if args is None else args
        respelled = []
        for word in words:
            option, equals, value = word.partition("=")
            if option.startswith("--"):
                word = known.get(option.replace("_", "-"), option) + equals + value
            respelled.append(word)
        return super().parse_known_args(respelled, namespace)

    def error(self, message: str) -> NoReturn:
        """Leave with code 2 and one line."""
        _, _, words = message.partition("unrecognized arguments: ")
        unknown = next((word for word in words.split() if word.startswith("-")), "")
        hint = did_you_mean(unknown.partition("=")[0], self._option_string_actions)
        self.exit(EXIT_BAD_INPUT, f"error: {message}{hint if unknown else ''} (see --help)\n")


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """An argument parser whose `--help` ends with the exit codes."""
    return Parser(prog=prog, description=description, epilog=EXIT_CODES_HELP, allow_abbrev=False)


def add_roots(p: argparse.ArgumentParser) -> None:
    """The options of every command that reads data and writes results."""
    p.add_argument("--data_dir", help="root of the data sets")
    p.add_argument("--save_dir", help="root of checkpoints, test, logs and tensorboard")


def add_overrides(p: argparse.ArgumentParser) -> None:
    """`--set KEY=VALUE …`, settings that go before those of the configuration."""
    p.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="overrides"
    )


def add_cpu_threads(p: argparse.ArgumentParser) -> None:
    """`--cpu-threads N` of the commands that run a network."""
    p.add_argument(
        "--cpu-threads",
        type=thread_count,
        metavar="N",
        help="CPU threads of a process (default: all cores, few for a small network)",
    )


def add_run_ids(p: argparse.ArgumentParser, several: str) -> None:
    """`--runid N …`; `several` says what happens to more than one."""
    words = f"the results of <config>_%%03d; {several}"
    p.add_argument(
        "--runid", nargs="+", action="extend", type=count, default=[], metavar="N", help=words
    )


def count(text: str) -> int:
    """An argument that is a whole number from 0 on."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    if int(text) > _LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is larger than {_LARGEST}")
    return int(text)


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    if not (text.isascii() and text.isdecimal() and text.strip("0")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return count(text)


def thread_count(text: str) -> int:
    """An argument that is a number of threads."""
    if positive(text) > _MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads, 1 to {_MOST_THREADS}")
    return int(text)


def say(text: str, error: bool = False) -> None:
    """Print one line at once; a reader that went away (head, less) does not stop the work."""
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run(module: str, argv: Sequence[str] | None = None) -> int:
    """Call `main(argv)` of a command's module and turn every expected ending into an exit code.

    `SeqTrackError` prints `error: <message>` and gives its own code, a file that the system
    refuses is named and gives 2; Ctrl-C gives 130, SIGTERM 143. A programming error keeps its
    traceback: hiding it would help nobody. The module is imported in here, because importing
    torch takes seconds in which people press Ctrl-C. A module whose `SAVES_AS_IT_GOES` is true
    has kept what was finished by then.
    """
    command = None
    previous = signal.signal(signal.SIGTERM, _on_sigterm)
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot spell must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        command = importlib.import_module(module)
        return command.main(argv)
    except SeqTrackError as error:
        say(f"error: {error}", error=True)
        return error.exit_code
    except KeyboardInterrupt:
        say(f"interrupted{_saved(command)}", error=True)
        return EXIT_INTERRUPTED
    except Terminated:
        say(f"terminated{_saved(command)}", error=True)
        return EXIT_TERMINATED
    except BrokenPipeError:
        # The reader of our output went away before all was said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PARTIAL
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        say(f"error: {name}{error.strerror or error}", error=True)
        return EXIT_BAD_INPUT
    finally:
        signal.signal(signal.SIGTERM, previous)


def _saved(command: ModuleType | None) -> str:
    saves = getattr(command, "SAVES_AS_IT_GOES", False)
    return ": everything finished so far is saved" if saves else ""
