"""Whether raw results begin with the box that the tracker was given.

Everybody writes it there. Another box means that the file is of other data, or that its rows are
no x, y, w, h in pixels. Rounding, coordinates that count from 1 and a tracker's own idea of the
given box are no reason to ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.analysis.frames import TrackedSequence
from lib.datasets.text.box_reading import likely_reading_against
from lib.utils.boxes import iou_xywh

# Pixels that rounding and an origin of 1 may take a coordinate off by.
_NEAR = 2.0
# A first row that overlaps less is not a tracker's own idea of the given box.
_SAME_TARGET = 0.5


@dataclass(frozen=True, eq=False)
class OddFirstRow:
    """A first row that is not the box that the tracker was given.

    Attributes:
        sequence: its name.
        found: (4,) the row.
        given: (4,) x, y, w, h of the ground truth, in pixels.
    """

    sequence: str
    found: np.ndarray
    given: np.ndarray


def odd_first_row(tracked: TrackedSequence) -> OddFirstRow | None:
    """The first row of the results if it is not the given box; None if it is, or nobody knows."""
    found = np.array(tracked.predicted[0], dtype=np.float64)
    given = np.array(tracked.ground_truth[0], dtype=np.float64)
    if not (np.isfinite(found).all() and np.isfinite(given).all() and (given[2:] > 0).all()):
        return None
    near = np.abs(found - given).max() <= _NEAR
    if near or iou_xywh(found[None], given[None])[0] >= _SAME_TARGET:
        return None
    return OddFirstRow(tracked.name, found, given)


def first_rows_caution(odd: Sequence[OddFirstRow], sequences: int) -> str:
    """One line about the odd first rows of a tracker on so many `sequences`."""
    reading = likely_reading_against(
        np.array([one.found for one in odd]), np.array([one.given for one in odd])
    )
    first, count = odd[0], len({one.sequence for one in odd})
    return (
        f"in {count} of {sequences} sequences the first row is not the given box, as in "
        f"{first.sequence}: {_row(first.found)}, not {_row(first.given)}; "
        + (f"{reading}; or are they of other data?" if reading else "are they of other data?")
    )


def _row(box: np.ndarray) -> str:
    return f"({', '.join(f'{value:g}' for value in box.tolist())})"
