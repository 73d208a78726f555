"""`seqtrack test`, `python tracking/test.py`: run a tracker on a data set."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib import __version__
from lib.commands.entry import add_overrides, add_roots, count, parser, positive, say
from lib.commands.trackers import make_spec, with_checkpoint
from lib.config.loader import list_configs
from lib.config.paths import Paths, resolve_paths
from lib.datasets.catalog import dataset_names, open_dataset
from lib.datasets.sequence import Dataset
from lib.test.evaluation.results import ResultsFolder, RunRecord, check_run_record
from lib.test.tracker.spec import TRACKER_NAMES, TrackerSpec, check_tracker_name
from lib.utils.errors import (
    EXIT_OK,
    EXIT_PARTIAL,
    ConfigError,
    DataError,
    ResultsError,
    counted,
)
from lib.utils.files import sha256_of

FAILURES_SHOWN = 20


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = parser("test.py", "Track the sequences of a data set and write raw results.")
    add = p.add_argument
    add("tracker", nargs="?", help=f"one of {', '.join(TRACKER_NAMES)}; seqtrack by default")
    add("config_name", nargs="?", metavar="config", help="the same as --config")
    add("--config", help="name in experiments/, or path of a YAML file")
    add_overrides(p)
    add(
        "--dataset",
        "--dataset_name",
        required=True,
        help=f"{', '.join(dataset_names())}, or a folder of sequences",
    )
    add("--sequence", help="name or 0-based index of one sequence")
    add("--checkpoint", help="weights file; 'random' for untrained weights, to try things out")
    add("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N")
    add("--threads", type=count, default=0, help="worker processes; 0 tracks in this one")
    add("--num_gpus", type=count, default=0, help="worker k uses GPU k mod N (default: all)")
    add("--max-frames", type=positive, help="frames per sequence")
    add("--runid", type=count, help="results go to <config>_%%03d")
    add("--float-results", action="store_true", help="keep decimals in the raw results")
    add(
        "--overwrite",
        action="store_true",
        help="track again what is there; results of another run are removed",
    )
    add(
        "--debug",
        nargs="?",
        const=1,
        default=0,
        type=count,
        help="write frames with the boxes drawn (green: truth, red: tracker)",
    )
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SeqTrackError: wrong input; nothing was started.
    """
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    tracker, config = _which_tracker(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    spec = make_spec(tracker, config, args.overrides)
    dataset = open_dataset(args.dataset, paths)
    names = _which_sequences(dataset, args.sequence)
    devices = _which_devices(args)
    spec = with_checkpoint(spec, args.checkpoint, paths, dataset.update_key)
    folder = ResultsFolder(
        paths.dataset_results_dir(tracker, spec.config_name, dataset.results_folder, args.runid)
    )
    record = _make_record(spec, dataset, args)
    _check_other_run(folder, record, args)
    say(f"{tracker}/{spec.config_name} on {dataset.name}: {counted(len(names), 'sequence')}")
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.test.evaluation.runner import RunOptions, evaluate

    options = RunOptions(
        max_frames=args.max_frames,
        as_float=args.float_results,
        debug_dir=_debug_dir(args, paths, spec, dataset),
        overwrite=args.overwrite,
    )
    in_process = args.threads == 0
    summary = evaluate(dataset, names, spec, folder, record, options, devices, in_process)
    say(summary.text)
    say(f"results: {folder.root}")
    if options.debug_dir is not None:
        say(f"pictures: {options.debug_dir}")
    _tell_failures(summary.failed)
    return EXIT_PARTIAL if summary.failed else EXIT_OK


def _which_tracker(args: argparse.Namespace) -> tuple[str, str]:
    """Tracker and configuration, from either spelling of the command line."""
    if None not in (args.config, args.config_name) and args.config != args.config_name:
        raise ConfigError(
            f"two configurations are given: {args.config_name!r} and --config {args.config!r}"
        )
    tracker = args.tracker or "seqtrack"
    config = args.config_name if args.config is None else args.config
    if config is None:
        if tracker in list_configs():
            raise ConfigError(
                f"{tracker!r} is a configuration, not a tracker; write --config {tracker}"
            )
        raise ConfigError(
            "no configuration is given; try `--config seqtrack_b256` or `static_box default`"
        )
    check_tracker_name(tracker)
    return tracker, config


def _which_sequences(dataset: Dataset, wanted: str | None) -> list[str]:
    names = list(dataset.sequence_names)
    if wanted is None:
        return names
    if wanted not in names and wanted.isascii() and wanted.isdecimal():
        if int(wanted) >= len(names):
            raise DataError(
                f"sequence {wanted} does not exist: {dataset.name!r} has {len(names)} sequences, "
                f"0 to {len(names) - 1}"
            )
        return [names[int(wanted)]]
    dataset.load(wanted)
    return [wanted]


def _which_devices(args: argparse.Namespace) -> list[str]:
    """One device per worker; worker k is on GPU k mod `--num_gpus`."""
    from lib.utils.device import resolve_device

    device = resolve_device(args.device)
    workers = max(1, args.threads)
    if device.type != "cuda" or device.index is not None:
        if args.num_gpus:
            raise ConfigError(f"--num_gpus spreads workers over GPUs, but --device is {device}")
        return [str(device)] * workers
    import torch

    there = torch.cuda.device_count()
    if args.num_gpus > there:
        raise ConfigError(f"--num_gpus {args.num_gpus} asked for, but there are only {there} GPUs")
    return [f"cuda:{k % (args.num_gpus or there)}" for k in range(workers)]


def _make_record(spec: TrackerSpec, dataset: Dataset, args: argparse.Namespace) -> RunRecord:
    return RunRecord(
        tracker=spec.tracker,
        config_name=spec.config_name,
        settings=spec.settings,
        checkpoint_sha256=sha256_of(spec.checkpoint) if spec.checkpoint else None,
        dataset=dataset.name,
        source=dataset.source,
        max_frames=args.max_frames,
        float_results=args.float_results,
        version=__version__,
    )


def _debug_dir(
    args: argparse.Namespace, paths: Paths, spec: TrackerSpec, dataset: Dataset
) -> Path | None:
    if not args.debug:
        return None
    return paths.debug_dir(spec.tracker, spec.config_name, dataset.results_folder, args.runid)


def _check_other_run(folder: ResultsFolder, record: RunRecord, args: argparse.Namespace) -> None:
    """Stop before results of two runs mix, or more of another run is removed than was meant."""
    if not args.overwrite:
        check_run_record(folder, record)
    elif args.sequence is not None:
        try:
            check_run_record(folder, record)
        except ResultsError as error:
            raise ResultsError(
                f"{error}. With --sequence, the results of the other sequences would go as well: "
                "leave --sequence out if that is meant"
            ) from None


def _tell_failures(failed: Mapping[str, str]) -> None:
    """Every failed sequence, the first ones with their reason; hundreds fit one screen."""
    names = list(failed)
    for name in names[:FAILURES_SHOWN]:
        say(f"failed: {name}: {failed[name]}", error=True)
    if more := names[FAILURES_SHOWN:]:
        say(f"failed: {len(more)} more: {', '.join(more)}", error=True)
