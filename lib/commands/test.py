"""`seqtrack test`, `python tracking/test.py`: run a tracker on a data set."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

from lib import __version__
from lib.commands._options import (
    Parser,
    add_checkpoint,
    add_configs,
    add_cpu_threads,
    add_dataset,
    add_device,
    add_overrides,
    add_roots,
    count,
    parser,
    positive,
)
from lib.commands.entry import keeps
from lib.commands.trackers import find_sequence, named_trackers
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.open import find_row, open_dataset
from lib.datasets.sequence import Dataset
from lib.evaluation.plan import Job, RunOptions
from lib.results.files import ResultsFolder, RunRecord, check_run_record, hash_data
from lib.tracker.engine.names import ENGINE_NAMES, PRECISIONS, check_engine
from lib.tracker.registry import (
    RANDOM_CHECKPOINT,
    find_tracker,
    make_spec,
    trackers,
    with_checkpoint,
)
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError, ResultsError
from lib.utils.files import sha256_of


def build_parser() -> Parser:
    p = parser(
        "test",
        "Track the sequences of a data set and write raw results. What is there already is kept: "
        "the same command goes on where it stopped.",
        "seqtrack_b256 --dataset lasot",
        "--config seqtrack_b256 seqtrack_l256 --dataset my_videos/ --batch-size 8",
        "static_box default --dataset otb --workers 2",
    )
    p.add_argument(
        "trackers",
        nargs="*",
        metavar="TRACKER/NAME",
        help=f"tracker and configuration, also as two words, or the configuration alone; trackers "
        f"are {', '.join(trackers())} (default: seqtrack)",
    )
    what = p.add_argument_group("what is tracked, and by what")
    add_configs(what, "configuration: a name in experiments/, or a YAML file; several run in turn")
    add_overrides(what)
    add_checkpoint(what)
    add_dataset(what, required=True)
    add = what.add_argument
    add(
        "--sequence",
        metavar="NAME",
        help="track one sequence, given by its name or its number from 0",
    )
    add("--max-frames", type=positive, metavar="N", help="track at most N frames of each sequence")
    _add_outputs(p)
    _add_speed(p)
    add_roots(p)
    return p


def _add_outputs(p: Parser) -> None:
    add = p.add_argument_group("what is written").add_argument
    add(
        "--runid", type=count, metavar="N", help="write to <config>_00N, to keep several runs apart"
    )
    add("--float-results", action="store_true", help="keep the decimals of the boxes")
    add(
        "--overwrite",
        "--force",
        action="store_true",
        help="track again what is there; results of another run are removed",
    )
    add(
        "--debug",
        nargs="?",
        const=1,
        default=0,
        type=count,
        metavar="1",
        help="write each frame with the boxes drawn (green: truth, red: tracker)",
    )


def _add_speed(p: Parser) -> None:
    """What decides how fast the results are there, and not what they are."""
    group = p.add_argument_group("speed")
    add = group.add_argument
    add_device(group)
    add(
        "--engine",
        default=ENGINE_NAMES[0],
        metavar="NAME",
        help=f"what runs the network: {', '.join(ENGINE_NAMES)} (default: {ENGINE_NAMES[0]})",
    )
    add(
        "--precision",
        metavar="NAME",
        help="number format of the engine (default: fp32); every other changes some boxes a little",
    )
    add(
        "--batch-size",
        "--batch",
        type=positive,
        default=1,
        metavar="N",
        help="sequences that each process tracks together (default: 1)",
    )
    add(
        "--workers",
        "--threads",
        type=count,
        default=0,
        metavar="N",
        help="processes that share the sequences (default: 0, track in this one); PyTracking's "
        "word for them is --threads",
    )
    add_cpu_threads(group)
    add(
        "--num-gpus",
        "--gpus",
        type=count,
        default=0,
        metavar="N",
        help="GPUs to use: worker k is on GPU k mod N (default: all)",
    )
    add(
        "--readers",
        type=count,
        default=0,
        metavar="N",
        help="threads of each process that read frames ahead (default: by the cores)",
    )
    add("--shard", type=shard, metavar="K/N", help="track only part K of N, counted from 0")


def shard(text: str) -> tuple[int, int]:
    """An argument `K/N`: part K of N, counted from 0."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and int(number) < int(parts)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no part of a whole; write K/N with K from 0 to N - 1, such as 0/8"
        )
    return int(number), int(parts)


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    jobs = plan_jobs(args)
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.evaluation.distributed import WorkerRank
    from lib.evaluation.jobs import run_jobs

    rank = WorkerRank.of(os.environ)
    with keeps("finished sequences are saved, and the same command goes on with the others"):
        devices = _which_devices(args) if rank is None else [_rank_device(args, rank.local_rank)]
        return run_jobs(jobs, devices, args.workers == 0, args.shard, rank)


def plan_jobs(args: argparse.Namespace) -> list[Job]:
    """What the arguments ask for, one job for each configuration.

    Raises:
        SeqTrackError: wrong input, or results of another run in the way.
    """
    named = _which_trackers(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    specs = [_make_spec(tracker, config, args) for tracker, config in named]
    _check_names([config for _, config in named], specs)
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
    known: dict[tuple[str, str], str] = {}
    for config, spec in zip(configs, specs, strict=True):
        # Some file systems do not tell `Mine` from `mine`.
        other = known.setdefault((spec.tracker, spec.config_name.lower()), config)
        if other != config:
            raise ConfigError(
                f"{other} and {config} are both called {spec.config_name!r}, and their results "
                "would go to one folder; rename one file, or give them one after the other, each "
                "with a --runid of its own"
            )


def _which_trackers(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Trackers and configurations, from either spelling of the command line."""
    named = named_trackers(args.trackers, args.config)
    if not named:
        raise ConfigError("no configuration is given; try `seqtrack_b256`, or `static_box/default`")
    for tracker, _ in named:
        if find_row(tracker):
            raise ConfigError(f"{tracker!r} is a data set: give one at a time, by --dataset")
        find_tracker(tracker)
    if len(named) > 1 and args.checkpoint not in (None, RANDOM_CHECKPOINT):
        raise ConfigError(
            f"--checkpoint names one file, and there are {len(named)} configurations; leave it "
            "out to take that of each from its folder"
        )
    return named


def _which_sequences(dataset: Dataset, wanted: str | None) -> list[str]:
    if wanted is None:
        return list(dataset.sequence_names)
    name = find_sequence(dataset, wanted)
    dataset.load(name)
    return [name]


def _which_devices(args: argparse.Namespace) -> list[str]:
    """One device per worker; worker k is on GPU k mod `--num-gpus`."""
    from lib.utils.device import resolve_device

    device = resolve_device(args.device)
    workers = max(1, args.workers)
    if device.type != "cuda" or device.index is not None:
        if args.num_gpus:
            raise ConfigError(f"--num-gpus spreads workers over GPUs, but --device is {device}")
        return [str(device)] * workers
    import torch

    there = torch.cuda.device_count()
    if args.num_gpus > there:
        raise ConfigError(f"--num-gpus {args.num_gpus} asked for, but there are only {there} GPUs")
    return [f"cuda:{k % (args.num_gpus or there)}" for k in range(workers)]


def _rank_device(args: argparse.Namespace, local_rank: int) -> str:
    """The device of one of torchrun's workers on a machine: they take turns with its GPUs."""
    import torch

    from lib.utils.device import resolve_device

    for option, given in (("--workers", args.workers), ("--shard", args.shard)):
        if given:
            raise ConfigError(f"{option} does not go with torchrun, which starts the workers")
    device = resolve_device(args.device)
    if device.type != "cuda" or device.index is not None:
        return str(device)
    gpus = min(args.num_gpus or torch.cuda.device_count(), torch.cuda.device_count())
    return f"cuda:{local_rank % gpus}"


def _make_job(
    spec: TrackerSpec,
    dataset: Dataset,
    names: list[str],
    data_sha256: str,
    paths: Paths,
    args: argparse.Namespace,
) -> Job:
    """One configuration on the data set."""
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
