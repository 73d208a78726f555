"""Whether two trackers wrote the same boxes, up to the ties that rounding decides.

The sums of a network differ in their last bits with the size of a batch and from engine to
engine, and boxes that are means of bins (TEST.DECODING expectation) differ with them, by
thousandths of a pixel. Nothing comes of that but in one place: the square that is cut around a
box has whole pixels for corners, so where a corner is half-way between two, the two trackers may
look at different pixels from there on. Such a square is a tie, and rows are compared up to it. As
of tied tokens, one in 10,000 is allowed, four tokens to a row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.results.find import BESIDE
from lib.tracker.agreement import TIES_ALLOWED
from lib.utils.crop import square_at

# Pixels: boxes closer than this are the same one.
SAME = 0.01


@dataclass
class RowAgreement:
    """Raw results of one tracker beside those of another one.

    Attributes:
        rows: how many are the same.
        farthest: pixels between two of these at most.
        ties: sequences that go apart in the frame after a square was cut one pixel off: that
            frame, both squares, and where the boxes are first apart.
        different: sequences that go apart without that, and where; None where a file or a row is
            missing.
    """

    rows: int = 0
    farthest: float = 0.0
    ties: list[dict[str, Any]] = field(default_factory=list)
    different: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, one: np.ndarray, other: np.ndarray, factors: Sequence[float]) -> None:
        """Compare two results `(N, 4)` xywh of a sequence; `factors` are those of the squares."""
        if one.shape != other.shape:
            self.different.append({"sequence": name, "apart_at": None})
            return
        tie: dict[str, Any] | None = None
        for frame, (a, b) in enumerate(zip(one, other, strict=True)):
            apart = float(np.abs(a - b).max())
            if not apart <= SAME:
                found = {"sequence": name, "apart_at": frame, "px": apart}
                if tie is None:
                    self.different.append(found)
                else:
                    self.ties.append({**found, **tie})
                return
            self.rows += 1
            self.farthest = max(self.farthest, apart)
            # A tracker remembers its box alone: a square that changes nothing at once never will.
            tie = _tie(frame, a, b, factors)

    @property
    def equal(self) -> bool:
        """No sequence differs but for ties, and these are as rare as promised."""
        allowed = max(1.0, TIES_ALLOWED * 4 * self.rows)
        return self.rows > 0 and not self.different and len(self.ties) <= allowed

    def row(self) -> dict[str, Any]:
        """For the table and the record."""
        return {
            "box_px_max": round(self.farthest, 6),
            "rows_equal": self.rows,
            "results_equal": self.equal,
            "ties": self.ties,
            "different_results": self.different,
        }


def compare_folders(one: Path, other: Path, factors: Sequence[float]) -> RowAgreement:
    """Compare all files of boxes below `one` with those below `other`.

    Args:
        one: folder of raw results, at any depth.
        other: likewise.
        factors: of the squares that are cut around the boxes.

    Raises:
        DataError: a box is none.
    """
    agreement = RowAgreement()
    for path in sorted(one.rglob("*.txt")):
        if path.stem.endswith(BESIDE):
            continue
        twin = other / path.relative_to(one)
        boxes = np.loadtxt(path, ndmin=2)
        its = np.loadtxt(twin, ndmin=2) if twin.is_file() else np.full((0, 4), math.nan)
        agreement.add(path.stem, boxes, its, factors)
    return agreement


def _tie(
    frame: int, one: np.ndarray, other: np.ndarray, factors: Sequence[float]
) -> dict[str, Any] | None:
    """The squares around two boxes that are as good as the same, if they are not the same."""
    for factor in factors:
        squares = [square_at(box, factor) for box in (one, other)]
        if squares[0] != squares[1]:
            return {"tie_at": frame, "factor": factor, "squares": [list(s) for s in squares]}
    return None
