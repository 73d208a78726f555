"""`seqtrack train`, `python tracking/train.py`: train a configuration."""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lib.commands.entry import Terminated, add_overrides, add_roots, count, parser, positive, say
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

# What is finished is on disk when the command is interrupted.
SAVES_AS_IT_GOES = True

MODULE = "lib.commands.train"


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = parser("train.py", "Train a configuration; started again, the same command goes on.")
    add = p.add_argument
    add("--config", required=True, help="name in experiments/, or path of a YAML file")
    add_overrides(p)
    add_roots(p)
    add("--mode", choices=("single", "multiple"), help="one process, or several on this machine")
    add("--nproc_per_node", type=positive, metavar="N", help="processes, one per GPU")
    add("--init-from", metavar="FILE", help="weights to start from; ignored when going on")
    add("--pretrained", metavar="PATH", help="file of the pre-trained encoder, or its folder")
    choices = ("fp32", "tf32", "bf16", "fp16")
    add("--precision", choices=choices, help="the same as TRAIN.PRECISION")
    add("--compile", action="store_true", help="compile the network: a slow start, fast steps")
    add("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N")
    add("--seed", type=count, default=0, help="of weights, samples and dropout")
    add("--dry-run", action="store_true", help="run a few steps, say what a training would take")
    add("--script", default="seqtrack", help="seqtrack, as other trackers' users type it")
    add("--use_lmdb", type=count, default=0, help="LMDBs are read where there are no folders")
    # What launchers of old pass on; the environment says it too.
    add("--local_rank", type=count, help=argparse.SUPPRESS)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SeqTrackError: wrong input, and nothing was started; or the training failed, with the
            exit code of its kind.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    _check_old_options(args)
    cfg = load_config(args.config, _overrides(args), training=True)
    paths = resolve_paths(args.data_dir, args.save_dir)
    if "RANK" not in os.environ:
        processes = _processes(args)
        if not args.dry_run:
            check_writable(paths.checkpoint_dir(cfg.name))
        if processes > 1:
            from lib.commands.launch import launch

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
            _start(cfg, options, paths, world)
    return EXIT_OK


def _dry_run(cfg: Config, options: "Options", paths: Paths, world: "World") -> None:
    from lib.train.closed_loop import missing_sequences
    from lib.train.dry_run import dry_run

    if world.is_main and (missing := missing_sequences(cfg, paths)):
        say(f"warning: {missing}; validation needs it", True)
    dry_run(cfg, options, paths, world, say)


def _start(cfg: Config, options: "Options", paths: Paths, world: "World") -> None:
    """Make everything, and train; the log knows how it ended, and is closed then.

    Raises:
        SeqTrackError: another training runs in the folder; nothing of it was touched.
    """
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
    """Train.

    Raises:
        PartialFailure: the system refused a file.
    """
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


def _check_old_options(args: argparse.Namespace) -> None:
    if args.script != "seqtrack":
        raise ConfigError(f"--script {args.script!r}: there is only seqtrack here; leave it out")


def _processes(args: argparse.Namespace) -> int:
    """How many processes to start; 1 means this one."""
    asked = args.nproc_per_node
    if args.mode == "single":
        if asked not in (None, 1):
            raise ConfigError(f"--nproc_per_node {asked} needs --mode multiple")
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
            f"--nproc_per_node {asked} asked for, but there are only {available} GPUs"
        )
    return asked or available
