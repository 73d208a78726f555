"""Rows of a clip on the disk until all of them are wanted: a clip may have no end, memory has."""

import sqlite3
from collections.abc import Iterable, Iterator
from types import TracebackType

from lib.annotations.rows import TargetRow
from lib.utils.targets import TargetId

_COLUMNS = "frame, time, target, x, y, w, h, confidence, state"


class RowSpool:
    """Rows in a temporary file that vanishes with it; read in the order of the frames.

    Args:
        rows: the first ones, in any order.
    """

    def __init__(self, rows: Iterable[TargetRow] = ()) -> None:
        # The empty name is SQLite's for a file of its own, which is gone when it is closed.
        self._table = sqlite3.connect("")
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute(f"CREATE TABLE rows ({_COLUMNS})")
        self.add(rows)

    def add(self, rows: Iterable[TargetRow]) -> None:
        """Keep more rows."""
        self._table.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (int(row.frame), row.time, row.target, *map(float, row.box), known, row.state)
                for row in rows
                for known in [None if row.confidence is None else float(row.confidence)]
            ),
        )

    def __iter__(self) -> Iterator[TargetRow]:
        """All rows by their frame; those of a frame in the order in which they came."""
        found = self._table.execute(f"SELECT {_COLUMNS} FROM rows ORDER BY frame, rowid")
        return map(_row, found)

    def of(self, target: TargetId) -> Iterator[TargetRow]:
        """The rows of one target by their frame."""
        where = f"SELECT {_COLUMNS} FROM rows WHERE target = ? ORDER BY frame, rowid"
        return map(_row, self._table.execute(where, (target,)))

    @property
    def last_frame(self) -> int | None:
        """The highest number of a frame; None without rows."""
        (found,) = self._table.execute("SELECT max(frame) FROM rows").fetchone()
        return None if found is None else int(found)

    def close(self) -> None:
        """Let the file go; may be called again."""
        self._table.close()

    def __enter__(self) -> "RowSpool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.close()


def _row(cells: tuple) -> TargetRow:
    frame, time, target, x, y, w, h, confidence, state = cells
    return TargetRow(frame, time, target, (x, y, w, h), confidence, state)
