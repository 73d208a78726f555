"""A page and an HTTP interface for tracking on this machine: `python tracking/serve.py`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.serve"))
