"""Size, work and time of a network: `python tracking/profile_model.py --config seqtrack_b256`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.profile_model"))
