"""What is here and what is missing: `python tracking/doctor.py`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.doctor"))
