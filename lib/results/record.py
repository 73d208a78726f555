"""What made raw results: the `run.json` of their folders, read when they are scored or packed.

Results without a record are those of other programs; nothing is known about them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.results.files import RUN_FILE, read_run_record
from lib.tracker.spec import PLAIN_SETTINGS
from lib.utils.errors import ResultsError, counted

Record = Mapping[str, Any]

# Another version, or data that moved, gives the same boxes.
_INFORMATION = ("version", "source", "settings")
# What a record of an earlier version means by a key that it does not have.
_DEFAULTS: Mapping[str, Any] = {"max_frames": None, "float_results": False}
_HASH_CHARACTERS = 12


class MixedRunsError(ResultsError):
    """Runs that were not made alike were to be averaged or packed together."""


def run_cautions(folders: Sequence[Path], mixed_runs: bool = False) -> tuple[str, ...]:
    """What a score of these runs must not be quoted without: cut videos, untrained weights, …

    Args:
        folders: of the results, one for each run.
        mixed_runs: average runs that were not made alike, and say so, instead of refusing them.

    Raises:
        MixedRunsError: the runs were not made alike, and `mixed_runs` is off.
    """
    records: list[Record | None] = []
    cautions: list[str] = []
    for folder in folders:
        try:
            records.append(_read(folder))
        except ResultsError as error:
            records.append(None)
            cautions.append(f"{error}; what made these results is not known")
    for folder, record in zip(folders[1:], records[1:], strict=True):
        found = differences(records[0], record)
        if not found:
            continue
        line = f"{folder.parent.name} was not made as {folders[0].parent.name}: {', '.join(found)}"
        if not mixed_runs:
            raise MixedRunsError(
                f"{folder / RUN_FILE}: {line}; such runs are not averaged: score them one by one, "
                "or add --mixed-runs"
            )
        cautions.append(f"averaged over runs that differ, {line}")
    return (*cautions, *_record_cautions(records))


def _read(folder: Path) -> Record | None:
    path = folder / RUN_FILE
    return read_run_record(path) if path.is_file() else None


def _record_cautions(records: Sequence[Record | None]) -> list[str]:
    known = [record for record in records if record is not None]
    limits = {frames for record in known if isinstance(frames := record.get("max_frames"), int)}
    cautions = [
        f"only the first {counted(frames, 'frame')} of each sequence were tracked"
        for frames in sorted(limits)
    ]
    if any(map(is_untrained, known)):
        cautions.append("tracked with untrained weights, so its boxes mean nothing")
    return cautions


def is_untrained(record: Record) -> bool:
    """Whether a tracker that has weights ran without; the others have no settings."""
    return bool(record.get("settings")) and record.get("checkpoint_sha256", "") is None


def differences(first: Record | None, second: Record | None) -> list[str]:
    """In words, every key in which two records differ, with the values of both.

    A key that only one side has came with another version and says nothing about the boxes.

    Example:
        >>> differences({"max_frames": 30, "version": "1"}, {"version": "2"})
        ['max_frames (30 and None)']
    """
    if first is None or second is None:
        known = [first is not None, second is not None]
        return [f"{RUN_FILE} ({' and '.join('there' if one else 'missing' for one in known)})"] * (
            known[0] != known[1]
        )
    a, b = _deciding(first), _deciding(second)
    return [
        f"{key} ({_shown(key, a[key])} and {_shown(key, b[key])})"
        for key in a
        if key in b and a[key] != b[key]
    ]


def _deciding(record: Record) -> dict[str, Any]:
    """What decides the boxes, settings by their dotted key."""
    settings = record.get("settings")
    return {
        **_DEFAULTS,
        **{
            key: value
            for key, value in record.items()
            # The hash of the data is None where it is not known.
            if key not in _INFORMATION and not (key == "data_sha256" and value is None)
        },
        **({**PLAIN_SETTINGS, **settings} if isinstance(settings, Mapping) else {}),
    }


def _shown(key: str, value: Any) -> str:
    return f"{value[:_HASH_CHARACTERS]}…" if key.endswith("sha256") and value else repr(value)
