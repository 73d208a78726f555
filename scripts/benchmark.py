"""Speed beside the published method: `python scripts/benchmark.py track --json record.json`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("benchmarks.command"))
