"""The `seqtrack` command: picks a sub-command and hands the other arguments to it."""

import argparse
import sys
from collections.abc import Sequence

from lib import __version__
from lib.commands.entry import Parser, run
from lib.utils.errors import EXIT_CODES_HELP, did_you_mean

# Name -> (module with `main(argv) -> int`, what it does). A module is imported only when its
# command runs, so `seqtrack --help` does not wait for torch.
COMMANDS = {
    "train": ("lib.commands.train", "train a configuration"),
    "track": ("lib.commands.track", "track targets in a video file, write a video and a table"),
    "test": ("lib.commands.test", "track the sequences of a data set, write raw results"),
    "analyze": ("lib.commands.analyze", "score raw results: table, CSV and JSON"),
    "data": ("lib.commands.data", "check data sets, say where they belong, list them"),
    "report": ("lib.commands.report", "compare trackers on one page: curves, tables, a player"),
    "vot": ("lib.commands.vot", "VOT's challenges: make a workspace, run, analyse, score"),
    "pack": ("lib.commands.pack", "check raw results, write the zip for an evaluation server"),
    "download": ("lib.commands.download", "fetch published weights, raw results and logs"),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `seqtrack` itself; the rest of the line belongs to the sub-command."""
    lines = [f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items()]
    parser = Parser(
        prog="seqtrack",
        usage="seqtrack COMMAND [arguments]   (seqtrack COMMAND --help lists them)",
        description="commands:\n" + "\n".join(lines),
        epilog=EXIT_CODES_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"seqtrack {__version__}")
    parser.add_argument("command", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Console entry point: runs the command and leaves with its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    name = arguments.command
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        parser.error(f"unknown command {name!r}{did_you_mean(name, COMMANDS)}; choose of {known}")
    sys.exit(run(COMMANDS[name][0], arguments.arguments))


if __name__ == "__main__":
    main()
