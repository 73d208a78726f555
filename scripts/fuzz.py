"""Damage files and read them: `python scripts/fuzz.py --minutes 10 --seed 3 [--parser NAME]`."""

import os
import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

# Children are forked from this process, which must have one thread only.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("tests.fuzz.campaign"))
