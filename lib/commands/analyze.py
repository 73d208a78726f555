"""`seqtrack analyze`, `python tracking/analysis_results.py`: score raw results."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.commands.entry import count, parser
from lib.config.paths import Paths, resolve_paths
from lib.datasets.catalog import dataset_names, open_dataset
from lib.datasets.sequence import Dataset
from lib.test.analysis.compare import MAX_LINES, Comparison, Contender, compare
from lib.test.analysis.conventions import KINDS, check_kind, convention_named, convention_names
from lib.test.analysis.report import format_table, to_csv, to_json
from lib.utils.errors import (
    EXIT_OK,
    EXIT_PARTIAL,
    ConfigError,
    ResultsError,
    SeqTrackError,
    did_you_mean,
)
from lib.utils.files import atomic_write_text, user_path

DEFAULT_TRACKER = "seqtrack"


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = parser(
        "analysis_results.py",
        "Score raw results: a table on the screen, every sequence in a CSV and a JSON file.",
    )
    add = p.add_argument
    add("tracker", nargs="?", help="with the next argument, one more result to score")
    add("config_name", nargs="?", metavar="config", help="configuration of that tracker")
    add(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="results to compare: a configuration of seqtrack, or TRACKER/NAME",
    )
    add(
        "--dataset",
        "--dataset_name",
        nargs="+",
        action="extend",
        required=True,
        metavar="DATASET",
        help=f"{', '.join(dataset_names())}, or a folder of sequences; several are scored in turn",
    )
    add("--runid", type=count, help="score the results of <config>_%%03d")
    add("--protocol", metavar="KIND", help=f"rules instead of the data set's: {', '.join(KINDS)}")
    add("--convention", metavar="NAME", help=f"toolkit: {', '.join(convention_names())}")
    add(
        "--skip-missing",
        action="store_true",
        help="leave out, for all trackers, sequences that lack a result file of one (exit code 0)",
    )
    add("--out", metavar="DIR", help="folder of CSV and JSON; <save_dir>/test/analysis by default")
    add("--data_dir", help="root of the data sets")
    add("--save_dir", help="root of checkpoints, test and logs")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SeqTrackError: wrong input, or not one data set could be scored.
    """
    args = build_parser().parse_args(argv)
    if args.convention is not None:
        convention_named(args.convention)
    if args.protocol is not None:
        check_kind(args.protocol)
    names = _which_trackers(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    datasets = _open_all(args.dataset, paths)
    out = user_path(args.out, "--out") if args.out else paths.analysis_dir
    failures: list[SeqTrackError] = []
    for typed, dataset in datasets.items():
        try:
            contenders = [_contender(one, dataset, typed, args.runid, paths) for one in names]
            comparison = compare(
                dataset, contenders, args.protocol, args.convention, args.skip_missing
            )
            _write(comparison, out)
        except SeqTrackError as error:
            failures.append(error)
        else:
            _tell(comparison, out)
    if len(failures) == len(datasets):
        raise ResultsError("\n".join(map(str, failures)))
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return EXIT_PARTIAL if failures else EXIT_OK


def _which_trackers(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(tracker, configuration) of every result to score, each once."""
    if args.tracker and not args.config_name:
        raise ConfigError(
            f"{args.tracker!r} alone names no results; "
            f"write --config {args.tracker}, or tracker and configuration"
        )
    given = [(args.tracker, args.config_name)] if args.tracker else []
    given += [_split_name(name) for name in args.config]
    if not given:
        raise ConfigError("nothing to score is given; for example --config seqtrack_b256")
    return list(dict.fromkeys(given))


def _split_name(name: str) -> tuple[str, str]:
    if name.endswith((".yaml", ".yml")):
        return DEFAULT_TRACKER, Path(name).stem
    parts = name.split("/")
    if len(parts) > 2 or not all(parts) or {".", ".."} & set(parts):
        raise ConfigError(
            f"--config {name!r} names no results; write a configuration, "
            "or TRACKER/CONFIGURATION such as static_box/default"
        )
    return (parts[0], parts[1]) if len(parts) == 2 else (DEFAULT_TRACKER, name)


def _open_all(names: Sequence[str], paths: Paths) -> dict[str, Dataset]:
    """Open all data sets, by what was typed, before the first is scored: a typo costs nothing."""
    datasets: dict[str, Dataset] = {}
    for typed in dict.fromkeys(names):
        dataset = open_dataset(typed, paths)
        for other in datasets.values():
            if other.name == dataset.name:
                raise ConfigError(
                    f"two data sets are called {dataset.name!r} ({other.source} and "
                    f"{dataset.source}); score them one after the other, with --out"
                )
        datasets[typed] = dataset
    return datasets


def _contender(
    name: tuple[str, str], dataset: Dataset, typed: str, runid: int | None, paths: Paths
) -> Contender:
    """Where the results of a tracker lie; ResultsError if there are none at all."""
    tracker, config = name
    folder = paths.dataset_results_dir(tracker, config, dataset.results_folder, runid)
    run = folder.parent.name
    label = run if tracker == DEFAULT_TRACKER else f"{tracker}/{run}"
    if folder.is_dir():
        return Contender(label, folder)
    raise ResultsError(
        f"{folder}: no results of {label} on {dataset.name}"
        f"{_advice(folder, tracker, config, typed, runid)}"
    )


def _advice(folder: Path, tracker: str, config: str, typed: str, runid: int | None) -> str:
    """What may have been meant by the name of results that are not there, or how to make them."""
    trackers = folder.parents[2]
    if (trackers / config).is_dir() and tracker == DEFAULT_TRACKER:
        names = ", ".join(f"{config}/{one}" for one in _subfolders(trackers / config))
        return f"; {config} is a tracker, write {names}"
    if runid is not None and folder.parent.with_name(config).is_dir():
        return f"; there are results of {config} without --runid"
    if not folder.parent.is_dir() and (
        hint := did_you_mean(config, _subfolders(folder.parents[1]))
    ):
        return hint
    run = "" if runid is None else f" --runid {runid}"
    return (
        f"; make them with `python tracking/test.py {tracker} {config} --dataset {typed}{run}`, "
        "or give the folder above `test` as --save_dir"
    )


def _subfolders(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []


def _write(comparison: Comparison, out: Path) -> None:
    try:
        atomic_write_text(out / f"{comparison.dataset}.csv", to_csv(comparison))
        atomic_write_text(out / f"{comparison.dataset}.json", to_json(comparison))
    except OSError as error:
        raise ResultsError(f"{out}: cannot write the scores ({error.strerror or error})") from error


def _tell(comparison: Comparison, out: Path) -> None:
    for warning in comparison.warnings[:MAX_LINES]:
        print(f"warning: {warning}", file=sys.stderr)
    more = len(comparison.warnings) - MAX_LINES
    if more > 0:
        print(f"warning: {more} more result files of the wrong length", file=sys.stderr)
    if comparison.left_out:
        print(
            f"warning: {comparison.dataset}: left out for all trackers, since results or ground "
            "truth are missing: " + ", ".join(comparison.left_out),
            file=sys.stderr,
        )
    print(format_table(comparison))
    print(f"written: {out / comparison.dataset}.csv and .json")
