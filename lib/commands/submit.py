"""`seqtrack submit`: make the zip that an evaluation server takes."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from lib.commands._options import Parser, add_config, add_roots, add_run_ids, parser
from lib.commands.entry import say
from lib.commands.trackers import named_trackers
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.layout import Row, Server
from lib.datasets.benchmarks.open import find_row
from lib.results.files import RUN_FILE, ResultsFolder
from lib.results.find import ResultFiles
from lib.submission.known import KnownSet, open_test_set
from lib.submission.pack import SERVERS, Submission, check_submission, write_submission
from lib.utils.advice import advice
from lib.utils.errors import (
    EXIT_OK,
    EXIT_PARTIAL,
    ConfigError,
    DataError,
    ResultsError,
    counted,
    did_you_mean,
    some,
)
from lib.utils.files import user_path

PROBLEMS_SHOWN = 10


def build_parser() -> Parser:
    p = parser(
        "submit",
        "Check raw results on a test set and write the zip that its evaluation server takes.",
        "got10k --config seqtrack_b256_got --runid 1 2 3",
        "trackingnet seqtrack_b256 --names videos.txt --out b256.zip",
    )
    keys = [server.key for server in SERVERS]
    p.add_argument("server", choices=keys, help="where the zip will be sent")
    p.add_argument(
        "trackers",
        nargs="*",
        metavar="TRACKER/NAME",
        help="whose results: tracker and configuration, or a configuration of seqtrack alone",
    )
    what = p.add_argument_group("what is packed")
    add_config(what, required=False, help="the same: a configuration, or TRACKER/NAME")
    what.add_argument("--tracker", metavar="NAME", help="tracker of --config (default: seqtrack)")
    add_run_ids(what, "GOT-10k takes up to three runs")
    what.add_argument(
        "--names",
        metavar="FILE",
        help="file with the names of all sequences, one per line, where the data set is not here",
    )
    text = "the zip to write (default: beside the raw results)"
    p.add_argument_group("what is written").add_argument("--out", metavar="ZIP", help=text)
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    args.tracker, args.config = _which_tracker(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    server = next(one for one in SERVERS if one.key == args.server)
    row = find_row(server.data_set)
    if row is None:
        raise DataError(f"the catalog has no {server.data_set!r}")
    runs = list(dict.fromkeys(args.runid))
    folders = _result_folders(args, server, row, runs, paths)
    out = _zip_file(args.out, folders, runs)
    known = open_test_set(server, row, args.names, paths)
    found = check_submission(server, folders, known.names, known.facts)
    for note in (*known.notes, *_extras_note(found)):
        say(f"note: {note}")
    if not found.complete:
        _print_problems(found, folders, known)
        say(f"{out} was not written; {_remedy(args, server, runs, found, folders)}", error=True)
        return EXIT_PARTIAL
    write_submission(out, found)
    checked = f"{counted(len(known.names), 'sequence')}, {found.frames} boxes"
    say(f"{server.title}: {checked}; all as the server expects")
    say(f"written: {out} ({counted(len(found.members), 'file')}); submit it at {row.homepage}")
    return EXIT_OK


def _which_tracker(args: argparse.Namespace) -> tuple[str, str]:
    """Tracker and configuration."""
    words = args.trackers + ([args.tracker] if args.tracker else [])
    named = named_trackers(words, [args.config] if args.config else [])
    if len(named) != 1:
        many = ", ".join(map("/".join, named)) or "none"
        raise ConfigError(f"name one configuration, such as --config seqtrack_b256_got, not {many}")
    return named[0]


def _result_folders(
    args: argparse.Namespace, server: Server, row: Row, runs: Sequence[int], paths: Paths
) -> list[ResultsFolder]:
    """The folders of raw results."""
    if len(runs) > server.max_runs:
        raise ConfigError(
            f"--runid names {len(runs)} runs, but {server.title} takes at most {server.max_runs}"
        )
    found = []
    chosen: list[int | None] = [*runs] if runs else [None]
    for runid in chosen:
        root = paths.dataset_results_dir(args.tracker, args.config, row.results_folder, runid)
        if not root.is_dir():
            above = root.parent.parent
            others = sorted(os.listdir(above)) if above.is_dir() else []
            raise ResultsError(
                f"{root}: no such folder of raw results{did_you_mean(root.parent.name, others)}; "
                f"{_commands(args, server, [] if runid is None else [runid])} makes them"
            )
        found.append(ResultsFolder(root))
    return found


def _zip_file(wanted: str | None, folders: Sequence[ResultsFolder], runs: Sequence[int]) -> Path:
    """Where the zip goes."""
    first = folders[0].root
    if wanted is None:
        numbers = "".join(f"_{runid:03d}" for runid in runs)
        return first.parent / f"{first.name}{numbers}.zip"
    out = user_path(wanted, "--out")
    if out.suffix.lower() != ".zip" or out.is_dir():
        raise ConfigError(f"--out {wanted}: give the name of a zip file, such as results.zip")
    for folder in folders:
        if folder.root.resolve() in out.resolve().parents:
            raise ConfigError(f"--out {wanted}: {folder.root} holds raw results and stays as it is")
    return out


def _extras_note(found: Submission) -> list[str]:
    if not found.extras:
        return []
    names = some([str(path) for path in found.extras])
    return [f"{counted(len(found.extras), 'file')} beside the results stay out of the zip: {names}"]


def _print_problems(found: Submission, folders: Sequence[ResultsFolder], known: KnownSet) -> None:
    """What keeps the results from being packed."""
    for folder in folders:
        missing = [path for path in found.missing if path.parent == folder.root]
        boxes = {folder.boxes_file(name) for name in known.names}
        for what, paths in (
            ("boxes", [path for path in missing if path in boxes]),
            ("times", [path for path in missing if path not in boxes]),
        ):
            if paths:
                files = ResultFiles(folder.root, known.names)
                hint = files.hint(paths[0].stem) if what == "boxes" else ""
                say(
                    f"missing: {len(paths)} of {counted(len(known.names), 'file')} of {what} in "
                    f"{folder.root}: {some([path.name for path in paths])}{hint}",
                    error=True,
                )
    for problem in found.problems[:PROBLEMS_SHOWN]:
        say(f"wrong: {problem}", error=True)
    if (more := len(found.problems) - PROBLEMS_SHOWN) > 0:
        say(f"wrong: {more} more", error=True)


def _remedy(
    args: argparse.Namespace,
    server: Server,
    runs: Sequence[int],
    found: Submission,
    folders: Sequence[ResultsFolder],
) -> str:
    """What to do about what `_print_problems` says: tracking again leaves alone what looks done."""
    if found.other_run:
        return f"{_commands(args, server, runs, '--overwrite')} tracks all of it again"
    if unknown := [folder.root for folder in folders if not (folder.root / RUN_FILE).is_file()]:
        return (
            f"{unknown[0]} has no {RUN_FILE}, so nothing is added to these results: complete them "
            "from where they came from, or track all again by "
            f"{_commands(args, server, runs, '--overwrite')}"
        )
    text = (
        f"{_commands(args, server, runs)} tracks what is missing, unreadable or of the wrong "
        "length, and leaves the rest"
    )
    if found.finished:
        names = some([path.name for path in found.finished])
        text += (
            f"; whole boxes count as done there, so move away {names} first, or add --overwrite, "
            "which tracks all sequences again"
        )
    return text


def _commands(args: argparse.Namespace, server: Server, runs: Sequence[int], *options: str) -> str:
    """The command that tracks the test set, once for each run."""
    words = [args.tracker, "--config", args.config, "--dataset", server.data_set]
    given = (("--data-dir", args.data_dir), ("--save-dir", args.save_dir))
    words += [word for option, value in given if value for word in (option, value)]
    commands = [[*words, "--runid", str(runid)] for runid in runs] or [words]
    return " and ".join(f"{advice('test', *line, *options)}" for line in commands)
