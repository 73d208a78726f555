"""The arguments of the scoring commands: which results, on which data, by which rules."""

import argparse
from collections.abc import Sequence

from lib.analysis.compare import (
    MAX_LINES,
    Comparison,
    TrackerResults,
    compare,
    list_findings,
)
from lib.analysis.conventions import KINDS, check_kind, convention_named, convention_names
from lib.analysis.locate import OtherResults, OwnResults, WhereToLook, locate_all
from lib.commands._options import Parser, Several, add_configs, add_datasets, add_run_ids
from lib.commands.trackers import named_trackers
from lib.config.paths import Paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset
from lib.utils.console import say
from lib.utils.errors import ConfigError, ResultsError


def add_result_arguments(p: Parser) -> None:
    """What to compare, on which data, by which rules: the same for every scoring command."""
    p.add_argument(
        "trackers",
        nargs="*",
        metavar="TRACKER/NAME",
        help="results to compare: tracker and configuration, also as two words, or a "
        "configuration of seqtrack alone",
    )
    what = p.add_argument_group("what is compared")
    add_configs(what, "results to compare: a configuration of seqtrack, or TRACKER/NAME")
    what.add_argument(
        "--results",
        action=Several,
        more=lambda word: "=" in word,
        comma=False,
        metavar="NAME=FOLDER",
        help="raw results of another tracker: <sequence>.txt, <sequence>/<sequence>_001.txt, or "
        "such files in a folder for each data set; separated by commas, tabs or spaces",
    )
    add_datasets(what)
    add_run_ids(what, "several runs are averaged")
    add = p.add_argument_group("rules").add_argument
    add(
        "--protocol",
        metavar="NAME",
        help=f"score by the rules of {', '.join(KINDS)} instead of the data set's own",
    )
    add(
        "--convention",
        metavar="NAME",
        help=f"score as this toolkit does: {', '.join(convention_names())}",
    )
    add(
        "--skip-missing",
        action="store_true",
        help="leave out, for all trackers, sequences that lack a result file of one (exit code 0)",
    )
    add(
        "--mixed-runs",
        action="store_true",
        help="average the runs of --runid though they differ in weights, settings or frames",
    )
    add("--strict", action="store_true", help="refuse results that are otherwise warned of")


def check_rules(args: argparse.Namespace) -> None:
    """Refuse a protocol or convention that does not exist, before anything is read.

    Raises:
        SeqTrackError: naming those that do.
    """
    if args.convention is not None:
        convention_named(args.convention)
    if args.protocol is not None:
        check_kind(args.protocol)


def named_results(args: argparse.Namespace) -> list[OwnResults | OtherResults]:
    """Every result that the arguments name, each once, in their order.

    Raises:
        ConfigError: nothing is named, or something cannot be a name.
    """
    named: list[OwnResults | OtherResults] = [
        OwnResults.named(*names) for names in named_trackers(args.trackers, args.config)
    ]
    named += map(OtherResults.parse, args.results)
    if not named:
        raise ConfigError(
            "nothing to score is given; for example --config seqtrack_b256, "
            "or --results OSTrack=path/to/its/results"
        )
    return list(dict.fromkeys(named))


def open_all(names: Sequence[str], paths: Paths) -> dict[str, Dataset]:
    """Open all data sets, by what was typed, before the first is scored: a typo costs nothing.

    Raises:
        ConfigError: none is given, or two have the same name.
        DataError: one cannot be opened.
    """
    if not names:
        raise ConfigError("no data set is given; for example --dataset lasot")
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


def print_warnings(warnings: Sequence[str]) -> None:
    """On standard error, the first ones and how many more there are."""
    for warning in warnings[:MAX_LINES]:
        say(f"warning: {warning}", error=True)
    if len(warnings) > MAX_LINES:
        say(f"warning: {len(warnings) - MAX_LINES} more like these", error=True)


def compare_as_asked(
    named: Sequence[OwnResults | OtherResults],
    dataset: Dataset,
    typed: str,
    args: argparse.Namespace,
    paths: Paths,
) -> tuple[list[TrackerResults], Comparison]:
    """Score results by the rules of `add_result_arguments`; `typed` is the data set as given.

    Raises:
        SeqTrackError: results are missing; as `compare`; with `--strict`, for every warning.
    """
    folders = {"--data-dir": args.data_dir, "--save-dir": args.save_dir}
    trackers = locate_all(named, dataset, WhereToLook(paths, typed, args.runid, folders))
    rules = (args.protocol, args.convention, args.skip_missing, args.mixed_runs)
    comparison = compare(dataset, trackers, *rules)
    if args.strict and comparison.warnings:
        raise ResultsError(list_findings("{} warnings, refused by --strict", comparison.warnings))
    return trackers, comparison
