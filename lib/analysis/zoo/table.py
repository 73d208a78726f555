"""The model zoo's table, from whatever lies in the save folder.

A cell is scored here where the ground truth is public. The scores of evaluation servers are typed
into `scores.yaml` in the save folder (see `published`). The EAO of VOT2020 can be typed there
too, or is read from `external/vot20/seqtrack/scores.json`:

    {"seqtrack_b256": {"eao": 0.291}, "seqtrack_b256_ar": {"eao": 0.52}}

where a tracker is called as in the workspace, `_ar` with Alpha-Refine. `vot.py score` also writes
what the EAO is of there: only the challenge's own stack on all its sequences is taken.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.analysis.compare import TrackerResults, compare
from lib.analysis.findings import metric_names
from lib.analysis.tables import UNKNOWN, Table
from lib.analysis.zoo.published import (
    COLUMNS,
    MODELS,
    Column,
    Origin,
    published_scores,
    read_scores,
    scores_file,
)
from lib.config.paths import Paths
from lib.datasets.benchmarks.open import find_row, open_dataset
from lib.datasets.sequence import Dataset
from lib.results.files import RUN_FILE
from lib.utils.errors import DataError, ResultsError, SeqTrackError
from lib.utils.json_text import error_line, parse_json
from lib.vot.stacks import STACKS

_TRACKER = "seqtrack"
_VOT_FILE = Path("external/vot20/seqtrack/scores.json")
_VOT_STACK = STACKS["vot2020/shortterm"]
_VOT_TRACKERS = {"vot2020_bbox": "{}", "vot2020_mask": "{}_ar"}

Votes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One cell of the table."""

    value: float | None = None  # percent; None for an empty cell
    note: str = ""  # where the value is from, or why there is none
    failed: bool = False  # whether there are results which cannot be scored


# By configuration (without `_got`) and key of the column.
Zoo = Mapping[tuple[str, str], Cell]


def make_zoo(paths: Paths) -> Zoo:
    """Fill the table. Raises SeqTrackError: a file of scores is malformed."""
    typed_file = scores_file(paths)
    typed = read_scores(typed_file) if typed_file.is_file() else {}
    votes = _read_vot(paths.save_dir / _VOT_FILE)
    cells: dict[tuple[str, str], Cell] = {}
    for column in COLUMNS:
        dataset = _open(column, paths) if column.origin is Origin.HERE else None
        for model in MODELS.values():
            config = model + column.suffix
            if column.key in typed.get(config, {}):
                cell = Cell(typed[config][column.key], f"typed into {typed_file.name}")
            elif column.origin is Origin.VOT:
                cell = _vot_cell(column, config, votes)
            elif column.origin is Origin.SERVER:
                cell = _server_cell(column, config, paths)
            else:
                cell = _scored_cell(config, _find_results(config, column.key, paths), dataset)
            cells[model, column.key] = cell
    return cells


def _find_results(config: str, data_set: str, paths: Paths) -> list[Path]:
    """Folders of results, one for each run; others' results only where there are none of ours.

    Ours have a `run.json`.
    """
    row = find_row(data_set)
    folder = row.results_folder if row else data_set
    plain = paths.dataset_results_dir(_TRACKER, config, folder)
    runs = [
        one / folder
        for one in _subfolders(plain.parents[1])
        if re.fullmatch(re.escape(config) + r"_\d{3}", one.name) and _has_results(one / folder)
    ]
    if not _has_results(plain) or (runs and not (plain / RUN_FILE).is_file()):
        return runs
    return [plain]


def _scored_cell(config: str, folders: list[Path], dataset: Dataset | DataError | None) -> Cell:
    if not folders:
        return Cell(note="no results")
    if not isinstance(dataset, Dataset):
        return Cell(note=f"no ground truth: {dataset}")
    results = TrackerResults(config, folders[0], tuple(folders[1:]))
    try:
        comparison = compare(dataset, [results])
    except SeqTrackError as error:
        return Cell(note=str(error).splitlines()[0].rstrip(":"), failed=True)
    if cautions := comparison.cautions[config]:
        # Of cut videos, without weights, and the like.
        return Cell(note=f"{folders[0]}: {cautions[0]}", failed=True)
    score = comparison.scores[config]
    ours = (folders[0] / RUN_FILE).is_file() or len(folders) > 1
    note = "scored here" if ours else f"scored here, from raw results without {RUN_FILE}"
    if comparison.warnings:
        note += f"; {len(comparison.warnings)} files of the wrong length"
    return Cell(score.total.percentages()[metric_names(score)[0]], note)


def _server_cell(column: Column, config: str, paths: Paths) -> Cell:
    tracked = bool(_find_results(config, column.key, paths))
    return Cell(note="no score of the server yet" if tracked else "no results")


def _vot_cell(column: Column, config: str, votes: Votes) -> Cell:
    tracker = _VOT_TRACKERS[column.key].format(config)
    reason = _other_data(votes[tracker]) if tracker in votes else "no EAO"
    if reason:
        return Cell(note=reason)
    return Cell(100 * votes[tracker]["eao"], f"from {_VOT_FILE}")


def _other_data(row: Mapping[str, Any]) -> str:
    """Why an EAO is none of the challenge's; empty if it is, or if a person typed it alone."""
    stack, count = row.get("stack", _VOT_STACK.name), row.get("sequences", _VOT_STACK.sequences)
    if (stack, count) == (_VOT_STACK.name, _VOT_STACK.sequences):
        return ""
    return (
        f"the EAO in {_VOT_FILE} is of stack {stack}, sequences: {count}; this column is about "
        f"{_VOT_STACK.name}, sequences: {_VOT_STACK.sequences}"
    )


def _read_vot(path: Path) -> Votes:
    """Rows of the file by tracker, `eao` a fraction; nothing where there is no file."""
    if not path.is_file():
        return {}
    form = 'expected {"seqtrack_b256": {"eao": 0.291}, …}'
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        line = error_line(error) if isinstance(error, ValueError) else ""
        raise ResultsError(f"{path}{line}: cannot be read as JSON; {form}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: holds no trackers; {form}")
    for tracker, row in content.items():
        eao = row.get("eao") if isinstance(row, dict) else None
        if isinstance(eao, bool) or not isinstance(eao, int | float) or not 0 <= eao <= 1:
            shown = f"{' '.join(tracker.split())[:60]}: eao is {eao!r:.60}"
            raise ResultsError(f"{path}: {shown}, not a fraction; {form}")
    return content


def _open(column: Column, paths: Paths) -> Dataset | DataError:
    """The data set, or why it cannot be opened."""
    try:
        return open_dataset(column.key, paths)
    except DataError as error:
        return error


def _has_results(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    # Hidden are the claims of workers.
    seen = (one for one in folder.iterdir() if not one.name.startswith("."))
    return any(one.suffix == ".txt" or one.is_dir() for one in seen)


def _subfolders(folder: Path) -> Sequence[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def zoo_table(zoo: Zoo, beside_published: bool) -> Table:
    """Four rows and nine columns, percent with one decimal, as MODEL_ZOO.md has them."""
    published = published_scores()
    rows = []
    for model, config in MODELS.items():
        cells = [model]
        for column in COLUMNS:
            value = zoo[config, column.key].value
            text = UNKNOWN if value is None else f"{value:.1f}"
            if beside_published and value is not None:
                text += f" ({value - published[config + column.suffix][column.key]:+.1f})"
            cells.append(text)
        rows.append(tuple(cells))
    note = "; in brackets: less the published number" if beside_published else ""
    return Table(
        f"Model zoo, percent{note}", ("model", *(one.title for one in COLUMNS)), tuple(rows)
    )


def zoo_notes(zoo: Zoo) -> Iterator[str]:
    """Where odd values come from, and for each empty cell what is missing."""
    titles = {column.key: column.title for column in COLUMNS}
    models = {config: model for model, config in MODELS.items()}
    lines = {cell: f"{models[cell[0]]}, {titles[cell[1]]}: {zoo[cell].note}" for cell in zoo}
    filled = {name for name, cell in zoo.items() if cell.value is not None}
    yield from (
        line for name, line in lines.items() if name in filled and zoo[name].note != "scored here"
    )
    if len(filled) < len(zoo):
        yield "Empty cells (docs/scores.md says what fills them):"
        yield from (line for name, line in lines.items() if name not in filled)


def zoo_json(zoo: Zoo) -> str:
    published = published_scores()
    tree = {
        model: {
            column.key: {
                "value": cell.value if cell.value is None else round(cell.value, 6),
                "published": published[config + column.suffix][column.key],
                "note": cell.note,
            }
            for column in COLUMNS
            for cell in [zoo[config, column.key]]
        }
        for model, config in MODELS.items()
    }
    return json.dumps(tree, indent=2, allow_nan=False) + "\n"
