"""Train a configuration: `python tracking/train.py --config seqtrack_b256 ...`."""

import _path  # noqa: F401  (puts this repository first on sys.path)

from lib.commands.entry import run_and_leave

if __name__ == "__main__":
    run_and_leave("lib.commands.train")
