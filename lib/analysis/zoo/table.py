"""The model zoo's table, from whatever lies in the trees, and what would fill its empty cells.

A cell is scored here where the ground truth is public. The scores of evaluation servers are typed
into `scores.yaml` in the save folder (see `published`). The EAO of VOT2020 can be typed there
too, or is read from `external/vot20/seqtrack/scores.json`:

    {"seqtrack_b256": {"eao": 0.291}, "seqtrack_b256_ar": {"eao": 0.52}}

where a tracker is called as in the workspace, `_ar` with Alpha-Refine. `vot.py score` also writes
what the EAO is of there: only the challenge's own stack on all its sequences is taken.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.analysis.certainty import metric_names
from lib.analysis.compare import Comparison, Contender, compare
from lib.analysis.zoo.commands import Remedies
from lib.analysis.zoo.published import (
    COLUMNS,
    MODELS,
    Column,
    Origin,
    read_scores,
    scores_file,
)
from lib.config.paths import Paths
from lib.datasets.benchmarks.open import find_row, open_dataset
from lib.datasets.sequence import Dataset
from lib.results.files import RUN_FILE
from lib.results.record import MixedRunsError
from lib.utils.errors import DataError, ResultsError, SeqTrackError
from lib.vot.stacks import STACKS

HERE, DOWNLOADED = "here", "raw results"
_TRACKER = "seqtrack"
_VOT_FILE = Path("external/vot20/seqtrack/scores.json")
_VOT_STACK = STACKS["vot2020/shortterm"]
_VOT_TRACKERS = {"vot2020_bbox": "{}", "vot2020_mask": "{}_ar"}

Votes = Mapping[str, Mapping[str, Any]]


class UnsoundError(ResultsError):
    """Results that can be scored, and are no numbers of the model zoo."""


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        value: percent; None for an empty cell.
        note: where the value is from, or why there is none.
        remedy: how to fill an empty cell: a command, and what is left to do by hand.
        failed: whether there are results which cannot be scored.
    """

    value: float | None = None
    note: str = ""
    remedy: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Zoo:
    """The table and what is beside it.

    Attributes:
        cells: by configuration (without `_got`) and key of the column.
        beside: our results compared with downloaded ones, where both are there.
    """

    cells: Mapping[tuple[str, str], Cell]
    beside: tuple[tuple[str, Comparison], ...]


@dataclass(frozen=True)
class Sources:
    """Folders of results of one configuration on one data set.

    Attributes:
        here: made by this project, one for each run.
        downloaded: others, such as the published raw results.
    """

    here: tuple[Path, ...]
    downloaded: Path | None

    @property
    def contenders(self) -> list[Contender]:
        """Ours first."""
        found = [Contender(HERE, self.here[0], self.here[1:])] if self.here else []
        return found + ([Contender(DOWNLOADED, self.downloaded)] if self.downloaded else [])


def make_zoo(paths: Paths, remedies: Remedies, elsewhere: Path | None = None) -> Zoo:
    """Fill the table.

    Args:
        paths: the trees.
        remedies: words for what is missing.
        elsewhere: another tree of raw results, to put beside ours.

    Raises:
        SeqTrackError: a file of scores is malformed.
    """
    typed_file, vot_file = scores_file(paths), paths.save_dir / _VOT_FILE
    typed = read_scores(typed_file) if typed_file.is_file() else {}
    votes = _read_vot(vot_file)
    cells: dict[tuple[str, str], Cell] = {}
    beside: list[tuple[str, Comparison]] = []
    for column in COLUMNS:
        dataset = _open(column, paths) if column.origin is Origin.HERE else None
        for model in MODELS.values():
            config = model + column.suffix
            if column.key in typed.get(config, {}):
                cell = Cell(typed[config][column.key], f"typed into {typed_file.name}")
            elif column.origin is Origin.VOT:
                cell = _vot_cell(column, config, votes, vot_file, remedies)
            elif column.origin is Origin.SERVER:
                cell = _server_cell(column, config, paths, remedies)
            else:
                sources = find_sources(config, column.key, paths, elsewhere)
                cell, comparison = _scored_cell(column, config, sources, dataset, remedies)
                beside += [(config, comparison)] if comparison else []
            cells[model, column.key] = cell
    return Zoo(cells, tuple(beside))


def find_sources(config: str, data_set: str, paths: Paths, elsewhere: Path | None) -> Sources:
    """Where results of a configuration lie, told apart by the `run.json` that ours have."""
    row = find_row(data_set)
    folder = row.results_folder if row else data_set
    plain = paths.dataset_results_dir(_TRACKER, config, folder)
    numbered = [
        one / folder
        for one in _subfolders(plain.parents[1])
        if re.fullmatch(re.escape(config) + r"_\d{3}", one.name) and _has_results(one / folder)
    ]
    ours = (plain / RUN_FILE).is_file() and _has_results(plain)
    others = [plain] if not ours else []
    if elsewhere is not None:
        others += _places(elsewhere, config, data_set)
    downloaded = next(filter(_has_results, others), None)
    return Sources((plain,) if ours else tuple(numbered), downloaded)


def holds_results(tree: Path) -> bool:
    """Whether raw results of any configuration on any column lie where `--zoo` looks in `tree`."""
    return any(
        _has_results(place)
        for column in COLUMNS
        if column.origin is Origin.HERE
        for model in MODELS.values()
        for place in _places(tree, model + column.suffix, column.key)
    )


def _places(tree: Path, config: str, data_set: str) -> list[Path]:
    """Where another tree may have results: it is one of results, or a save folder."""
    row = find_row(data_set)
    inner = Path(config) / (row.results_folder if row else data_set)
    return [tree / inner, tree / "test" / "tracking_results" / _TRACKER / inner]


def _scored_cell(
    column: Column,
    config: str,
    sources: Sources,
    dataset: Dataset | DataError | None,
    remedies: Remedies,
) -> tuple[Cell, Comparison | None]:
    """The cell, and the comparison of ours with downloaded results where both are there."""
    contenders = sources.contenders
    if not contenders:
        return Cell(note="no results", remedy=remedies.track(config, column.key)), None
    if not isinstance(dataset, Dataset):
        return Cell(note=f"no ground truth: {dataset}", remedy=remedies.check(column.key)), None
    try:
        comparison = _sound_comparison(dataset, contenders)
    except SeqTrackError as error:
        reason = str(error).splitlines()[0].rstrip(":")
        if len(contenders) > 1:
            # Whatever is wrong with one of them, the other may be sound.
            for single in (Sources(sources.here, None), Sources((), sources.downloaded)):
                cell, _ = _scored_cell(column, config, single, dataset, remedies)
                if cell.value is not None:
                    note = f"{cell.note}; {HERE} and {DOWNLOADED} not compared: {reason}"
                    return replace(cell, note=note), None
        if isinstance(error, MixedRunsError):
            remedy = remedies.separate(config, column.key, _run_numbers(config, sources.here))
        elif sources.here:
            anew = isinstance(error, UnsoundError)
            remedy = remedies.track(config, column.key, _run_numbers(config, sources.here), anew)
        else:
            remedy = remedies.fetch(config, column.key)
        return Cell(note=reason, remedy=remedy, failed=True), None
    score = comparison.scores[contenders[0].label]
    value = score.total.percentages()[metric_names(score)[0]]
    note = "scored here" if sources.here else f"scored here, from raw results without {RUN_FILE}"
    if comparison.warnings:
        note += f"; {len(comparison.warnings)} files of the wrong length"
    return Cell(value, note), comparison if len(contenders) > 1 else None


def _sound_comparison(dataset: Dataset, contenders: Sequence[Contender]) -> Comparison:
    """The comparison, of results that may stand in the table.

    Raises:
        UnsoundError: they were made of cut videos, without weights, and the like.
        SeqTrackError: as `compare`.
    """
    comparison = compare(dataset, contenders)
    for one in contenders:
        for caution in comparison.cautions[one.label]:
            raise UnsoundError(f"{one.folder}: {caution}")
    return comparison


def _run_numbers(config: str, folders: Sequence[Path]) -> list[int]:
    """Numbers of the runs whose results lie in `folders`; none for a folder without a number."""
    ends = (one.parent.name.removeprefix(config) for one in folders)
    return [int(end[1:]) for end in ends if end]


def _server_cell(column: Column, config: str, paths: Paths, remedies: Remedies) -> Cell:
    row = find_row(column.key)
    folder = row.results_folder if row else column.key
    tracked = _has_results(paths.dataset_results_dir(_TRACKER, config, folder))
    note = "no score of the server yet" if tracked else "no results"
    return Cell(note=note, remedy=remedies.submit(config, column.key, tracked))


def _vot_cell(column: Column, config: str, votes: Votes, file: Path, remedies: Remedies) -> Cell:
    tracker = _VOT_TRACKERS[column.key].format(config)
    reason = _other_data(votes[tracker]) if tracker in votes else "no EAO"
    if not reason:
        return Cell(100 * votes[tracker]["eao"], f"from {_VOT_FILE}")
    return Cell(note=reason, remedy=remedies.vote(tracker, config, column.key, file))


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
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ResultsError(f"{path}{line}: cannot be read as JSON; {form}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: holds no trackers; {form}")
    for tracker, row in content.items():
        eao = row.get("eao") if isinstance(row, dict) else None
        if isinstance(eao, bool) or not isinstance(eao, int | float) or not 0 <= eao <= 1:
            raise ResultsError(f"{path}: {tracker}: eao is {eao!r}, not a fraction; {form}")
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
    return any(one.suffix == ".txt" or one.is_dir() for one in folder.iterdir())


def _subfolders(folder: Path) -> Sequence[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
