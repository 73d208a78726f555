"""`seqtrack train`, `python tracking/train.py`: train a configuration."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lib.commands._finetune import add_finetuning, plan_finetuning
from lib.commands._options import (
    Parser,
    add_device,
    add_one_config,
    add_roots,
    count,
    parser,
    positive,
)
from lib.commands.entry import Terminated, keeps, say
from lib.config.loader import load_config
from lib.config.paths import Paths, resolve_paths
from lib.config.schema import Config
from lib.utils.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TERMINATED,
    ConfigError,
    PartialFailure,
    SeqTrackError,
)
from lib.utils.files import check_writable, user_path

if TYPE_CHECKING:
    from lib.train.build import Options
    from lib.train.logging.log import QuietLog
    from lib.train.loop import Run
    from lib.utils.distributed import World

MODULE = "lib.commands.train"


def build_parser() -> Parser:
    p = parser(
        "train",
        "Train a configuration; started again, the same command goes on.",
        "--config seqtrack_b256 --dry-run",
        "--config seqtrack_b256 --mode multiple --nproc-per-node 8",
        "--config my.yaml --init-from weights.pth.tar --set TRAIN.EPOCH=50",
        "--finetune --data boxes.xml --video clip.mp4",
    )
    what = p.add_argument_group("what is trained")
    add = what.add_argument
    add_one_config(what, required=False)
    add(
        "--init-from", metavar="FILE", help="weights to start from; ignored when a training goes on"
    )
    add("--pretrained", metavar="PATH", help="file of the pre-trained encoder, or its folder")
    add(
        "--seed",
        type=count,
        default=0,
        metavar="N",
        help="seed of weights, samples and dropout (default: 0)",
    )
    add("--dry-run", action="store_true", help="run a few steps, say what a training would take")
    add_finetuning(p)
    _add_machinery(p)
    add_roots(p)
    return p


def _add_machinery(p: Parser) -> None:
    how = p.add_argument_group("how")
    add = how.add_argument
    add("--mode", choices=("single", "multiple"), help="one process (default), or several on this "
        "machine")  # fmt: skip
    add(
        "--nproc-per-node",
        "--num-gpus",
        "--gpus",
        type=positive,
        metavar="N",
        help="processes on this machine, one per GPU (default: all GPUs)",
    )
    add_device(how)
    choices = ("fp32", "tf32", "bf16", "fp16")
    add("--precision", choices=choices, help="number format, the same as TRAIN.PRECISION")
    add("--compile", action="store_true", help="compile the network: a slow start, fast steps")
    add(
        "--use-lmdb",
        type=count,
        default=0,
        metavar="1",
        help="taken for the sake of old command lines: LMDBs are read where there are no folders",
    )
    # What launchers of old pass on; the environment says it too.
    add("--local-rank", type=count, help=argparse.SUPPRESS)


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(words)
    paths = resolve_paths(args.data_dir, args.save_dir)
    tuning = plan_finetuning(args, _overrides(args), paths)
    if tuning is None:
        cfg = load_config(args.config, _overrides(args), training=True)
    else:
        cfg, args.init_from = tuning.cfg, str(tuning.start)
        if done := tuning.concluded():
            say(done)
            return EXIT_OK
    code = _run(cfg, paths, args, words)
    if tuning is not None and code == EXIT_OK and not args.dry_run and "RANK" not in os.environ:
        tuning.conclude(args.device)
    return code


def _run(cfg: Config, paths: Paths, args: argparse.Namespace, words: list[str]) -> int:
    """Train in this process, or in several that it starts."""
    if "RANK" not in os.environ:
        processes = _processes(args)
        if not args.dry_run:
            check_writable(paths.checkpoint_dir(cfg.name))
        if processes > 1:
            from lib.train.launch import launch

            return launch(MODULE, words, processes)
    return _train(cfg, paths, args, words)


def _train(cfg: Config, paths: Paths, args: argparse.Namespace, words: list[str]) -> int:
    """Train in this process, alone or as one of many."""
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.train.build import Options, checkpoint_folder
    from lib.utils.distributed import join_world

    options = Options(
        seed=args.seed,
        init_from=user_path(args.init_from, "--init-from") if args.init_from else None,
        pretrained=user_path(args.pretrained, "--pretrained") if args.pretrained else None,
        compiled=args.compile,
        command=("train.py", *words),
    )
    with join_world(args.device) as world:
        if args.dry_run:
            with _short_of_memory():
                _dry_run(cfg, options, paths, world)
        elif done := world.on_main(lambda: checkpoint_folder(cfg, paths).finished(cfg, args.seed)):
            if world.is_main:
                say(done)
        else:
            with keeps("what was trained is saved, and the same command goes on from there"):
                _start(cfg, options, paths, world)
    return EXIT_OK


def _dry_run(cfg: Config, options: "Options", paths: Paths, world: "World") -> None:
    from lib.train.closed_loop import missing_sequences
    from lib.train.dry_run import dry_run
    from lib.utils.device import computes_bf16

    if cfg.train.precision == "bf16" and not computes_bf16(world.device):
        train = cfg.train.model_copy(update={"precision": "fp32"})
        cfg = cfg.model_copy(update={"train": train})
        if world.is_main:
            say("measured in fp32: this CPU would have to emulate bf16")
    if world.is_main and (missing := missing_sequences(cfg, paths)):
        say(f"warning: {missing}; validation needs it", True)
    dry_run(cfg, options, paths, world, say)


def _start(cfg: Config, options: "Options", paths: Paths, world: "World") -> None:
    """Make everything, and train; the log knows how it ended, and is closed then."""
    from lib.train.build import open_log, prepare
    from lib.train.closed_loop import build_closed_loop
    from lib.train.lock import TrainingLock
    from lib.train.logging.summary import summary
    from lib.utils.distributed import lost_connections

    lock = TrainingLock(paths.checkpoint_dir(cfg.name))
    world.on_main(lock.acquire)
    log = open_log(cfg, paths, world, say)
    with (
        contextlib.closing(lock),
        contextlib.closing(log),
        _ending_noted(log, world),
        lost_connections(),
        _short_of_memory(),
    ):
        closed_loop = build_closed_loop(cfg, paths, world)
        run = prepare(cfg, options, paths, world, log, closed_loop)
        for line in summary(run, options.compiled):
            log.say(line)
        _fit(run)


def _fit(run: "Run") -> None:
    """Train."""
    from lib.train.logging.log import warnings_in
    from lib.train.logging.record import write_record
    from lib.train.loop import fit

    # Not before: a folder that holds another training must keep its records.
    folder = run.checkpoints.folder
    facts = {**run.checkpoints.settings, "seed": run.seed, "processes": run.world.size}
    run.log.at_first_step(lambda: write_record(folder, run.cfg, facts))
    try:
        with warnings_in(run.log):
            fit(run)
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}"
        raise PartialFailure(f"{reason}; what was saved before is in {folder}") from error


@contextlib.contextmanager
def _ending_noted(log: "QuietLog", world: "World") -> Iterator[None]:
    """Keep in the log how the block ended, if not well."""
    try:
        yield
    except SeqTrackError as error:
        log.ending(f"error: {error}")
        raise
    except (KeyboardInterrupt, Terminated) as signal:
        interrupted = isinstance(signal, KeyboardInterrupt)
        log.ending("interrupted" if interrupted else "terminated")
        if world.is_main:
            raise
        # One process says it for all; not a return, which would wait for the others.
        raise SystemExit(EXIT_INTERRUPTED if interrupted else EXIT_TERMINATED) from None
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        log.ending(f"error: {type(error).__name__}: {first}")
        raise


@contextlib.contextmanager
def _short_of_memory() -> Iterator[None]:
    """Turn a GPU's lack of memory into one line with what helps."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        raise SeqTrackError(
            f"{reason} A smaller TRAIN.BATCH_SIZE with TRAIN.ACCUMULATE above 1 needs less and "
            "keeps the effective batch; MODEL.ENCODER.USE_CHECKPOINT=true trades time for memory"
        ) from None


def _overrides(args: argparse.Namespace) -> list[str]:
    precision = [f"TRAIN.PRECISION={args.precision}"] if args.precision else []
    return [*args.overrides, *precision]


def _processes(args: argparse.Namespace) -> int:
    """How many processes to start; 1 means this one."""
    asked = args.nproc_per_node
    if args.mode == "single":
        if asked not in (None, 1):
            raise ConfigError(f"--nproc-per-node {asked} needs --mode multiple")
        return 1
    if asked is None and args.mode is None:
        return 1
    from lib.utils.device import resolve_device

    device = resolve_device(args.device)
    if device.type == "cpu":
        return asked or 1
    import torch

    available = torch.cuda.device_count()
    if device.type != "cuda" or device.index is not None:
        raise ConfigError(f"--mode multiple spreads over GPUs, but --device is {device}")
    if asked is not None and asked > available:
        raise ConfigError(
            f"--nproc-per-node {asked} asked for, but there are only {available} GPUs"
        )
    return asked or available
