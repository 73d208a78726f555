"""`seqtrack test`, `python tracking/test.py`: run a tracker on a data set."""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import replace

from lib import __version__
from lib.commands.entry import add_cpu_threads, add_overrides, add_roots, count, parser, positive
from lib.commands.trackers import RANDOM_CHECKPOINT, make_spec, with_checkpoint
from lib.config.loader import list_configs
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.open import dataset_names, find_row, open_dataset
from lib.datasets.sequence import Dataset
from lib.evaluation.plan import Job, RunOptions
from lib.results.files import ResultsFolder, RunRecord, check_run_record, hash_data
from lib.tracker.engine.names import ENGINE_NAMES, PRECISIONS, check_engine
from lib.tracker.spec import TRACKER_NAMES, TrackerSpec, check_tracker_name
from lib.utils.errors import ConfigError, DataError, ResultsError
from lib.utils.files import sha256_of

# What is finished is on disk when the command is interrupted.
SAVES_AS_IT_GOES = True


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = parser("test.py", "Track the sequences of a data set and write raw results.")
    add = p.add_argument
    add("tracker", nargs="?", help=f"one of {', '.join(TRACKER_NAMES)}; seqtrack by default")
    add("config_name", nargs="?", metavar="config", help="the same as --config")
    add(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="names in experiments/, or paths of YAML files; several are run in turn",
    )
    add_overrides(p)
    add(
        "--dataset",
        "--dataset_name",
        required=True,
        help=f"{', '.join(dataset_names())}, or a folder of sequences",
    )
    add("--sequence", help="name or 0-based index of one sequence")
    add("--checkpoint", help="weights file; 'random' for untrained weights, to try things out")
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
    _add_machinery(p)
    add_roots(p)
    return p


def _add_machinery(p: argparse.ArgumentParser) -> None:
    """What decides how fast the results are there, and not what they are."""
    add = p.add_argument
    add("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N")
    add("--engine", default=ENGINE_NAMES[0], help=f"{', '.join(ENGINE_NAMES)}: what computes")
    add("--precision", help="of the engine; all but fp32 change some boxes a little")
    add(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="sequences that a process tracks at a time, one forward pass for a frame of each",
    )
    add("--threads", type=count, default=0, help="worker processes; 0 tracks in this one")
    add_cpu_threads(p)
    add("--num_gpus", type=count, default=0, help="worker k uses GPU k mod N (default: all)")
    add(
        "--readers",
        type=count,
        default=0,
        metavar="N",
        help="threads of a process that read frames ahead (default: by the cores)",
    )
    add("--shard", type=shard, metavar="K/N", help="only part K of N, counted from 0")


def shard(text: str) -> tuple[int, int]:
    """An argument `K/N`: part K of N, counted from 0."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and int(number) < int(parts)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no part of a whole; write K/N with K from 0 to N - 1, such as 0/8"
        )
    return int(number), int(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SeqTrackError: wrong input; nothing was started.
        PartialFailure: the disk is full.
    """
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    jobs = plan_jobs(args)
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.commands.evaluation import run_jobs, run_shared
    from lib.evaluation.distributed import WorkerRank

    rank = WorkerRank.of(os.environ)
    if rank is not None:
        return run_shared(jobs, rank, args)
    return run_jobs(jobs, _which_devices(args), args)


def plan_jobs(args: argparse.Namespace) -> list[Job]:
    """What the arguments ask for, one job for each configuration.

    Raises:
        SeqTrackError: wrong input, or results of another run in the way.
    """
    tracker, configs = _which_tracker(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    specs = [_make_spec(tracker, config, args) for config in configs]
    _check_names(configs, specs)
    dataset = open_dataset(args.dataset, paths)
    names = _which_sequences(dataset, args.sequence)
    specs = [with_checkpoint(spec, args.checkpoint, paths, dataset.update_key) for spec in specs]
    data = hash_data(dataset, _is_benchmark(args))
    return [_make_job(spec, dataset, names, data, paths, args) for spec in specs]


def _is_benchmark(args: argparse.Namespace) -> bool:
    return find_row(args.dataset) is not None


def _make_spec(tracker: str, config: str, args: argparse.Namespace) -> TrackerSpec:
    precision = args.precision or PRECISIONS.get(args.engine, ("fp32",))[0]
    check_engine(args.engine, precision)
    spec = make_spec(tracker, config, args.overrides)
    if spec.config is None:
        if args.engine != ENGINE_NAMES[0] or args.precision or args.cpu_threads:
            raise ConfigError(
                f"--engine, --precision and --cpu-threads do nothing for {tracker!r}: it has no "
                "network"
            )
        return spec
    return replace(spec, engine=args.engine, precision=precision, cpu_threads=args.cpu_threads)


def _check_names(configs: Sequence[str], specs: Sequence[TrackerSpec]) -> None:
    """Refuse two configurations whose results would go to the same folder."""
    known: dict[str, str] = {}
    for config, spec in zip(configs, specs, strict=True):
        # Some file systems do not tell `Mine` from `mine`.
        other = known.setdefault(spec.config_name.lower(), config)
        if other != config:
            raise ConfigError(
                f"{other} and {config} are both called {spec.config_name!r}, and their results "
                "would go to one folder; rename one file, or give them one after the other, each "
                "with a --runid of its own"
            )


def _which_tracker(args: argparse.Namespace) -> tuple[str, list[str]]:
    """Tracker and configurations, from either spelling of the command line."""
    configs = list(dict.fromkeys(args.config))
    if args.config_name is not None:
        if configs not in ([], [args.config_name]):
            raise ConfigError(
                f"two configurations are given: {args.config_name!r} and --config "
                f"{' '.join(configs)!r}"
            )
        configs = [args.config_name]
    tracker = args.tracker or "seqtrack"
    if not configs:
        if tracker in list_configs():
            raise ConfigError(
                f"{tracker!r} is a configuration, not a tracker; write --config {tracker}"
            )
        raise ConfigError(
            "no configuration is given; try `--config seqtrack_b256` or `static_box default`"
        )
    check_tracker_name(tracker)
    if len(configs) > 1 and args.checkpoint not in (None, RANDOM_CHECKPOINT):
        raise ConfigError(
            f"--checkpoint names one file, and there are {len(configs)} configurations; leave it "
            "out to take that of each from its folder"
        )
    return tracker, configs


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


def _make_job(
    spec: TrackerSpec,
    dataset: Dataset,
    names: list[str],
    data_sha256: str,
    paths: Paths,
    args: argparse.Namespace,
) -> Job:
    """One configuration on the data set.

    Raises:
        ResultsError: there are results of another run.
    """
    where = (spec.tracker, spec.config_name, dataset.results_folder, args.runid)
    record = RunRecord(
        tracker=spec.tracker,
        config_name=spec.config_name,
        settings=spec.settings,
        checkpoint_sha256=sha256_of(spec.checkpoint) if spec.checkpoint else None,
        dataset=dataset.name,
        source=dataset.source,
        max_frames=args.max_frames,
        float_results=args.float_results,
        data_sha256=data_sha256,
        benchmark=_is_benchmark(args),
        version=__version__,
    )
    folder = ResultsFolder(paths.dataset_results_dir(*where))
    _check_other_run(folder, record, args)
    options = RunOptions(
        max_frames=args.max_frames,
        as_float=args.float_results,
        debug_dir=paths.debug_dir(*where) if args.debug else None,
        overwrite=args.overwrite,
        batch_size=args.batch_size,
        readers=args.readers,
    )
    return Job(dataset, names, spec, folder, record, options)


def _check_other_run(folder: ResultsFolder, record: RunRecord, args: argparse.Namespace) -> None:
    """Stop before results of two runs mix, or more of another run is removed than was meant."""
    if not args.overwrite:
        check_run_record(folder, record)
    elif args.sequence is not None or args.shard is not None:
        try:
            check_run_record(folder, record)
        except ResultsError as error:
            part = "--sequence" if args.shard is None else "--shard"
            raise ResultsError(
                f"{error}. With {part}, the results of the other sequences would go as well: "
                f"leave {part} out if that is meant"
            ) from None
