"""Licences of what the project is installed with, as a table: `python scripts/licences.py`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("tests.repository.licences"))
