"""What made a tracker's results, so that those of other weights are never taken for its own.

The toolkit keeps whatever result file is there. `results/<tracker>/run.json` says what made them;
it goes when the folder goes.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lib.results.files import RUN_FILE, read_run_record
from lib.tracker.spec import changed_settings
from lib.utils.errors import ResultsError
from lib.utils.files import atomic_write_text
from lib.vot.results import has_results


@dataclass(frozen=True)
class VotRecord:
    """What decides the answers of a tracker; all but the version must stay the same.

    Attributes:
        tracker: kind of tracker.
        config_name: its configuration.
        settings: those of the configuration that decide boxes, by dotted key.
        checkpoint_sha256: of the weights; None for trackers without.
        refiner: kind of mask refiner; None for boxes.
        refiner_sha256: of its weights; None without.
        stack: name of the stack.
        version: of the project, for information.
    """

    tracker: str
    config_name: str
    settings: Mapping[str, Any]
    checkpoint_sha256: str | None
    refiner: str | None
    refiner_sha256: str | None
    stack: str
    version: str = ""


def other_maker(results: Path, record: VotRecord) -> str:
    """In words, what else made the results in a tracker's folder; empty if nothing did.

    Also empty where there are no results.
    """
    if not has_results(results):
        return ""
    path = results / RUN_FILE
    if not path.is_file():
        return f"{results}: holds results but no {RUN_FILE} that says what made them"
    try:
        known = read_run_record(path)
    except ResultsError as error:
        return str(error)
    now = json.loads(json.dumps(asdict(record)))
    differing = [
        f"{field.name} was {known.get(field.name)!r} and is now {now[field.name]!r}"
        for field in fields(record)
        if field.name not in ("version", "settings") and known.get(field.name) != now[field.name]
    ]
    differing += changed_settings(known.get("settings"), now["settings"])
    return f"{path}: results of another run ({', '.join(differing)})" if differing else ""


def check_maker(results: Path, record: VotRecord) -> None:
    """Make sure that a tracker's folder holds results of `record`, or none.

    Raises:
        ResultsError: there are results of something else.
    """
    if problem := other_maker(results, record):
        raise ResultsError(
            f"{problem}; --overwrite removes them and runs anew, or move the folder away to keep "
            "them"
        )


def claim_results(results: Path, record: VotRecord, overwrite: bool) -> None:
    """Make a tracker's folder that of `record` before the toolkit writes into it.

    Args:
        results: the folder.
        record: what will run now.
        overwrite: remove results of anything else.

    Raises:
        ResultsError: without `overwrite`, there are results of something else.
        OSError: the folder cannot be written.
    """
    if not overwrite:
        check_maker(results, record)
    elif results.is_dir():
        shutil.rmtree(results)
    text = json.dumps(asdict(record), indent=2) + "\n"
    path = results / RUN_FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        atomic_write_text(path, text)
