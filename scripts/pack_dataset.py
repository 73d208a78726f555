"""Pack a training set into a few large files: `python scripts/pack_dataset.py LASOT`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.pack_dataset"))
