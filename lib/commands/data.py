"""`seqtrack data`, `python tracking/data.py`: data sets, where they are, whether they are whole."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from lib.analysis.conventions import KINDS, default_convention
from lib.commands._options import Parser, action, add_roots, parser, positive
from lib.commands.entry import say
from lib.config.loader import list_configs, load_config
from lib.config.paths import Paths, repository_root, resolve_paths
from lib.config.schema import Config
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
from lib.datasets.sequence_files import packaged_names
from lib.datasets.training.listing import TrainingRow
from lib.utils.advice import advice
from lib.utils.console import headed
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, DataError, counted, did_you_mean
from lib.utils.files import atomic_write_text, user_path

FINDINGS_SHOWN = 10
_WIDTH = 16  # of the first column of `data info`
_NAMED = f"a data set of {advice('data', 'list')}"
# Actions that are commands of their own: the module and what it does.
ELSEWHERE = {
    "pack": ("lib.commands.pack_dataset", "pack a training set into a few large files"),
    "show": ("lib.commands.show_samples", "draw training samples of a configuration"),
}
_PATHS_FILE = """\
# Where data lies and outputs go. Fill in what differs; what is empty changes nothing.
# The options --data-dir and --save-dir win over this file, and so does the environment
# (SEQTRACK_DATA, SEQTRACK_SAVE, SEQTRACK_DATA_LASOT and so on). Relative paths start in
# the folder of this file.

# The folder that holds a folder for each data set; {data} by default.
data_dir:{data_dir}

# Root of checkpoints, results and logs; {root} by default.
save_dir:{save_dir}

# Data sets that lie elsewhere: the folder, or a zip file, of each.
datasets:
{datasets}
"""


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
        say(_benchmark_facts(row, place) if isinstance(row, Row) else _training_facts(row, place))
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
    _print(report, args)
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
            expected_sequences=row.number_of_sequences,
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


def _print(report: Report, args: argparse.Namespace) -> None:
    """Counts, remarks, and the first of what is wrong."""
    say(f"{report.name}: {report.place}")
    counts = (report.sequences, report.expected_sequences), (report.frames, report.expected_frames)
    for noun, (found, expected) in zip(("sequences", "frames"), counts, strict=True):
        of = " (count not known)" if expected is None else f" of {expected}"
        say(f"  {noun}: {found}{of}")
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


def _find(name: str) -> Row | TrainingRow:
    """The row of a benchmark or training set."""
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
            str(row.number_of_sequences or "?"),
            row.protocol,
            row.folder or "-",
            ", ".join(row.aliases),
        )
        for row in CATALOG
    ]
    training = [(row.name, row.folder or "-", row.format) for row in TRAINING_CATALOG]
    titles = ("to track on", "sequences", "protocol", "folder", "also called")
    return (
        f"{headed(titles, benchmarks)}\n\n"
        f"{headed(('to train on', 'folder', 'annotation'), training)}\n\n"
        "A folder of sequences can be given by its path, too. "
        f"{advice('data', 'info', 'NAME')} says more of each, "
        f"{advice('data', 'check', 'NAME')} whether it is whole."
    )


def _places(paths: Paths) -> str:
    rows: dict[str, tuple[str, ...]] = {}
    for row in all_rows():
        if row.folder and row.folder not in rows:
            place, origin = _place(row, paths), paths.dataset_root_origin(row.name, row.folder)
            there = "yes" if place.exists else "no"
            rows[row.folder] = (row.folder, there, str(place.root), origin)
    save = next(source.save for source in paths.sources if source.save)
    table = headed(("data set", "there", "folder", "which comes from"), list(rows.values()))
    return f"{table}\n\noutputs go to {save.path}, which comes from {save.origin}"


def _write_paths(args: argparse.Namespace) -> int:
    path = user_path(args.write, "--write")
    if path.exists() and not args.overwrite:
        raise ConfigError(
            f"{path}: is there already; --overwrite replaces it, or name another file"
        )
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file in it, such as {path / 'paths.yaml'}")
    atomic_write_text(path, _paths_file(args.data_dir, args.save_dir))
    say(f"written: {path}; fill in what is elsewhere than it says")
    if path.name != "paths.yaml":
        say("it is read under the name paths.yaml, from the current folder or the repository")
    return EXIT_OK


def _benchmark_facts(row: Row, place: DatasetLocation | None) -> str:
    """Several lines about a benchmark; `place` is where it is looked for."""
    configs = _shipped_configs()
    siblings = [one.name for one in TRAINING_CATALOG if one.folder == row.folder]
    return _lines(
        row.name,
        [
            *([("also called", ", ".join(row.aliases))] if row.aliases else []),
            ("paper", row.paper or "-"),
            ("from", row.homepage or "made by this program"),
            ("protocol", f"{row.protocol}; {row.rule}"),
            ("scored", _how_scored(row)),
            ("split", _split(row)),
            ("place", _where(place)),
            *[("looked for", text) for text in _layouts(row)],
            ("results", f"…/{row.results_folder}/<sequence>.txt"),
            *[("known", f"{name}: {text}") for name, text in row.remarks],
            *[("known", f"{name}: frame {n} is broken") for name, n in row.broken_frames],
            *_trained_by(siblings, configs),
            *_update_intervals(row.name.upper(), configs),
        ],
    )


def _training_facts(row: TrainingRow, place: DatasetLocation | None) -> str:
    """Several lines about a training set; `place` is where it is looked for."""
    names = len(packaged_names(row.split)) if row.split else None
    split = f"{names} sequences: {row.split}, which ships" if names else "count not known"
    looked_for = [text for text in (row.files.images, row.files.annotation) if text]
    return _lines(
        row.name,
        [
            ("annotation", row.format),
            ("split", split),
            ("place", _where(place)),
            *([("looked for", " and ".join(looked_for))] if looked_for else []),
            *_trained_by([row.name], _shipped_configs()),
        ],
    )


def _lines(name: str, facts: Sequence[tuple[str, str]]) -> str:
    lines, before = [name], ""
    for key, text in facts:
        lines.append(f"  {(key if key != before else '').ljust(_WIDTH)}{text}")
        before = key
    return "\n".join(lines)


def _how_scored(row: Row) -> str:
    if row.protocol not in KINDS:
        return f"by the benchmark's server only; {advice('submit')} makes the file for it"
    return f"here, by convention {default_convention(row.protocol)} unless another is asked for"


def _split(row: Row) -> str:
    number = row.number_of_sequences
    text = "count not known" if number is None else f"{number} sequences"
    if row.frames:
        text += f", {row.frames} frames"
    if row.split:
        return f"{text}: {row.split}, which ships"
    if not row.folder:
        return f"{text}: made when they are read"
    listed = f"its own {row.list_file}" if row.list_file else f"what lies in {row.listing}"
    return f"{text}; the names are those of {listed}"


def _layouts(row: Row) -> list[str]:
    return [
        f"{layout.files.images} and {layout.files.annotation}"
        + (f", every {layout.every}th frame" if layout.every > 1 else "")
        for layout in row.layouts
    ]


def _where(place: DatasetLocation | None) -> str:
    if place is None:
        return "nowhere: it is made when it is read"
    return f"{place.root} ({'is there' if place.exists else 'is not there'})"


def _shipped_configs() -> list[Config]:
    return [load_config(name) for name in list_configs()]


def _trained_by(names: Sequence[str], configs: Sequence[Config]) -> list[tuple[str, str]]:
    """For each training set, which shipped configurations train or validate on it."""
    facts = []
    for name in names:
        for key, part in (("trained on by", "train"), ("validated on by", "val")):
            using = [c.name for c in configs if name in getattr(c.data, part).datasets_name]
            facts += [(key, f"{', '.join(using)} (as {name})")] if using else []
    return facts or [("trained on by", "no shipped configuration")]


def _update_intervals(key: str, configs: Sequence[Config]) -> list[tuple[str, str]]:
    """For each interval between template updates, which shipped configurations use it."""
    by_interval: dict[int, list[str]] = {}
    for config in configs:
        if config.test.num_templates > 1:
            by_interval.setdefault(config.test.update_interval_for(key), []).append(config.name)
    return [
        ("template update", f"every {interval} frames: {', '.join(names)}")
        for interval, names in sorted(by_interval.items())
    ]


def _paths_file(data_dir: str | None, save_dir: str | None) -> str:
    """Text of a paths.yaml with every data set to fill in; what is empty changes nothing."""
    folders: dict[str, list[str]] = {}
    for row in all_rows():
        if row.folder:
            folders.setdefault(row.folder, []).append(row.name)

    def value(path: str | None) -> str:
        # A JSON string is one in YAML, too, whatever is in it.
        return f" {json.dumps(str(Path(path).absolute()), ensure_ascii=False)}" if path else ""

    width = max(map(len, folders)) + 1
    listed = [f"  {f'{name}:'.ljust(width)}  # {', '.join(folders[name])}" for name in folders]
    root = repository_root()
    return _PATHS_FILE.format(
        data=root / "data",
        data_dir=value(data_dir),
        root=root,
        save_dir=value(save_dir),
        datasets="\n".join(listed),
    )
