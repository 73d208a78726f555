"""Make mistakes in code, and see that tests notice: `python scripts/mutate.py`."""

import os
import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

# Tests are forked from this process, which must have one thread only.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("tests.mutation.campaign"))
