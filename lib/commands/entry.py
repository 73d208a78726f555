"""The one wrapper around every command: errors become one line and an exit code."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from lib.utils.errors import (
    EXIT_CODES_HELP,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    SeqTrackError,
)


class Terminated(BaseException):
    """SIGTERM arrived; a BaseException so that no `except Exception` swallows it."""


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """An argument parser whose `--help` ends with the exit codes."""
    return argparse.ArgumentParser(
        prog=prog, description=description, epilog=EXIT_CODES_HELP, allow_abbrev=False
    )


def count(text: str) -> int:
    """An argument that is a whole number from 0 on."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def run(command: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Call `command(argv)` and turn every expected ending into an exit code.

    `SeqTrackError` prints `error: <message>` and gives its own code; Ctrl-C gives 130, SIGTERM
    143. A programming error keeps its traceback: hiding it would help nobody.
    """
    previous = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        return command(argv)
    except SeqTrackError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: everything finished so far is saved", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Terminated:
        print("terminated: everything finished so far is saved", file=sys.stderr)
        return EXIT_TERMINATED
    except BrokenPipeError:
        # The reader of our output (head, less) went away; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
