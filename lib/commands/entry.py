"""The one wrapper around every command: errors become one line and an exit code."""

import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from lib.utils.console import say
from lib.utils.errors import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    EXIT_TERMINATED,
    SeqTrackError,
    out_of_memory,
)


class Terminated(BaseException):
    """SIGTERM arrived; a BaseException so that no `except Exception` swallows it."""


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    raise Terminated


@contextlib.contextmanager
def keeps(what: str) -> Iterator[None]:
    """Say what an interruption of the block leaves on disk."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        stop.args = (what,)
        raise


def run_and_leave(module: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Call `run` and end this process with its exit code; one of several ends at once.

    A thread of a process group may drop its last tensor a moment after the collective call has
    returned, and needs Python for it: where Python is on its way out by then, the thread aborts
    the process (github.com/pytorch/pytorch/issues/190489), and another code arrives.
    """
    try:
        code: object = run(module, argv)
    except SystemExit as end:
        code = end.code
    if "RANK" not in os.environ or not isinstance(code, int):
        sys.exit(code)  # type: ignore[arg-type]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(module: str, argv: Sequence[str] | None = None) -> int:
    """Call `main(argv)` of a command's module and turn every expected ending into an exit code.

    `SeqTrackError` prints `error: <message>` and gives its own code, a file that the system
    refuses is named and gives 2, as does a device that is out of memory; Ctrl-C gives 130,
    SIGTERM 143. A programming error keeps its traceback: hiding it would help nobody. The module
    is imported in here, because importing torch takes seconds in which people press Ctrl-C.
    `keeps` says what is on disk then.
    """
    previous = signal.signal(signal.SIGTERM, _on_sigterm)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot spell must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return importlib.import_module(module).main(argv)
    except SeqTrackError as error:
        say(f"error: {error}", error=True)
        return error.exit_code
    except (KeyboardInterrupt, Terminated) as stop:
        interrupted = isinstance(stop, KeyboardInterrupt)
        word = "interrupted" if interrupted else "terminated"
        say(": ".join([word, *map(str, stop.args)]), error=True)
        return EXIT_INTERRUPTED if interrupted else EXIT_TERMINATED
    except BrokenPipeError:
        # The reader of our output went away before its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PARTIAL
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        say(f"error: {name}{error.strerror or error}", error=True)
        return EXIT_BAD_INPUT
    except RuntimeError as error:
        if (text := out_of_memory(error)) is None:
            raise
        say(f"error: {text}", error=True)
        return EXIT_BAD_INPUT
    finally:
        signal.signal(signal.SIGTERM, previous)
