"""`seqtrack data`, `python tracking/data.py`: data sets, where they are, whether they are whole."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from lib.commands.data_facts import (
    benchmark_facts,
    number_of_sequences,
    paths_file,
    training_facts,
)
from lib.commands.entry import parser, positive, say
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.check import Report, check_benchmark, check_folder
from lib.datasets.benchmarks.layout import Row, open_tree
from lib.datasets.benchmarks.open import (
    CATALOG,
    TRAINING_CATALOG,
    Place,
    all_rows,
    find_row,
    looks_like_path,
    open_benchmark,
    open_dataset,
    place_of,
)
from lib.datasets.training.listing import TrainingRow
from lib.utils.columns import headed
from lib.utils.errors import (
    EXIT_CODES_HELP,
    EXIT_OK,
    EXIT_PARTIAL,
    ConfigError,
    DataError,
    counted,
    did_you_mean,
)
from lib.utils.files import atomic_write_text, user_path

FINDINGS_SHOWN = 10


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = parser("data.py", "Data sets: check one, say where it belongs, list all.")
    actions = p.add_subparsers(dest="action", required=True, metavar="check|info|list|paths")

    def action(name: str, what: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name, help=what, description=what, epilog=EXIT_CODES_HELP, allow_abbrev=False
        )

    check = action("check", "verify sequences, frames, annotation, flags and images of a data set")
    check.add_argument("name", help="a data set of `list`, or a folder of sequences")
    check.add_argument("--root", help="where it is: its folder, or a zip file of all of it")
    check.add_argument(
        "--all-images", action="store_true", help="read every image, not only first and last"
    )
    check.add_argument(
        "--show", type=positive, default=FINDINGS_SHOWN, help="how many findings to print"
    )
    check.add_argument(
        "--strict",
        action="store_true",
        help="what is only warned of is wrong, too: boxes that are probably no x, y, w, h in "
        "pixels, boxes outside of the picture, pictures of several sizes",
    )
    info = action("info", "protocol, split, source, place and configurations of a data set")
    info.add_argument("name", help="a data set of `list`")
    listing = action("list", "all data sets known by name")
    where = action("paths", "where each data set is looked for, or a paths.yaml to fill in")
    where.add_argument(
        "--write",
        nargs="?",
        const="paths.yaml",
        metavar="FILE",
        help="write a file to fill in; paths.yaml in the current folder by default",
    )
    where.add_argument("--force", action="store_true", help="replace the file that is there")
    where.add_argument("--save_dir", help="root of checkpoints, test and logs")
    for one in (check, info, listing, where):
        one.add_argument("--data_dir", help="root of the data sets")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 1 if a data set is not what it should be.

    Raises:
        SeqTrackError: wrong input, or there is nothing to check.
    """
    args = build_parser().parse_args(argv)
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
                "data set of `list` is"
            )
        if row is not None:
            say(f"{row.name} is made when it is read; nothing lies on disk that could be wrong")
            return EXIT_OK
        report = _check_folder(args, paths)
    else:
        root = user_path(args.root, "--root") if args.root else None
        place = Place(root.absolute(), "give its folder as --root") if root else None
        report = _check_benchmark(row, place or _place(row, paths), args.all_images)
    if args.strict:
        report = replace(report, findings=report.findings + report.warnings, warnings=())
    _tell(report, args)
    return EXIT_PARTIAL if report.findings else EXIT_OK


def _check_benchmark(row: Row, place: Place, every_image: bool) -> Report:
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
            remedy=f"`data info {row.name}` shows where each file belongs",
        )
    with _bar(len(entries)) as bar:
        return check_benchmark(row, tree, entries, every_image, bar.update)


def _check_folder(args: argparse.Namespace, paths: Paths) -> Report:
    names = [row.name.lower() for row in TRAINING_CATALOG]
    if args.name.lower() in names and find_row(args.name) is None:
        raise DataError(
            f"{args.name} is a training set; all of its annotation is checked when a training "
            "starts, and `python tracking/train.py --config CONFIG --dry-run` does that alone"
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


def _place(row: Row | TrainingRow, paths: Paths) -> Place:
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
            "`info NAME` says more of each, `check NAME` whether it is whole.",
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
    if path.exists() and not args.force:
        raise ConfigError(f"{path}: is there already; --force replaces it, or name another file")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file in it, such as {path / 'paths.yaml'}")
    atomic_write_text(path, paths_file(args.data_dir, args.save_dir))
    say(f"written: {path}; fill in what is elsewhere than it says")
    if path.name != "paths.yaml":
        say("it is read under the name paths.yaml, from the current folder or the repository")
    return EXIT_OK
