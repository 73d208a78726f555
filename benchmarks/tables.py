"""The rows of a benchmark as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.utils.console import align

# Column -> heading; columns that no row has are left out.
_COLUMNS = {
    "situation": "templates",
    "what": "what",
    "stage": "stage",
    "median_ms": "median ms",
    "p10_ms": "p10",
    "p90_ms": "p90",
    "calls": "n",
    "frames_per_s": "frames/s",
    "samples_per_s": "samples/s",
    "samples_per_core_s": "per busy core",
    "kb_per_frame": "kB/frame",
    "ratio_to_reference": "ratio",
    "gflops": "GFLOP/s",
    "share_of_peak": "of peak",
    "tokens_equal": "equal",
    "box_px_max": "box px",
}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a plain table, numbers to the right."""
    columns = [column for column in _COLUMNS if any(column in row for row in rows)]
    cells = [[_COLUMNS[column] for column in columns]]
    cells += [[_text(row.get(column)) for column in columns] for row in rows]
    numeric = [any(isinstance(row.get(column), (int, float)) for row in rows) for column in columns]
    return align(cells, numeric)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
