"""Make the zip for a server: `python scripts/pack_submission.py got10k --config NAME`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.submit"))
