"""What the evaluation servers of GOT-10k and TrackingNet take: checked, then written as one zip.

GOT-10k's zip holds a folder for every sequence, with `<sequence>_001.txt` (a box per line, comma
separated; `_002` and so on for more runs) and `<sequence>_time.txt` (seconds per frame, a column
per run), and no folder around them. TrackingNet's is flat, `<video>.txt`.

Raw results are read and never written. What was read for the checks is what goes into the zip.
"""

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.datasets.benchmarks.layout import Server
from lib.datasets.benchmarks.rows import CATALOG
from lib.datasets.text.boxes import plain_table, read_text, split_lines
from lib.results.files import RUN_FILE, ResultsFolder, read_results, read_run_record
from lib.results.record import Record, differences, is_untrained
from lib.utils.errors import DataError, ResultsError
from lib.utils.files import atomic_path

# Results may be cut to whole pixels, or rounded to two decimals as other programs do.
_BOX_TOLERANCE = 0.01
# The same results make the same zip.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)

SERVERS = tuple(row.server for row in CATALOG if row.server)


@dataclass(frozen=True)
class ServerFacts:
    """What the data set says about a sequence; None where it is not at hand."""

    frames: int | None = None  # how many there are
    box: tuple[float, float, float, float] | None = None  # x, y, w, h of the first frame, in pixels


@dataclass
class Submission:
    """What was found in the raw results; it can be packed if it has no problems."""

    # Path in the zip to content, of the sequences without a problem
    members: dict[str, str] = field(default_factory=dict)
    missing: list[Path] = field(default_factory=list)  # files of raw results that are not there
    # What else is wrong, a line each that names the file
    problems: list[str] = field(default_factory=list)
    # Files of boxes that are readable and as many as the frames, of sequences with a problem all
    # the same: tracking goes on without them, as they look done
    finished: list[Path] = field(default_factory=list)
    # Whether a record says that the results are of another data set, of cut videos, of untrained
    # weights, or that the runs were not made alike
    other_run: bool = False
    # Files and folders that do not belong to the results, left out of the zip
    extras: list[Path] = field(default_factory=list)
    frames: int = 0  # number of boxes

    @property
    def complete(self) -> bool:
        """Whether the server would take it."""
        return not self.missing and not self.problems


@dataclass(frozen=True)
class _RunResults:
    """Boxes (N, 4) and seconds (N,) of a sequence in one run."""

    boxes: np.ndarray
    times: np.ndarray | None


def check_submission(
    server: Server,
    folders: Sequence[ResultsFolder],
    names: Sequence[str],
    facts: Mapping[str, ServerFacts],
) -> Submission:
    """Read all raw results and say everything that a server would not take.

    Args:
        folders: raw results of one or several runs of a tracker.
        names: all sequences of the test set.
        facts: what is known of them.
    """
    found = Submission(problems=_record_problems(server, folders))
    found.other_run = bool(found.problems)
    for folder in folders:
        found.problems += [
            f"{folder.boxes_file(name)}: the boxes of {name!r} and times or confidences of "
            f"{other!r} would be the same file"
            for name, other in sorted(folder.clashes(names).items())
        ]
        found.extras += _extras(folder, names)
    for name in names:
        runs = [_read_run(server, folder, name, facts.get(name), found) for folder in folders]
        whole = [run for run in runs if run is not None]
        if len(whole) < len(runs):
            continue
        lengths = [len(run.boxes) for run in whole]
        if len(set(lengths)) > 1:
            found.problems.append(
                f"{folders[0].boxes_file(name)}: {lengths[0]} boxes, but the other runs have "
                f"{', '.join(map(str, lengths[1:]))}"
            )
            continue
        found.frames += sum(lengths)
        found.members.update(_members(server, name, whole))
    return found


def write_submission(path: Path, submission: Submission) -> None:
    """Write the zip atomically; the same results give the same bytes.

    Raises:
        ResultsError: the results are not complete.
        OSError: the folder cannot be written.
    """
    if not submission.complete:
        raise ResultsError(f"{path}: not written, since the results are not complete")
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in submission.members.items():
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)


def read_seconds(path: Path) -> np.ndarray:
    """Seconds per frame, one number per line, as (N,) float64.

    Raises:
        ResultsError: the file is missing or empty, or a line is not one number from 0 on.
    """
    try:
        text = read_text(path)
        table = plain_table(text, 1, allow_nan=False)
        seconds = _careful_seconds(text, path) if table is None else table[:, 0]
    except DataError as error:
        raise ResultsError(str(error)) from error
    if (negative := np.flatnonzero(seconds < 0)).size:
        row = int(negative[0])
        raise ResultsError(f"{path}:{row + 1}: {seconds[row]:g} seconds are below zero")
    return seconds


def _careful_seconds(text: str, path: Path) -> np.ndarray:
    values = []
    for number, tokens in split_lines(text, str(path)):
        # What is not plain may still be right, such as Windows line ends.
        table = plain_table("\t".join(tokens) + "\n", 1, allow_nan=False)
        if table is None:
            raise DataError(
                f"{path}:{number}: {' '.join(tokens)[:60]!r} is not one finite number of seconds"
            )
        values.append(table[0, 0])
    return np.array(values, dtype=np.float64)


def _read_run(
    server: Server, folder: ResultsFolder, name: str, facts: ServerFacts | None, found: Submission
) -> _RunResults | None:
    """One sequence in one run; None and entries in `found` where it cannot be packed."""
    boxes_file, time_file = folder.boxes_file(name), folder.time_file(name)
    absent = [
        path
        for path, needed in ((boxes_file, True), (time_file, server.folders))
        if needed and not path.is_file()
    ]
    found.missing += absent
    times: np.ndarray | None = None
    problems = []
    boxes: np.ndarray | None = None
    try:
        if boxes_file.is_file():
            boxes = read_results(boxes_file)
            problems += _box_problems(boxes, boxes_file, facts or ServerFacts())
    except ResultsError as error:
        problems.append(str(error))
    try:
        if time_file.is_file():
            times = read_seconds(time_file)
            if boxes is not None and len(times) != len(boxes):
                problems.append(
                    f"{time_file}: {len(times)} times, but {boxes_file.name} has {len(boxes)} boxes"
                )
    except ResultsError as error:
        problems.append(str(error))
    found.problems += problems
    if boxes is None:
        return None
    if not absent and not problems:
        return _RunResults(boxes, times)
    if facts is None or facts.frames in (None, len(boxes)):
        found.finished.append(boxes_file)
    return None


def _box_problems(boxes: np.ndarray, file: Path, facts: ServerFacts) -> list[str]:
    problems = []
    if facts.frames is not None and len(boxes) != facts.frames:
        problems.append(f"{file}: {len(boxes)} boxes, but the video has {facts.frames} frames")
    if (negative := np.flatnonzero((boxes[:, 2:] < 0).any(axis=1))).size:
        row = int(negative[0])
        width, height = boxes[row, 2:]
        problems.append(f"{file}:{row + 1}: a size below zero ({width:g} x {height:g})")
    if facts.box is not None and not _same_box(boxes[0], np.array(facts.box)):
        ours, given = (
            ", ".join(f"{value:g}" for value in box) for box in (boxes[0].tolist(), facts.box)
        )
        problems.append(f"{file}:1: the first box ({ours}) is not the given one ({given})")
    return problems


def _same_box(ours: np.ndarray, given: np.ndarray) -> bool:
    """Whether `ours` is the given box, perhaps with its decimals cut off or rounded."""
    forms = (given, np.trunc(given), np.rint(given))
    return any(bool((np.abs(ours - form) <= _BOX_TOLERANCE).all()) for form in forms)


def _record_problems(server: Server, folders: Sequence[ResultsFolder]) -> list[str]:
    """What the records of the runs say against submitting them; results without one are taken."""
    problems = []
    records: list[Record | None] = []
    for path in (folder.root / RUN_FILE for folder in folders):
        try:
            record = read_run_record(path) if path.is_file() else None
        except ResultsError as error:
            problems.append(str(error))
            continue
        problems += _unfit(server, path, record) if record is not None else []
        found = differences(records[0], record) if records else []
        if found:
            problems.append(f"{path}: not made as the first run: {', '.join(found)}")
        records.append(record)
    return problems


def _unfit(server: Server, path: Path, record: Record) -> list[str]:
    """What the record of one run says against submitting it."""
    problems = []
    if record.get("dataset", server.data_set) != server.data_set:
        problems.append(f"{path}: results on {record['dataset']!r}, not on {server.data_set!r}")
    if record.get("max_frames") is not None:
        problems.append(
            f"{path}: only the first {record['max_frames']} frames of each sequence were tracked; "
            "track them again without --max-frames"
        )
    if is_untrained(record):
        problems.append(f"{path}: tracked with untrained weights, so its boxes mean nothing")
    return problems


def _extras(folder: ResultsFolder, names: Iterable[str]) -> list[Path]:
    """What lies in a folder of results and is none of the files that belong there."""
    known = {RUN_FILE}
    for name in names:
        known.update(file.name for file in (folder.boxes_file(name), *folder.files_of(name)))
    return [folder.root / name for name in sorted(os.listdir(folder.root)) if name not in known]


def _members(server: Server, name: str, runs: Sequence[_RunResults]) -> dict[str, str]:
    """The files of a sequence in the zip."""
    if not server.folders:
        return {f"{name}.txt": _boxes_text(runs[0].boxes)}
    members = {
        f"{name}/{name}_{number:03d}.txt": _boxes_text(run.boxes)
        for number, run in enumerate(runs, start=1)
    }
    columns = [run.times.tolist() for run in runs if run.times is not None]
    rows = zip(*columns, strict=True)
    members[f"{name}/{name}_time.txt"] = "".join(
        ",".join(f"{seconds:.8f}" for seconds in row) + "\n" for row in rows
    )
    return members


def _boxes_text(boxes: np.ndarray) -> str:
    return "".join(",".join(map(_plain, row)) + "\n" for row in boxes.tolist())


def _plain(value: float) -> str:
    """A number as short as it is exact, without an exponent."""
    return str(int(value)) if value.is_integer() else np.format_float_positional(value, trim="-")
