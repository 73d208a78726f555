"""Fuzzing of every reader of files, for as long as one likes: `python scripts/fuzz.py --help`."""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.utils.console import say
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, counted, did_you_mean
from tests.fuzz.parsers import PARSERS
from tests.fuzz.sandbox import GOOD, Failure, Parser, damaged, in_child, outcomes

# Of failures of one kind at one line, so many are kept.
_KEPT = 3


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long in all (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the damage (default: 0)")
    parser.add_argument("--parser", metavar="NAME", help="one reader instead of all")
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz"), help="where failing inputs go (default: fuzz)"
    )
    parser.add_argument("--list", action="store_true", help="list the readers and stop")
    parser.add_argument(
        "--guided",
        action="store_true",
        help="let coverage guide the damage to one reader, by the package atheris",
    )
    return parser


@dataclass
class Tally:
    """What became of the inputs of one reader."""

    inputs: int = 0
    read: int = 0
    failures: dict[str, list[Failure]] = field(default_factory=dict)

    def add(self, failure: Failure) -> None:
        self.failures.setdefault(f"{failure.kind}: {failure.text}"[:200], []).append(failure)


def make_files(parser: Parser, folder: Path) -> list[tuple[Path, bytes]]:
    """Valid files of a reader in `folder`, which can be read; a child process makes them."""
    names = folder.with_name(f"{folder.name}.names")

    def make() -> None:
        files = parser.make(folder)
        for file in files:
            parser.read(folder, file)
        names.write_text("\n".join(map(str, files)))

    folder.mkdir(parents=True)
    in_child(make)
    return [(Path(name), Path(name).read_bytes()) for name in names.read_text().split("\n")]


def fuzz(parser: Parser, seed: int, seconds: float, folder: Path) -> Tally:
    """Read damaged files for so many seconds, in `folder`."""
    tally = Tally()
    files = make_files(parser, folder)
    end = time.monotonic() + seconds
    with contextlib.closing(outcomes(parser, folder, files, seed)) as found:
        for number, kind, text in found:
            tally.inputs += 1
            tally.read += kind == "value"
            if kind not in GOOD:
                path, content = damaged(parser, files, seed, number)
                tally.add(Failure(parser.name, number, kind, text, path, content))
            if time.monotonic() >= end:
                break
    return tally


def chosen(name: str | None) -> Sequence[Parser]:
    """All readers, or the one of that name. Raises ConfigError: there is none."""
    known = {parser.name: parser for parser in PARSERS}
    if name is None:
        return PARSERS
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"there is no reader {name!r}{hint}; there are {', '.join(known)}")
    return [known[name]]


def keep(tally: Tally, out: Path) -> list[str]:
    """Write the failing inputs; returns a line for each kind of failure."""
    lines = []
    for what, failures in tally.failures.items():
        for one in failures[:_KEPT]:
            path = out / f"{one.parser}-{one.number}-{one.file.name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.content)
        first = failures[0]
        lines.append(f"  {what} ({counted(len(failures), 'input')}, the first is {first.number})")
    return lines


def campaign(
    parsers: Sequence[Parser], seed: int, seconds: float, out: Path, tell: Callable[[str], object]
) -> int:
    """Fuzz each reader for its share of the time; the number of failing inputs."""
    inputs = failing = 0
    end = time.monotonic() + seconds
    for place, parser in enumerate(parsers):
        share = max(0.0, end - time.monotonic()) / (len(parsers) - place)
        work = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            tally = fuzz(parser, seed, share, work / "files")
        except RuntimeError as error:
            tell(f"{parser.name}: its own valid files cannot be read ({error})")
            failing += 1
            continue
        finally:
            shutil.rmtree(work, ignore_errors=True)
        bad = sum(map(len, tally.failures.values()))
        tell(f"{parser.name}: {counted(tally.inputs, 'input')}, {tally.read} read, {bad} failed")
        for line in keep(tally, out):
            tell(line)
        inputs, failing = inputs + tally.inputs, failing + bad
    tell(f"{counted(inputs, 'input')} to {counted(len(parsers), 'reader')}, {failing} failed")
    return failing


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    parsers = chosen(options.parser)
    if options.list:
        say("\n".join(parser.name for parser in parsers))
        return EXIT_OK
    if not sys.platform.startswith("linux"):
        raise ConfigError("the limits of memory and time that this needs are those of Linux")
    if options.guided:
        from tests.fuzz.guided import guide

        return guide(parsers, options.seed, options.minutes * 60, options.out)
    failing = campaign(parsers, options.seed, options.minutes * 60, options.out, say)
    return EXIT_PARTIAL if failing else EXIT_OK
