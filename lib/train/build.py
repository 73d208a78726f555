"""From a configuration to a `Run`: samples, network, starting weights, optimizer, log."""

import inspect
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.config.paths import Paths
from lib.config.schema import Config
from lib.models.pretrained import (
    fetch_pretrained,
    find_pretrained,
    load_pretrained_encoder,
)
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.weights import load_weights
from lib.train.checkpoint import can_go_on
from lib.train.data.sampler import TrackingSampler, build_sampler
from lib.train.ema import Ema
from lib.train.logging.log import QuietLog, Say, TrainingLog, warnings_in
from lib.train.logging.record import circumstances
from lib.train.losses.objective import Objective
from lib.train.optim import build_optimizer
from lib.train.run import Run
from lib.train.stepper import Stepper
from lib.train.validation import Scorer, Validator
from lib.utils.distributed import World
from lib.utils.errors import ConfigError
from lib.utils.files import sha256_of

# What DistributedDataParallel calls it; newer versions of torch warn of the older name.
_NEW_NAME = "forward_sync_buffers"
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_SYNC_BUFFERS = _NEW_NAME if _NEW_NAME in _KNOWN else "broadcast_buffers"


@dataclass(frozen=True)
class Options:
    """What the command line says besides the configuration.

    Attributes:
        seed: of the weights, the samples and dropout.
        init_from: weights to start from.
        pretrained: file of the pre-trained encoder, or its folder.
        compiled: whether torch.compile is used.
        command: the command line, for the records.
    """

    seed: int = 0
    init_from: Path | None = None
    pretrained: Path | None = None
    compiled: bool = False
    command: Sequence[str] = ()


def prepare(
    cfg: Config,
    options: Options,
    paths: Paths,
    world: World,
    log: QuietLog,
    closed_loop: Scorer | None = None,
) -> Run:
    """Everything that `fit` needs; nothing of it is trained or restored yet.

    Args:
        cfg: the configuration.
        options: what else was asked for.
        paths: where data lies and outputs go.
        world: this process among all.
        log: of this process, see `open_log`.
        closed_loop: scores the tracker on sequences; all processes have one, or none has.

    Raises:
        ConfigError: options or keys that do not go together.
        DataError: a training or validation set cannot be used.
        CheckpointError: the starting weights cannot be had.
    """
    check_options(cfg, options)
    # All processes open the same sets: what is to be said about them is said once.
    with warnings_in(log if world.is_main else None):
        sampler, held_out = open_samplers(cfg, options, paths, world)
    folder = paths.checkpoint_dir(cfg.name)
    network = new_network(cfg, options.seed)
    if world.is_main:
        for line in load_start(network, cfg, options, folder, fetch_pretrained):
            log.say(line)
    run = assemble(network, cfg, options, world, sampler, log, folder, paths.log_dir)
    run.validate = Validator(
        cfg=cfg,
        objective=run.objective,
        ema=run.ema,
        autocast=run.stepper.autocast,
        world=world,
        log=log,
        samples=held_out,
        pictured=held_out or sampler,
        closed_loop=closed_loop,
        workers=run.workers,
    )
    if isinstance(log, TrainingLog):
        log.watch(run.optimizer)
    return run


def check_options(cfg: Config, options: Options) -> None:
    """Refuse options that would have no effect.

    Raises:
        ConfigError: naming both.
    """
    if options.pretrained is not None:
        if options.init_from is not None:
            raise ConfigError("--init-from brings the whole network; leave --pretrained out")
        if cfg.model.encoder.pretrain_type == "scratch":
            raise ConfigError(
                "--pretrained does nothing where MODEL.ENCODER.PRETRAIN_TYPE is scratch; "
                "set it to mae or default"
            )


def open_samplers(
    cfg: Config, options: Options, paths: Paths, world: World
) -> tuple[TrackingSampler, TrackingSampler | None]:
    """The samples to train on, and the held-out ones where DATA.VAL names sets.

    One process of each machine goes first: opening a big set for the first time indexes it, and
    machines may have a disk of their own.
    """
    first = world.local_rank == 0
    if not first:
        world.barrier()
    sampler = build_sampler(cfg, paths, options.seed)
    named = cfg.data.val.datasets_name
    held_out = build_sampler(cfg, paths, options.seed, "val") if named else None
    if first:
        world.barrier()
    return sampler, held_out


def open_log(cfg: Config, paths: Paths, world: World, say: Say) -> QuietLog:
    """The log of this process."""
    if not world.is_main:
        return QuietLog(say)
    return TrainingLog(
        text_file=paths.log_dir / f"seqtrack-{cfg.name}.log",
        curves=paths.curves_dir(cfg.name),
        epochs=cfg.train.epoch,
        print_interval=cfg.train.print_interval,
        say=say,
    )


def new_network(cfg: Config, seed: int) -> SeqTrack:
    """The network with its first, random weights; the same in all processes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_seqtrack(cfg)


def assemble(
    network: SeqTrack,
    cfg: Config,
    options: Options,
    world: World,
    sampler: TrackingSampler,
    log: QuietLog,
    folder: Path,
    log_dir: Path,
) -> Run:
    """Put the network on its device and the rest of a run around it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # the heads have random weights too
        objective = Objective(network, cfg)
    objective.to(world.device)
    optimizer = build_optimizer(objective, cfg)
    forward = wrapped(objective, world, options.compiled)
    # After the wrap: only now all processes have the weights of the main one.
    ema = Ema(network, cfg.train.ema_decay) if cfg.train.ema_decay else None
    return Run(
        cfg=cfg,
        objective=objective,
        optimizer=optimizer,
        stepper=Stepper(forward, optimizer, cfg, world.device, ema),
        ema=ema,
        sampler=sampler,
        world=world,
        folder=folder,
        log_dir=log_dir,
        log=log,
        validate=None,
        seed=options.seed,
        workers=cfg.train.num_worker,
        settings=circumstances(options.command, world),
    )


def load_start(
    network: SeqTrack,
    cfg: Config,
    options: Options,
    folder: Path,
    find: Callable[[str, str], Path | None],
) -> list[str]:
    """Give a new training its starting weights; one that goes on in `folder` needs none.

    Args:
        network: gets the weights.
        cfg: says what the encoder starts from.
        options: may name other weights.
        folder: of the checkpoints.
        find: PRETRAIN_TYPE and TYPE of the encoder -> the file to take where no option names
            one, or None to do without.

    Returns:
        lines about it.

    Raises:
        CheckpointError: the weights cannot be had, or are of another network.
    """
    kind, encoder = cfg.model.encoder.pretrain_type, cfg.model.encoder.type
    if can_go_on(folder):
        given = {"--init-from": options.init_from, "--pretrained": options.pretrained}
        ignored = [name for name, path in given.items() if path is not None]
        return [f"{name} is ignored: the training in {folder} goes on" for name in ignored]
    if options.init_from is not None:
        load_weights(network, options.init_from)
        digest = sha256_of(options.init_from)
        return [f"the network starts from {options.init_from} (sha256 {digest})"]
    if kind == "scratch":
        return ["the network starts from random weights"]
    found: Path | None
    if options.pretrained is not None:
        found = find_pretrained(kind, encoder, options.pretrained)
    else:
        found = find(kind, encoder)
    return [] if found is None else [_load_encoder(network, cfg, found)]


def _load_encoder(network: SeqTrack, cfg: Config, path: Path) -> str:
    """Start the encoder from a pre-trained one; returns a line about it.

    Raises:
        CheckpointError: the file is of another encoder.
    """
    patch = cfg.model.encoder.geometry.patch_size
    sides = (cfg.data.search.size // patch, cfg.data.template.size // patch)
    load_pretrained_encoder(network.encoder.body, path, *sides)
    return f"the encoder starts from {path} (sha256 {sha256_of(path)})"


def wrapped(objective: Objective, world: World, compiled: bool) -> nn.Module:
    """The objective as a step calls it: for several processes, and compiled if that is wanted.

    Raises:
        ConfigError: it cannot be compiled here.
    """
    forward: nn.Module = objective
    if world.size > 1:
        # Once: most are constants, and batch norm's statistics are read in evaluation mode alone,
        # where the module is frozen or `Validator` takes those of the main process.
        world.take_from_main(objective.buffers())
        forward = DistributedDataParallel(
            objective,
            device_ids=[world.device] if world.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            **{_SYNC_BUFFERS: False},
        )
    if not compiled:
        return forward
    _check_compiler(world.device)
    return torch.compile(forward)


def _check_compiler(device: torch.device) -> None:
    """Find out now, not in the first step, whether torch.compile has what it needs.

    Raises:
        ConfigError: it has not.
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"--compile needs a C++ compiler, and there is no {compiler}; install one, name yours "
            "in the environment variable CXX, or leave --compile out"
        )
    if device.type != "cuda":
        return
    try:
        torch.compile(torch.sin)(torch.ones(3, device=device))
    # Its stages raise whatever they like: no Triton, no C compiler for it, a GPU too old.
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"--compile does not work here ({reason}); leave it out") from None
