"""Raw result files: `<sequence>.txt`, `_time.txt`, `_confidence.txt`, `_certainty.txt`, their run.

A folder of results holds, for every sequence, one line per frame in each file: the box (x, y, w,
h, separated by tabs, whole numbers unless asked otherwise), the seconds, the confidence and, of a
calibrated tracker, the certainty in [0, 1]. Its
`run.json` says what made them, so that a resumed run never mixes two trackers.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.sequence import Dataset
from lib.datasets.text.boxes import read_boxes
from lib.tracker.spec import changed_settings
from lib.utils.errors import DataError, ResultsError, SeqTrackError
from lib.utils.files import atomic_write_text
from lib.utils.json_text import error_line, parse_json

RUN_FILE = "run.json"
_FLOAT_FORMAT = "%.6f"


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """What a tracker gave for one sequence of N frames."""

    boxes: np.ndarray  # (N, 4) x, y, w, h in pixels; row 0 is the box it was given
    times: np.ndarray  # (N,) wall seconds per frame, row 0 the initialisation
    confidences: np.ndarray | None = None  # (N,), or None from a tracker without
    # (N,) in [0, 1], or None from a tracker that is not calibrated
    certainties: np.ndarray | None = None


def read_results(path: Path | str, *, allow_nan: bool = False) -> np.ndarray:
    """Boxes of a result file as (N, 4) float64, separated by tabs, commas or spaces.

    Raises:
        ResultsError: the file is missing, empty, or has a line that is not four finite numbers;
            the message starts with `file:line`. `allow_nan` accepts NaN.
    """
    try:
        return read_boxes(path, allow_nan=allow_nan)
    except DataError as error:
        raise ResultsError(str(error)) from error


def write_results(path: Path | str, boxes: np.ndarray, as_float: bool = False) -> None:
    """Write boxes (N, 4) atomically, tab separated; whole numbers are cut off, not rounded.

    Cutting toward zero is what the established trackers do to the results that papers score.

    Raises:
        ResultsError: not (N, 4) finite numbers.
        OSError: the folder cannot be written.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ResultsError(f"{path}: boxes to write are {boxes.shape}, expected (N, 4)")
    broken = ~np.isfinite(boxes).all(axis=1)
    if broken.any():
        row = int(np.argmax(broken))
        raise ResultsError(f"{path}: box of frame {row} is not finite ({boxes[row].tolist()})")
    if as_float:
        rows = [[_FLOAT_FORMAT % value for value in row] for row in boxes.tolist()]
    else:
        rows = [[str(int(value)) for value in row] for row in boxes.tolist()]
    atomic_write_text(path, "".join("\t".join(row) + "\n" for row in rows))


def write_column(path: Path | str, values: Iterable[float]) -> None:
    """Write one number per line, atomically; OSError as above."""
    atomic_write_text(path, "".join(_FLOAT_FORMAT % value + "\n" for value in values))


def read_column(path: Path, rows: int) -> np.ndarray:
    """Numbers (rows,) of a file with one per line; NaN where it ends early.

    Raises:
        ResultsError: the file cannot be read, or a line is not a number.
    """
    try:
        lines = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: not a text file (byte {error.start})") from error
    values = np.full(rows, np.nan)
    for number, line in enumerate(lines[:rows]):
        try:
            values[number] = float(line)
        except ValueError:
            raise ResultsError(f"{path}:{number + 1}: {line!r} is not a number") from None
    values[np.isinf(values)] = np.nan
    return values


@dataclass(frozen=True)
class ResultsFolder:
    """The result files of one tracker, configuration and data set."""

    root: Path

    def boxes_file(self, sequence: str) -> Path:
        return self.root / f"{sequence}.txt"

    def time_file(self, sequence: str) -> Path:
        return self.root / f"{sequence}_time.txt"

    def confidence_file(self, sequence: str) -> Path:
        return self.root / f"{sequence}_confidence.txt"

    def certainty_file(self, sequence: str) -> Path:
        return self.root / f"{sequence}_certainty.txt"

    def files_of(self, sequence: str) -> tuple[Path, ...]:
        """All that may lie beside the boxes of a sequence."""
        return (
            self.time_file(sequence),
            self.confidence_file(sequence),
            self.certainty_file(sequence),
        )

    def clashes(self, names: Iterable[str]) -> dict[str, str]:
        """Sequences whose boxes would lie in another one's file of times, say.

        Returns:
            name of such a sequence to the name of the other one.
        """
        known = set(names)
        owners = {}
        for name in known:
            for file in self.files_of(name):
                if file.stem in known:
                    owners[file.stem] = name
        return owners

    def is_complete(self, sequence: str, frames: int) -> bool:
        """Whether the boxes are there, readable, and as many as `frames`."""
        try:
            return len(read_results(self.boxes_file(sequence))) == frames
        except ResultsError:
            return False

    def write(self, sequence: str, result: SequenceResult, as_float: bool = False) -> None:
        """Write all files of a sequence; the boxes last, since they make it complete.

        Raises:
            ResultsError: lengths differ, or a box is not finite.
            OSError: the folder cannot be written.
        """
        rows = len(result.boxes)
        columns = {
            "times": result.times,
            "confidences": result.confidences,
            "certainties": result.certainties,
        }
        for word, values in columns.items():
            if values is not None and len(values) != rows:
                raise ResultsError(f"{sequence}: {len(values)} {word} for {rows} boxes")
        for file, values in zip(self.files_of(sequence), columns.values(), strict=True):
            if values is None:
                file.unlink(missing_ok=True)
            else:
                write_column(file, values)
        write_results(self.boxes_file(sequence), result.boxes, as_float)


@dataclass(frozen=True)
class RunRecord:
    """What made the results of a folder; it must stay the same in it, but for the version.

    Data may also move, or have sequences added. Only both at once are taken for other data.
    """

    tracker: str  # name of the tracker
    config_name: str  # name of its configuration
    settings: Mapping[str, Any]  # those of the configuration that decide boxes, by dotted key
    checkpoint_sha256: str | None  # of the weights, None for trackers without
    dataset: str  # name of the data set
    source: str  # the folder it was read from, or 'built-in'
    max_frames: int | None = None  # limit of frames per sequence, None for all
    float_results: bool = False  # whether the boxes keep decimals
    # Tells this data from other data, see `hash_data`; None if not known
    data_sha256: str | None = None
    benchmark: bool = False  # whether its name alone tells what the data is
    version: str = ""  # version of the project; kept for information


# Of a record: what may change in a folder of results.
_MAY_CHANGE = ("source", "data_sha256", "benchmark", "version")


def hash_data(dataset: Dataset, benchmark: bool) -> str:
    """A hash of what tells this data from other data of its name, wherever it lies.

    Of a benchmark that is the list of sequences; of others also the number of frames and the
    first box of each, since any folder can hold a `cam1` and a `cam2`.
    """
    lines = list(dataset.sequence_names)
    for number, name in enumerate(() if benchmark else dataset.sequence_names):
        # What cannot be loaded has no results either.
        with contextlib.suppress(SeqTrackError):
            sequence = dataset.load(name)
            lines[number] += f"\0{len(sequence)} {sequence.init_box}"
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def check_run_record(folder: ResultsFolder, record: RunRecord) -> None:
    """Make sure that `folder` holds results of the run `record`, or none; writes nothing.

    Raises:
        ResultsError: the folder holds results of another or an unknown run.
    """
    problem = _other_run(folder, record)
    if problem:
        count = len(_result_files(folder))
        raise ResultsError(
            f"{problem}; --overwrite removes the {count} result files there and goes on, "
            "another --runid keeps them"
        )


def claim_folder(folder: ResultsFolder, record: RunRecord, overwrite: bool = False) -> None:
    """Make `folder` that of the run `record` and say so in its `run.json`.

    With `overwrite`, results of another run are removed: an interrupted run that left some of
    them would later take them for its own. Call it once, when the first result is there, so
    that nothing is lost by a run that never gets so far.

    Raises:
        ResultsError: without `overwrite`, the folder holds results of another run.
        OSError: the folder cannot be written.
    """
    path = folder.root / RUN_FILE
    if not overwrite:
        check_run_record(folder, record)
    elif _other_run(folder, record):
        for leftover in _result_files(folder):
            leftover.unlink()
    content = dict(vars(record))
    if path.exists() and not _difference(path, record):
        known = read_run_record(path)
        # Data that moved, or to which something was added, has to be known by that next time.
        content = {**known, **{name: content[name] for name in ("source", "data_sha256")}}
        if content == known:
            return
    atomic_write_text(path, json.dumps(content, indent=2) + "\n")


def read_run_record(path: Path | str) -> dict[str, Any]:
    """The fields of a `run.json`.

    Raises:
        ResultsError: the file cannot be read, or is not a JSON object.
    """
    try:
        content = parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: not a text file (byte {error.start})") from error
    except ValueError as error:
        reason = getattr(error, "msg", error)
        raise ResultsError(f"{path}{error_line(error)}: not valid JSON ({reason})") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _result_files(folder: ResultsFolder) -> list[Path]:
    return sorted(folder.root.glob("*.txt"))


def _other_run(folder: ResultsFolder, record: RunRecord) -> str:
    """In words, which other run the folder's results are of; empty if they are of `record`."""
    path = folder.root / RUN_FILE
    if not _result_files(folder):
        return ""
    if not path.exists():
        return f"{folder.root}: holds results but no {RUN_FILE} that says what made them"
    return _difference(path, record)


def _difference(path: Path, record: RunRecord) -> str:
    """In words, how the run of `path` differs from `record`; empty if not."""
    try:
        known = read_run_record(path)
    except ResultsError as error:
        return str(error)
    differing = [*_other_data(known, record), *record_changes(known, vars(record), _MAY_CHANGE)]
    return f"{path}: results of another run ({', '.join(differing)})" if differing else ""


def record_changes(
    known: Mapping[str, Any], now: Mapping[str, Any], may_change: Sequence[str]
) -> list[str]:
    """Every field of a record that was another, with both values; settings by their dotted key."""
    changes = [
        f"{name} was {known.get(name)!r} and is now {value!r}"
        for name, value in now.items()
        if name not in (*may_change, "settings") and known.get(name) != value
    ]
    return changes + changed_settings(known.get("settings"), now["settings"])


def _other_data(known: Mapping[str, Any], record: RunRecord) -> list[str]:
    """In words, that results of other data are there; nothing if they are of this data."""
    there = known.get("data_sha256")
    # A benchmark is known by its name; what was written before the hash was has only that.
    same = there == record.data_sha256 if there else record.benchmark
    if same or known.get("source") == record.source:
        return []
    return [
        f"source was {known.get('source')!r} and is now {record.source!r}, where other sequences "
        f"lie; if they are the same, write that source into {RUN_FILE}"
    ]
