"""`analysis_results.py --zoo`: print the model zoo's table, and how to fill what is empty."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from lib.analysis.findings import Findings, work_out
from lib.analysis.tables import UNKNOWN, WRITERS, Table
from lib.analysis.text import difference_table, sequence_table
from lib.analysis.zoo.commands import Remedies
from lib.analysis.zoo.published import COLUMNS, MODELS, published_scores
from lib.analysis.zoo.table import DOWNLOADED, HERE, Zoo, holds_results, make_zoo
from lib.commands.contenders import OtherResults, chosen_results
from lib.config.paths import Paths
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, ResultsError
from lib.utils.files import atomic_write_text, user_path

DIFFERENCES_FILE = "zoo_differences.csv"


def show_zoo(args: argparse.Namespace, paths: Paths) -> int:
    """Make the table, print it, and write it to `--out`; returns the exit code.

    Raises:
        ConfigError: arguments that `--zoo` has no use for, or a malformed `scores.yaml`.
        ResultsError: a malformed file of scores, or a file that cannot be written.
    """
    elsewhere = _elsewhere(args)
    zoo = make_zoo(paths, Remedies(paths, args.data_dir, args.save_dir), elsewhere)
    table = zoo_table(zoo, beside_published=args.reference == "published")
    form = args.format or "markdown"
    text = _json(zoo) if form == "json" else WRITERS[form](table)
    if args.out:
        _write(user_path(args.out, "--out"), text)
    if zoo.beside:
        folder = user_path(args.out, "--out").parent if args.out else paths.analysis_dir
        _write(folder / DIFFERENCES_FILE, _differences_csv(zoo))
    print(text)
    # What another program is to read has nothing else in it.
    notes = sys.stdout if form in ("text", "markdown") else sys.stderr
    write = WRITERS[form] if form in ("text", "markdown") else WRITERS["text"]
    for config, findings in _beside(zoo):
        print(f"{config}, beside its raw results", file=notes)
        print(write(difference_table(findings)), file=notes)
        if args.top:
            print(write(sequence_table(findings, DOWNLOADED, args.top)), file=notes)
    for line in _notes(zoo):
        print(line, file=notes)
    return EXIT_PARTIAL if any(cell.failed for cell in zoo.cells.values()) else EXIT_OK


def zoo_table(zoo: Zoo, beside_published: bool) -> Table:
    """Four rows and nine columns, percent with one decimal, as MODEL_ZOO.md has them."""
    published = published_scores()
    rows = []
    for model, config in MODELS.items():
        cells = [model]
        for column in COLUMNS:
            value = zoo.cells[config, column.key].value
            text = UNKNOWN if value is None else f"{value:.1f}"
            if beside_published and value is not None:
                text += f" ({value - published[config + column.suffix][column.key]:+.1f})"
            cells.append(text)
        rows.append(tuple(cells))
    note = "; in brackets: less the published number" if beside_published else ""
    return Table(
        f"Model zoo, percent{note}", ("model", *(one.title for one in COLUMNS)), tuple(rows)
    )


def _elsewhere(args: argparse.Namespace) -> Path | None:
    """The tree given as `--results NAME=FOLDER`, the only way to choose what `--zoo` reads."""
    if args.tracker or args.config or args.dataset or args.runid:
        raise ConfigError(
            "--zoo takes the eight published configurations and the data sets of its columns; "
            "leave --config, --dataset and --runid out"
        )
    others = ("protocol", "convention", "skip_missing", "mixed_runs", "strict", "attributes")
    if any(getattr(args, name) for name in others):
        raise ConfigError(
            "--zoo scores whole data sets by their own protocols; leave --protocol, "
            "--convention, --skip-missing, --mixed-runs, --strict and --attributes out"
        )
    if not args.results:
        return None
    given = [one for one in chosen_results(args) if isinstance(one, OtherResults)]
    if len(given) > 1 or not given[0].folder.is_dir():
        raise ConfigError(
            f"--zoo puts one tree of raw results beside ours: {given[-1].folder} "
            + ("is one too many" if len(given) > 1 else "is no folder")
        )
    folder = given[0].folder
    if not holds_results(folder):
        raise ConfigError(
            f"--results {given[0].label}={folder}: no raw results there that belong in the table; "
            "looked for seqtrack_b256/lasot and so on, there and in test/tracking_results/seqtrack"
        )
    return folder


def _beside(zoo: Zoo) -> Iterator[tuple[str, Findings]]:
    for config, comparison in zoo.beside:
        yield config, work_out(comparison)


def _notes(zoo: Zoo) -> Iterator[str]:
    """Where odd values come from, and for each empty cell what is missing and what fills it."""
    titles = {column.key: column.title for column in COLUMNS}
    models = {config: model for model, config in MODELS.items()}
    empty = []
    for (config, key), cell in zoo.cells.items():
        name = f"{models[config]}, {titles[key]}"
        if cell.value is not None and cell.note != "scored here":
            yield f"{name}: {cell.note}"
        elif cell.value is None:
            empty += [f"{name}: {cell.note}", f"    {cell.remedy}"]
    if empty:
        yield "Empty cells, and what fills them:"
        yield from empty


def _differences_csv(zoo: Zoo) -> str:
    """Every sequence that both have results of: its score in both, percent."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["config", "dataset", "sequence", "metric", HERE, DOWNLOADED, "difference"])
    for config, comparison in zoo.beside:
        here, other = comparison.scores[HERE], comparison.scores[DOWNLOADED]
        for name, one in here.sequences.items():
            metric, value = next(iter(one.percentages().items()))
            theirs = other.sequences[name].percentages()[metric]
            numbers = (round(number, 6) for number in (value, theirs, value - theirs))
            writer.writerow([config, comparison.dataset, name, metric, *numbers])
    return stream.getvalue()


def _json(zoo: Zoo) -> str:
    published = published_scores()
    tree = {
        model: {
            column.key: {
                "value": cell.value if cell.value is None else round(cell.value, 6),
                "published": published[config + column.suffix][column.key],
                "note": cell.note,
                "remedy": cell.remedy,
            }
            for column in COLUMNS
            for cell in [zoo.cells[config, column.key]]
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
