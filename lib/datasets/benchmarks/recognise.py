"""What lies in a folder where a data set was looked for and is not: said in messages."""

import os
from pathlib import Path

from lib.datasets.benchmarks.folder import find_sequences
from lib.datasets.benchmarks.folder_trees import find_tree
from lib.datasets.benchmarks.layout import Row, is_there, list_entries, open_tree
from lib.datasets.benchmarks.rows import CATALOG
from lib.utils.errors import DataError, counted

# The folders in the one that was given are looked at, too: not thousands of them.
_MOST_FOLDERS = 20


def recognised(root: Path, wanted: Row | None = None) -> str:
    """Which data set a folder holds, with what to do about it; empty where that is not clear.

    Args:
        root: where a data set was looked for.
        wanted: the one that was looked for; None where a folder of sequences was.
    """
    if wanted is not None:
        for place in (*_below(root), root.parent):
            if _sequences_of(wanted, place):
                return f"they lie in {place}: give that folder"
    for row in CATALOG:
        if row is wanted or not row.split:
            continue
        if number := _sequences_of(row, root):
            return (
                f"{root} holds {counted(number, 'sequence')} of {row.name}: name that data set, "
                f"and say where it is by SEQTRACK_DATA_{row.name.upper()}={root}"
            )
    if wanted is None:
        for place in _below(root):
            if number := len(find_tree(place)[1]):
                return f"{place} holds {counted(number, 'sequence')}: give that folder"
        return ""
    try:
        folder, found = find_sequences(root)
    except DataError:
        return ""
    return (
        f"{folder} holds {counted(len(found), 'sequence')} of another layout: give that folder "
        "by its path instead of a name"
    )


def _below(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [root / name for name in names[:_MOST_FOLDERS]]


def _sequences_of(row: Row, root: Path) -> int:
    tree = open_tree(row, root)
    try:
        entries = list_entries(row, tree).values() if tree.exists else ()
        return sum(is_there(entry, tree) for entry in entries)
    except DataError:
        return 0
