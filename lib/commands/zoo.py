"""`analysis_results.py --zoo`: print the model zoo's table, and what is missing."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from lib.analysis.tables import UNKNOWN, WRITERS, Table
from lib.analysis.zoo.published import COLUMNS, MODELS, published_scores
from lib.analysis.zoo.table import Zoo, make_zoo
from lib.config.paths import Paths
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, ResultsError
from lib.utils.files import atomic_write_text, user_path


def show_zoo(args: argparse.Namespace, paths: Paths) -> int:
    """Make the table, print it, and write it to `--out`; returns the exit code.

    Raises:
        ConfigError: arguments that `--zoo` has no use for, or a malformed `scores.yaml`.
        ResultsError: a malformed file of scores, or a file that cannot be written.
    """
    _refuse(args)
    zoo = make_zoo(paths)
    form = args.format or "markdown"
    table = zoo_table(zoo, beside_published=args.reference == "published")
    text = _json(zoo) if form == "json" else WRITERS[form](table)
    if args.out:
        _write(user_path(args.out, "--out"), text)
    print(text)
    # What another program is to read has nothing else in it.
    notes = sys.stdout if form in ("text", "markdown") else sys.stderr
    for line in _notes(zoo):
        print(line, file=notes)
    return EXIT_PARTIAL if any(cell.failed for cell in zoo.values()) else EXIT_OK


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


def _refuse(args: argparse.Namespace) -> None:
    if args.trackers or args.config or args.dataset or args.runid or args.results:
        raise ConfigError(
            "--zoo takes the eight published configurations and the data sets of its columns; "
            "leave --config, --dataset, --runid and --results out"
        )
    others = ("protocol", "convention", "skip_missing", "mixed_runs", "strict", "attributes")
    if any(getattr(args, name) for name in others):
        raise ConfigError(
            "--zoo scores whole data sets by their own protocols; leave --protocol, "
            "--convention, --skip-missing, --mixed-runs, --strict and --attributes out"
        )


def _notes(zoo: Zoo) -> Iterator[str]:
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


def _json(zoo: Zoo) -> str:
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


def _write(path: Path, text: str) -> None:
    try:
        atomic_write_text(path, text)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error
    print(f"written: {path}", file=sys.stderr)
