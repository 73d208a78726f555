"""Training sets as LMDB files: keys are the paths below the data set's folder."""

from pathlib import Path

import lmdb


def write_lmdb(folder: Path, target: Path) -> None:
    """All files of `folder` in an LMDB at `target`."""
    target.mkdir(parents=True)
    with lmdb.open(str(target), map_size=1 << 28) as env, env.begin(write=True) as transaction:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                key = file.relative_to(folder).as_posix().encode()
                transaction.put(key, file.read_bytes())
