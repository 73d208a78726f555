"""`seqtrack analyze`, `python tracking/analysis_results.py`: score raw results."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.analysis.attributes import Attributes, NoAttributesError, read_attributes
from lib.analysis.compare import MAX_LINES, Comparison, TrackerResults
from lib.analysis.export import as_tree, to_csv, to_json
from lib.analysis.findings import Findings, work_out
from lib.analysis.locate import OtherResults, OwnResults
from lib.analysis.tables import WRITERS
from lib.analysis.text import tables
from lib.analysis.zoo.published import published_scores
from lib.analysis.zoo.table import make_zoo, zoo_json, zoo_notes, zoo_table
from lib.commands._options import Parser, add_roots, count, parser
from lib.commands._results import (
    add_result_arguments,
    check_rules,
    compare_as_asked,
    named_results,
    open_all,
    print_warnings,
)
from lib.commands.entry import say
from lib.config.paths import Paths, resolve_paths
from lib.datasets.sequence import Dataset
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, ResultsError, SeqTrackError, some
from lib.utils.files import atomic_write_text, user_path

# Formats of the tables that are kept in a file as well, and its ending.
_SUFFIXES = {"markdown": ".md", "latex": ".tex"}


def build_parser() -> Parser:
    p = parser(
        "analyze",
        "Score raw results: tables with confidence intervals on the screen, every sequence in a "
        "CSV and a JSON file.",
        "seqtrack_b256 --dataset lasot otb",
        "seqtrack_b256 static_box/default --results OSTrack=raw/ostrack --dataset lasot",
        "--zoo --reference published",
    )
    add_result_arguments(p)
    add = p.add_argument_group("what is shown and written").add_argument
    add("--attributes", action="store_true", help="add the scores by attribute, where these are "
        "known")  # fmt: skip
    add(
        "--top",
        type=count,
        default=3,
        metavar="N",
        help="name N sequences that make the difference between two trackers (default: 3)",
    )
    add(
        "--reference",
        choices=("published",),
        help="put the model zoo's numbers beside ours, with the difference",
    )
    add(
        "--format",
        choices=(*WRITERS, "json"),
        help="format of the tables on the screen (default: text; markdown with --zoo)",
    )
    add(
        "--zoo",
        action="store_true",
        help="make the table of the model zoo from all results that are there",
    )
    add(
        "--out",
        metavar="PATH",
        help="folder of the CSV and JSON files (default: <save_dir>/test/analysis); with --zoo "
        "the file of the table",
    )
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    check_rules(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    if args.zoo:
        return _show_zoo(args, paths)
    named = named_results(args)
    datasets = open_all(args.dataset, paths)
    out = user_path(args.out, "--out") if args.out else paths.analysis_dir
    screen = Screen(args.format or "text", args.top)
    failures: list[str] = []
    scored = 0
    for typed, dataset in datasets.items():
        try:
            findings, lacking = _score(dataset, typed, named, args, paths)
            _write(findings, screen, out)
        except SeqTrackError as error:
            failures.append(str(error))
        else:
            scored += 1
            failures += lacking
            screen.show(findings, out)
    if not scored:
        raise ResultsError("\n".join(failures))
    screen.finish()
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return EXIT_PARTIAL if failures else EXIT_OK


def _show_zoo(args: argparse.Namespace, paths: Paths) -> int:
    """Make the table, print it, and write it to `--out`; returns the exit code.

    Raises:
        ConfigError: arguments that `--zoo` has no use for, or a malformed `scores.yaml`.
        ResultsError: a malformed file of scores, or a file that cannot be written.
    """
    _refuse_with_zoo(args)
    zoo = make_zoo(paths)
    form = args.format or "markdown"
    table = zoo_table(zoo, beside_published=args.reference == "published")
    text = zoo_json(zoo) if form == "json" else WRITERS[form](table)
    if args.out:
        path = user_path(args.out, "--out")
        with _writes(path):
            atomic_write_text(path, text)
        say(f"written: {path}", error=True)
    print(text)
    # What another program is to read has nothing else in it.
    notes = sys.stdout if form in ("text", "markdown") else sys.stderr
    for line in zoo_notes(zoo):
        print(line, file=notes)
    return EXIT_PARTIAL if any(cell.failed for cell in zoo.values()) else EXIT_OK


def _refuse_with_zoo(args: argparse.Namespace) -> None:
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


def _score(
    dataset: Dataset,
    typed: str,
    named: Sequence[OwnResults | OtherResults],
    args: argparse.Namespace,
    paths: Paths,
) -> tuple[Findings, list[str]]:
    """The findings on one data set, and what was asked for and is not known."""
    attributes: Attributes | None = None
    lacking = []
    if args.attributes:
        try:
            attributes = read_attributes(dataset)
        except NoAttributesError as error:
            lacking.append(str(error))
    trackers, comparison = compare_as_asked(named, dataset, typed, args, paths)
    published = _published(dataset, trackers) if args.reference else None
    return work_out(comparison, attributes, published), lacking


def _published(dataset: Dataset, trackers: Sequence[TrackerResults]) -> dict[str, float]:
    """The published number of every tracker that has one, by its label."""
    known = published_scores()
    return {
        one.label: known[one.config][dataset.name]
        for one in trackers
        if dataset.name in known.get(one.config, {})
    }


@dataclass
class Screen:
    """What is printed, in the format that was asked for."""

    format: str
    top: int
    trees: dict[str, Any] = field(default_factory=dict)

    def text(self, findings: Findings) -> str:
        """The tables of one data set."""
        write = WRITERS[self.format]
        return "\n".join(write(table) for table in tables(findings, self.top))

    def show(self, findings: Findings, out: Path) -> None:
        """Print what there is to say about one data set."""
        _warn(findings.comparison)
        if self.format == "json":
            self.trees |= as_tree(findings)
        else:
            print(self.text(findings))
        # What another program is to read has nothing else in it.
        say(f"written: {out / findings.comparison.dataset}.csv and .json", self.format != "text")

    def finish(self) -> None:
        """Print what had to wait for the last data set."""
        if self.trees:
            print(json.dumps(self.trees, indent=2, allow_nan=False))


def _write(findings: Findings, screen: Screen, out: Path) -> None:
    name = findings.comparison.dataset
    with _writes(out):
        atomic_write_text(out / f"{name}.csv", to_csv(findings.comparison))
        atomic_write_text(out / f"{name}.json", to_json(findings))
        if screen.format in _SUFFIXES:
            atomic_write_text(out / f"{name}{_SUFFIXES[screen.format]}", screen.text(findings))


@contextmanager
def _writes(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot write the scores ({error.strerror or error})"
        ) from error


def _warn(comparison: Comparison) -> None:
    print_warnings(comparison.warnings)
    if left_out := comparison.left_out:
        named = " (the JSON file names all)" if len(left_out) > MAX_LINES else ""
        say(
            f"warning: {comparison.dataset}: left out for all trackers, since results or ground "
            f"truth are missing: {some(left_out, MAX_LINES)}{named}",
            error=True,
        )
