"""The `seqtrack` command: picks a sub-command and hands the other arguments to it."""

import argparse
import sys
from collections.abc import Sequence

from lib import __version__
from lib.commands._options import Parser
from lib.commands.entry import run_and_leave
from lib.utils.advice import ROOT
from lib.utils.errors import EXIT_CODES_HELP, did_you_mean

# Name -> (module with `main(argv) -> int`, what it does). A module is imported only when its
# command runs, so `seqtrack --help` does not wait for torch.
COMMANDS = {
    "track": ("lib.commands.track", "track targets in a video, a camera or a stream"),
    "serve": ("lib.commands.serve", "a page to track with in a browser, and an HTTP interface"),
    "test": ("lib.commands.test", "track the sequences of a data set, write raw results"),
    "analyze": ("lib.commands.analyze", "score raw results: table, CSV and JSON"),
    "report": ("lib.commands.report", "compare trackers on one page: curves, tables, a player"),
    "vot": ("lib.commands.vot", "VOT's challenges: make a workspace, run, analyse, score"),
    "submit": ("lib.commands.submit", "check raw results, write the zip for an evaluation server"),
    "cluster": ("lib.commands.cluster", "evaluate in parts, as jobs of Slurm"),
    "train": ("lib.commands.train", "train a configuration"),
    "calibrate": ("lib.commands.calibrate", "fit how sure a network's boxes are, from 0 to 1"),
    "profile": ("lib.commands.profile_model", "size of a network, and where its time goes"),
    "export": ("lib.commands.export", "write a network as ONNX graphs, compared with PyTorch"),
    "bench": ("benchmarks.command", "measure speed beside the method as published"),
    "download": ("lib.commands.download", "fetch published weights, raw results and logs"),
    "data": ("lib.commands.data", "check, list, pack and show data sets"),
    "doctor": ("lib.commands.doctor", "what is here and what is missing, for a bug report"),
}
# How `seqtrack --help` shows them: a heading, and the first command under it.
_HEADINGS = {
    "track": "tracking",
    "test": "evaluation",
    "train": "networks",
    "download": "files and this machine",
}
# Words of before.
ALIASES = {"pack": "submit"}


def _has_benchmarks() -> bool:
    """Whether this is a checkout: benchmarks are not installed."""
    return (ROOT / "benchmarks").is_dir()


def _known() -> list[str]:
    return [name for name in COMMANDS if name != "bench" or _has_benchmarks()]


def build_parser() -> Parser:
    """The parser of `seqtrack` itself; the rest of the line belongs to the sub-command."""
    lines = []
    for name in _known():
        if name in _HEADINGS:
            lines += ["", f"{_HEADINGS[name]}:"]
        lines.append(f"  {name:<10} {COMMANDS[name][1]}")
    example = "example:\n  seqtrack track clip.mp4 --box 120,80,60,40"
    parser = Parser(
        prog="seqtrack",
        usage="seqtrack COMMAND [arguments]   (seqtrack COMMAND --help lists them)",
        description="\n".join(lines[1:]),
        epilog=f"{example}\n\n{EXIT_CODES_HELP}",
    )
    parser.add_argument("--version", action="version", version=f"seqtrack {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Console entry point: runs the command and leaves with its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return
    name = ALIASES.get(arguments.command, arguments.command)
    if name not in COMMANDS:
        known = _known()
        hint = did_you_mean(name, known)
        parser.error(f"unknown command {name!r}{hint}; choose of {', '.join(known)}")
    if name == "bench":
        if not _has_benchmarks():
            parser.error(f"bench needs a checkout: {ROOT} has no folder benchmarks")
        sys.path.append(str(ROOT))
    run_and_leave(COMMANDS[name][0], arguments.arguments)


if __name__ == "__main__":
    main()
