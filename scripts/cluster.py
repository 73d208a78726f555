"""Evaluate on a cluster: `python scripts/cluster.py --parts 16 slurm --config … --dataset …`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.cluster"))
