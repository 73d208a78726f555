"""`seqtrack data`, `python tracking/data.py`: data sets, where they are, whether they are whole."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from lib.commands._options import Parser, action, add_roots, parser, positive
from lib.commands.data_facts import benchmark_facts, number_of_sequences, paths_file, training_facts
from lib.commands.entry import say
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.check import Report, check_benchmark, check_folder
from lib.datasets.benchmarks.layout import Row, open_tree
from lib.datasets.benchmarks.open import (
    CATALOG,
    TRAINING_CATALOG,
    DatasetLocation,
    all_rows,
    find_row,
    looks_like_path,
    open_benchmark,
    open_dataset,
    place_of,
)
from lib.datasets.training.listing import TrainingRow
from lib.utils.advice import advice
from lib.utils.columns import headed
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, DataError, counted, did_you_mean
from lib.utils.files import atomic_write_text, user_path

FINDINGS_SHOWN = 10
_NAMED = f"a data set of {advice('data', 'list')}"
# Actions that are commands of their own: the module and what it does.
ELSEWHERE = {
    "pack": ("lib.commands.pack_dataset", "pack a training set into a few large files"),
    "show": ("lib.commands.show_samples", "draw training samples of a configuration"),
}


def build_parser() -> Parser:
    p = parser(
        "data",
        "Data sets: check one, say where it belongs, list all, pack one, show training samples.",
        "list",
        "check lasot",
    )
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION", help="one of")
    _add_check(actions)
    what = "show protocol, split, source, place and configurations of a data set"
    info = action(actions, "data info", what, "lasot")
    info.add_argument("name", help=_NAMED)
    listing = action(actions, "data list", "list all data sets known by name", "")
    for one in (info, listing):
        add_roots(one, save=False)
    what = "show where each data set is looked for, or write a paths.yaml to fill in"
    where = action(actions, "data paths", what, "", "--write")
    add = where.add_argument_group("what is written").add_argument
    add(
        "--write",
        nargs="?",
        const="paths.yaml",
        metavar="FILE",
        help="write a file to fill in (default: paths.yaml in the current folder)",
    )
    add("--overwrite", "--force", action="store_true", help="replace the file that is there")
    add_roots(where)
    for name, (_, text) in ELSEWHERE.items():
        actions.add_parser(name, help=text, add_help=False)
    return p


def _add_check(actions: "argparse._SubParsersAction[Parser]") -> None:
    check = action(
        actions,
        "data check",
        "verify sequences, frames, annotation, flags and images of a data set",
        "lasot",
        "my_videos/ --all-images --strict",
    )
    check.add_argument("name", help=f"{_NAMED}, or a folder of sequences")
    add = check.add_argument_group("what is checked").add_argument
    add("--root", metavar="PATH", help="where it is: its folder, or a zip file of all of it")
    add("--all-images", action="store_true", help="read every image, not only first and last")
    add(
        "--show",
        type=positive,
        default=FINDINGS_SHOWN,
        metavar="N",
        help=f"print at most N findings (default: {FINDINGS_SHOWN})",
    )
    add(
        "--strict",
        action="store_true",
        help="take warnings for errors: boxes that are probably no x, y, w, h in pixels, boxes "
        "outside of the picture, pictures of several sizes",
    )
    add_roots(check, save=False)


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ELSEWHERE:
        return importlib.import_module(ELSEWHERE[words[0]][0]).main(words[1:])
    args = build_parser().parse_args(words)
    if args.action == "paths" and args.write:
        return _write_paths(args)
    paths = resolve_paths(args.data_dir, getattr(args, "save_dir", None))
    if args.action == "check":
        return _check(args, paths)
    if args.action == "info":
        row = _find(args.name)
        place = _place(row, paths) if row.folder else None
        say(benchmark_facts(row, place) if isinstance(row, Row) else training_facts(row, place))
    elif args.action == "list":
        say(_list())
    else:
        say(_places(paths))
    return EXIT_OK


def _check(args: argparse.Namespace, paths: Paths) -> int:
    row = find_row(args.name)
    if row is None or not row.folder:
        if args.root:
            if not looks_like_path(args.name):
                _find(args.name)
            raise ConfigError(
                f"--root does nothing for {args.name!r}, which is not looked for; it says where a "
                f"data set of {advice('data', 'list')} is"
            )
        if row is not None:
            say(f"{row.name} is made when it is read; nothing lies on disk that could be wrong")
            return EXIT_OK
        report = _check_folder(args, paths)
    else:
        root = user_path(args.root, "--root") if args.root else None
        place = DatasetLocation(root.absolute(), "give its folder as --root") if root else None
        report = _check_benchmark(row, place or _place(row, paths), args.all_images)
    if args.strict:
        report = replace(report, findings=report.findings + report.warnings, warnings=())
    _tell(report, args)
    return EXIT_PARTIAL if report.findings else EXIT_OK


def _check_benchmark(row: Row, place: DatasetLocation, every_image: bool) -> Report:
    try:
        tree, entries = open_benchmark(row, place)
    except DataError as error:
        if not open_tree(row, place.root).exists:
            raise
        return Report(
            name=row.name,
            place=str(place.root),
            sequences=0,
            expected_sequences=number_of_sequences(row),
            frames=0,
            expected_frames=row.frames,
            findings=(str(error),),
            remedy=f"{advice('data', 'info', row.name)} shows where each file belongs",
        )
    with _bar(len(entries)) as bar:
        return check_benchmark(row, tree, entries, every_image, bar.update)


def _check_folder(args: argparse.Namespace, paths: Paths) -> Report:
    names = [row.name.lower() for row in TRAINING_CATALOG]
    if args.name.lower() in names and find_row(args.name) is None:
        raise DataError(
            f"{args.name} is a training set; all of its annotation is checked when a training "
            f"starts, and {advice('train', '--config', 'CONFIG', '--dry-run')} does that alone"
        )
    dataset = open_dataset(args.name, paths)
    with _bar(len(dataset)) as bar:
        return check_folder(dataset, args.all_images, bar.update)


def _bar(total: int) -> tqdm:
    return tqdm(total=total, unit="sequence", file=sys.stderr, disable=None, leave=False)


def _tell(report: Report, args: argparse.Namespace) -> None:
    """Counts, remarks, and the first of what is wrong."""
    say(f"{report.name}: {report.place}")
    say(f"  sequences: {_count(report.sequences, report.expected_sequences)}")
    say(f"  frames: {_count(report.frames, report.expected_frames)}")
    say(f"  images read: {'all' if args.all_images else 'first and last of each sequence'}")
    for remark in report.remarks[: args.show]:
        say(f"  note: {remark}")
    for warning in report.warnings[: args.show]:
        say(f"  warning: {warning}")
    if not report.findings and not report.warnings:
        say("  nothing is wrong")
    elif not report.findings:
        say(f"  {counted(len(report.warnings), 'warning')}; with --strict that is wrong (exit 1)")
    if not report.findings:
        return
    say(f"  wrong: {counted(len(report.findings), 'finding')}")
    for finding in report.findings[: args.show]:
        say(f"  - {finding}")
    if (more := len(report.findings) - args.show) > 0:
        say(f"  - and {more} more; --show {len(report.findings)} prints them all")
    say(f"  what to do: {report.remedy}")


def _count(found: int, expected: int | None) -> str:
    if expected is None:
        return f"{found} (count not known)"
    return f"{found} of {expected}"


def _find(name: str) -> Row | TrainingRow:
    """The row of a benchmark or training set.

    Raises:
        DataError: there is none; the message lists them.
    """
    training = {row.name.lower(): row for row in TRAINING_CATALOG}
    # LASOT is trained on and lasot measured on: the exact name decides, then benchmarks come first.
    exact = next((row for row in TRAINING_CATALOG if row.name == name), None)
    row = exact or find_row(name) or training.get(name.lower())
    if row is None:
        known = [one.name for one in all_rows()]
        # Where only the case differs, the benchmark is meant, and the last one counts.
        hint = did_you_mean(name, reversed(known))
        raise DataError(f"unknown data set {name!r}{hint}; known are {', '.join(known)}")
    return row


def _place(row: Row | TrainingRow, paths: Paths) -> DatasetLocation:
    return place_of(row.name, row.folder, paths)


def _list() -> str:
    benchmarks = [
        (
            row.name,
            str(number_of_sequences(row) or "?"),
            row.protocol,
            row.folder or "-",
            ", ".join(row.aliases),
        )
        for row in CATALOG
    ]
    training = [(row.name, row.folder or "-", row.format) for row in TRAINING_CATALOG]
    return "\n\n".join(
        (
            headed(("to track on", "sequences", "protocol", "folder", "also called"), benchmarks),
            headed(("to train on", "folder", "annotation"), training),
            "A folder of sequences can be given by its path, too. "
            f"{advice('data', 'info', 'NAME')} says more of each, "
            f"{advice('data', 'check', 'NAME')} whether it is whole.",
        )
    )


def _places(paths: Paths) -> str:
    rows: dict[str, tuple[str, ...]] = {}
    for row in all_rows():
        if row.folder and row.folder not in rows:
            root = _place(row, paths).root
            origin = paths.dataset_root_origin(row.name, row.folder)
            there = "yes" if root.exists() or Path(f"{root}.zip").is_file() else "no"
            rows[row.folder] = (row.folder, there, str(root), origin)
    save = next(source.save for source in paths.sources if source.save)
    return (
        headed(("data set", "there", "folder", "which comes from"), list(rows.values()))
        + f"\n\noutputs go to {save.path}, which comes from {save.origin}"
    )


def _write_paths(args: argparse.Namespace) -> int:
    path = user_path(args.write, "--write")
    if path.exists() and not args.overwrite:
        raise ConfigError(
            f"{path}: is there already; --overwrite replaces it, or name another file"
        )
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file in it, such as {path / 'paths.yaml'}")
    atomic_write_text(path, paths_file(args.data_dir, args.save_dir))
    say(f"written: {path}; fill in what is elsewhere than it says")
    if path.name != "paths.yaml":
        say("it is read under the name paths.yaml, from the current folder or the repository")
    return EXIT_OK
