"""From the arguments of the scoring commands to the folders of raw results they are about."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.analysis.compare import Comparison, TrackerResults, compare, list_findings
from lib.analysis.conventions import KINDS, check_kind, convention_named, convention_names
from lib.commands._options import (
    DEFAULT_TRACKER,
    Parser,
    Several,
    add_configs,
    add_datasets,
    add_run_ids,
)
from lib.commands.trackers import named_trackers
from lib.config.paths import Paths
from lib.datasets.benchmarks.open import find_row, open_dataset
from lib.datasets.sequence import Dataset
from lib.results.find import results_below
from lib.utils.advice import command
from lib.utils.errors import ConfigError, ResultsError, did_you_mean
from lib.utils.files import user_path


@dataclass(frozen=True)
class OwnResults:
    """Results in our tree, by tracker and configuration."""

    tracker: str
    config: str


@dataclass(frozen=True)
class OtherResults:
    """Results of any tracker in a folder that the user named."""

    label: str
    folder: Path


Chosen = OwnResults | OtherResults


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


def chosen_results(args: argparse.Namespace) -> list[Chosen]:
    """Every result that the arguments name, each once, in their order.

    Raises:
        ConfigError: nothing is named, or something cannot be a name.
    """
    named = named_trackers(args.trackers, args.config)
    chosen: list[Chosen] = [_own_results(*names) for names in named]
    chosen += [_other_results(text) for text in args.results]
    if not chosen:
        raise ConfigError(
            "nothing to score is given; for example --config seqtrack_b256, "
            "or --results OSTrack=path/to/its/results"
        )
    return list(dict.fromkeys(chosen))


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


def compare_as_asked(
    dataset: Dataset, contenders: Sequence[TrackerResults], args: argparse.Namespace
) -> Comparison:
    """Score them by the rules of `add_result_arguments`.

    Raises:
        SeqTrackError: as `compare`; with `--strict`, for every warning.
    """
    rules = (args.protocol, args.convention, args.skip_missing, args.mixed_runs)
    comparison = compare(dataset, contenders, *rules)
    if args.strict and comparison.warnings:
        raise ResultsError(list_findings("{} warnings, refused by --strict", comparison.warnings))
    return comparison


def contenders_on(
    chosen: Sequence[Chosen], dataset: Dataset, typed: str, args: argparse.Namespace, paths: Paths
) -> list[TrackerResults]:
    """Where the results of all trackers on a data set lie.

    Args:
        chosen: the trackers.
        dataset: opened.
        typed: what the user calls it, for advice.
        args: of `add_result_arguments`; without run ids, the results without a number.
        paths: the settings.

    Raises:
        ResultsError: there are no results of one of them.
        ConfigError: two would be called the same.
    """
    found = [
        _own_contender(one, dataset, typed, args, paths)
        if isinstance(one, OwnResults)
        else _other_contender(one, dataset)
        for one in chosen
    ]
    for i, one in enumerate(found):
        if one.label in [other.label for other in found[:i]]:
            raise ConfigError(
                f"two results are called {one.label!r}; name one otherwise, as in "
                "--results mine=FOLDER"
            )
    return found


def _own_results(tracker: str, config: str) -> OwnResults:
    if config.endswith((".yaml", ".yml")):
        return OwnResults(tracker, Path(config).stem)
    if "/" in config or {".", "..", ""} & {tracker, config}:
        raise ConfigError(
            f"--config {config!r} names no results; write a configuration, "
            "TRACKER/CONFIGURATION such as static_box/default, or --results NAME=FOLDER"
        )
    return OwnResults(tracker, config)


def _other_results(text: str) -> OtherResults:
    label, equals, folder = text.partition("=")
    if not (label.strip() and equals and folder) or not label.isprintable():
        raise ConfigError(f"--results {text!r}: write NAME=FOLDER, such as OSTrack=raw/ostrack")
    return OtherResults(label.strip(), user_path(folder, "--results"))


def _other_contender(one: OtherResults, dataset: Dataset) -> TrackerResults:
    row = find_row(dataset.name)
    names = (row.folder, *row.aliases) if row else ()
    return TrackerResults(one.label, results_below(one.folder, dataset, names), config=one.label)


def _own_contender(
    one: OwnResults, dataset: Dataset, typed: str, args: argparse.Namespace, paths: Paths
) -> TrackerResults:
    ids: list[int | None] = [*dict.fromkeys(args.runid)] or [None]
    folders = [
        paths.dataset_results_dir(one.tracker, one.config, dataset.results_folder, runid)
        for runid in ids
    ]
    run = folders[0].parent.name if len(ids) == 1 else f"{one.config} ({len(ids)} runs)"
    label = run if one.tracker == DEFAULT_TRACKER else f"{one.tracker}/{run}"
    for folder, runid in zip(folders, ids, strict=True):
        if not folder.is_dir():
            what = label if len(ids) == 1 else f"run {runid} of {one.config}"
            line = _tracking_command(one, typed, runid, args)
            raise ResultsError(
                f"{folder}: no results of {what} on {dataset.name}"
                f"{_advice(folder, one, runid, line)}"
            )
    config = one.config if one.tracker == DEFAULT_TRACKER else ""
    numbers = tuple(runid for runid in ids if runid is not None)
    return TrackerResults(label, folders[0], tuple(folders[1:]), config, numbers)


def _tracking_command(
    one: OwnResults, typed: str, runid: int | None, args: argparse.Namespace
) -> str:
    """What makes the results where they were looked for."""
    given = (
        ("--dataset", typed),
        ("--runid", runid),
        ("--data-dir", args.data_dir),
        ("--save-dir", args.save_dir),
    )
    words = [word for pair in given if pair[1] is not None for word in pair]
    return command("test", one.tracker, one.config, *words)


def _advice(folder: Path, one: OwnResults, runid: int | None, line: str) -> str:
    """What may have been meant by the name of results that are not there, or how to make them."""
    trackers = folder.parents[2]
    if (trackers / one.config).is_dir() and one.tracker == DEFAULT_TRACKER:
        names = ", ".join(f"{one.config}/{name}" for name in _subfolders(trackers / one.config))
        return f"; {one.config} is a tracker, write {names}"
    plain = folder.parent.with_name(one.config) / folder.name
    if runid is not None and plain.is_dir():
        return (
            f"; there are results of {one.config} without --runid"
            f" (beside runs of others: --results {one.config}={plain})"
        )
    runs = " ".join(map(str, _runs_of(plain)))
    if runs and runid is None:
        return f"; there are runs of it: --runid {runs}"
    if not (runs or folder.parent.is_dir()) and (
        hint := did_you_mean(one.config, _subfolders(folder.parents[1]))
    ):
        return hint
    there = f"; there are --runid {runs}" if runs else ""
    return f"{there}; make them with `{line}`, or give the folder above `test` as --save-dir"


def _runs_of(plain: Path) -> list[int]:
    """Numbers of the runs that left results beside `plain`, where those without a number lie."""
    config, dataset = plain.parent.name, plain.name
    ends = (
        one.removeprefix(f"{config}_")
        for one in _subfolders(plain.parents[1])
        if one.startswith(f"{config}_") and (plain.parents[1] / one / dataset).is_dir()
    )
    return [int(end) for end in ends if re.fullmatch(r"\d{3,}", end)]


def _subfolders(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
