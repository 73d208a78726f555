"""Write a network as ONNX graphs: `python scripts/export_onnx.py --config seqtrack_b256`."""

import sys

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run

if __name__ == "__main__":
    sys.exit(run("lib.commands.export"))
