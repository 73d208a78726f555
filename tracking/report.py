"""Compare trackers on one page with curves, tables and a player; see `--help`."""

import sys

import _path  # noqa: F401

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.report"))
