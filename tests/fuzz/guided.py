"""Damage that is led by what the reader does with it: libFuzzer, by the package atheris."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, MissingExtraError
from tests.fuzz.campaign import make_files
from tests.fuzz.sandbox import GOOD, PATIENCE, Guard, Parser, attempt

_MEGABYTES = 4096


class UnexpectedOutcome(Exception):
    """A reader did what it must not; libFuzzer keeps the input."""


def guide(parsers: Sequence[Parser], seed: int, seconds: float, out: Path) -> int:
    """Fuzz one reader until something is found, or the time is over; the exit status.

    Raises:
        ConfigError: it is not one reader.
        MissingExtraError: atheris is not installed.
    """
    if len(parsers) != 1:
        raise ConfigError("--guided goes through one reader: name it with --parser")
    try:
        import atheris
    except ImportError:
        raise MissingExtraError(
            "--guided needs the package atheris (Linux, Python 3.11 to 3.13): pip install atheris"
        ) from None
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        files = make_files(parsers[0], work / "files")
        corpus = work / "corpus"
        corpus.mkdir()
        for number, (_, content) in enumerate(files):
            # The first byte says which file it is.
            (corpus / str(number)).write_bytes(bytes([number]) + content)
        if not (process := os.fork()):
            limits = [f"-max_total_time={max(1, int(seconds))}", f"-seed={seed}",
                      f"-timeout={PATIENCE}", f"-rss_limit_mb={_MEGABYTES}"]  # fmt: skip
            words = ["fuzz", *limits, f"-artifact_prefix={out}{os.sep}", str(corpus)]
            _run(atheris, parsers[0], work / "files", files, words)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return EXIT_PARTIAL if code else EXIT_OK


def _run(
    atheris: Any,
    parser: Parser,
    folder: Path,
    files: Sequence[tuple[Path, bytes]],
    words: Sequence[str],
) -> None:
    for module in [one for name, one in sys.modules.items() if name.startswith("lib.")]:
        _instrument(atheris, module)
    guard = Guard()

    def one(data: bytes) -> None:
        path, valid = files[data[0] % len(files) if data else 0]
        path.write_bytes(data[1:])
        try:
            kind, text = attempt(parser, folder, path, guard)
        finally:
            path.write_bytes(valid)
        if kind not in GOOD:
            raise UnexpectedOutcome(f"{kind}: {text}")

    atheris.Setup(list(words), one)
    # It ends the process.
    atheris.Fuzz()


def _instrument(atheris: Any, module: ModuleType) -> None:
    """Count the branches that the functions and methods of a module take."""
    name = module.__name__
    members = list(vars(module).values())
    classes = [one for one in members if isinstance(one, type) and one.__module__ == name]
    for owner in (module, *classes):
        for value in list(vars(owner).values()):
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType) and function.__module__ == name:
                # What it cannot rewrite runs uncounted.
                with contextlib.suppress(Exception):
                    atheris.instrument_func(function)
