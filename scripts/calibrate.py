"""Fit how sure a network's boxes are: `python scripts/calibrate.py --config seqtrack_b256 …`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.calibrate"))
