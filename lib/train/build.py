"""From a configuration to a `Run`: samples, model, starting weights, optimizer, log."""

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
from lib.models.pretrained import fetch_pretrained, find_pretrained
from lib.models.weights import load_weights
from lib.train.checkpoint import CheckpointFolder, Checkpoints, TrainState
from lib.train.data.sampler import TrackingSampler, build_sampler
from lib.train.ema import Ema
from lib.train.logging.log import QuietLog, Say, TrainingLog, warnings_in
from lib.train.logging.record import environment_info
from lib.train.loop import Run
from lib.train.losses.objective import Objective, build_objective
from lib.train.model import TrackerModel
from lib.train.optim import build_optimizer
from lib.train.precision import Precision
from lib.train.teacher import load_teacher
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
    """What the command line says besides the configuration."""

    seed: int = 0  # of the weights, the samples and dropout
    init_from: Path | None = None  # weights to start from
    pretrained: Path | None = None  # file of the pre-trained encoder, or its folder
    compiled: bool = False
    command: Sequence[str] = ()  # the command line, for the records


def prepare(
    cfg: Config,
    options: Options,
    paths: Paths,
    world: World,
    log: QuietLog,
    closed_loop: Scorer | None = None,
) -> Run:
    """Everything that `fit` needs; nothing of it is trained or restored yet.

    `closed_loop` scores the tracker on sequences; all processes have one, or none has.

    Raises:
        ConfigError: options or keys that do not go together.
        DataError: a training or validation set cannot be used.
        CheckpointError: the starting weights cannot be had.
    """
    check_options(cfg, options)
    # All processes open the same sets: one of them warns of what is wrong with these.
    with warnings_in(log if world.is_main else None):
        sampler, held_out = open_samplers(cfg, options, paths, world)
    run = assemble(cfg, options, paths, world, sampler, log, fetch_pretrained)
    pictured = held_out or sampler
    run.validate = Validator(cfg, run.state, world, log, held_out, pictured, closed_loop)
    if isinstance(log, TrainingLog):
        log.watch(run.state.optimizer)
    return run


def check_options(cfg: Config, options: Options) -> None:
    """Refuse options that would have no effect (ConfigError)."""
    if options.pretrained is not None:
        if options.init_from is not None:
            raise ConfigError("--init-from brings the whole network; leave --pretrained out")
        if cfg.model.encoder.pretrain_type == "scratch":
            raise ConfigError(
                "--pretrained does nothing where MODEL.ENCODER.PRETRAIN_TYPE is scratch; "
                "set it to mae or default"
            )


def checkpoint_folder(cfg: Config, paths: Paths) -> CheckpointFolder:
    """Where a training of the configuration has its checkpoints."""
    return CheckpointFolder(paths.checkpoint_dir(cfg.name), Objective.name)


def open_log(cfg: Config, paths: Paths, world: World, say: Say) -> QuietLog:
    if not world.is_main:
        return QuietLog(say)
    return TrainingLog(
        text_file=paths.log_dir / f"seqtrack-{cfg.name}.log",
        curves=paths.curves_dir(cfg.name),
        epochs=cfg.train.epoch,
        print_interval=cfg.train.print_interval,
        say=say,
    )


def assemble(
    cfg: Config,
    options: Options,
    paths: Paths,
    world: World,
    sampler: TrackingSampler,
    log: QuietLog,
    find: Callable[[str, str], Path | None],
) -> Run:
    """A run of SeqTrack without validation; see `load_start` for `find`."""
    files = checkpoint_folder(cfg, paths)
    teacher = load_teacher(cfg, paths, world.device)
    model = build_objective(cfg, options.seed, teacher)
    if world.is_main:
        for line in load_start(model, cfg, options, files, find):
            log.say(line)
    if cfg.train.lora_rank:
        model.add_low_rank(cfg.train.lora_rank, options.seed)
    model.to(world.device)
    optimizer = build_optimizer(model, cfg)
    module = wrapped(model, world, options.compiled)
    # After the wrap: only now all processes have the weights of the main one.
    ema = Ema(model.inference(), cfg.train.ema_decay) if cfg.train.ema_decay else None
    state = TrainState(model, optimizer, Precision(cfg.train.precision, world.device), ema)
    identity = None if teacher is None else teacher.identity
    facts = {**environment_info(options.command, world), "teacher": identity}
    return Run(
        cfg=cfg,
        state=state,
        module=module,
        checkpoints=Checkpoints(files.path, cfg, state, world, log, options.seed, facts, identity),
        sampler=sampler,
        world=world,
        log=log,
        log_dir=paths.log_dir,
        validate=None,
        seed=options.seed,
    )


def load_start(
    model: TrackerModel,
    cfg: Config,
    options: Options,
    files: CheckpointFolder,
    find: Callable[[str, str], Path | None],
) -> list[str]:
    """Give a new training its starting weights; one that goes on needs none.

    `find`: PRETRAIN_TYPE and TYPE of the encoder -> the file to take where no option names one, or
    None to do without. Returns lines about it.

    Raises:
        CheckpointError: the weights cannot be had, or are of another network.
    """
    kind, encoder = cfg.model.encoder.pretrain_type, cfg.model.encoder.type
    if files.can_go_on():
        given = {"--init-from": options.init_from, "--pretrained": options.pretrained}
        ignored = [name for name, path in given.items() if path is not None]
        return [f"{name} is ignored: the training in {files.path} goes on" for name in ignored]
    if options.init_from is not None:
        start = load_weights(model.inference(), options.init_from, any_crop_size=True)
        lines = [f"the network starts from {start.path} (sha256 {sha256_of(start.path)})"]
        if start.resized:
            lines.append("its positions are resized: it was trained with crops of other sizes")
        return lines
    if kind == "scratch":
        return ["the network starts from random weights"]
    if options.pretrained is not None:
        found: Path | None = find_pretrained(kind, encoder, options.pretrained)
    else:
        found = find(kind, encoder)
    if found is None:
        return []
    model.load_encoder(found)
    return [f"the encoder starts from {found} (sha256 {sha256_of(found)})"]


def wrapped(model: TrackerModel, world: World, compiled: bool) -> nn.Module:
    """The model as a step calls it: for several processes, and compiled if that is wanted.

    Raises:
        ConfigError: it cannot be compiled here.
    """
    forward: nn.Module = model
    if world.size > 1:
        # Once: most are constants, and batch norm's statistics are read in evaluation mode alone,
        # where the module is frozen or `Validator` takes those of the main process.
        world.broadcast(model.buffers())
        forward = DistributedDataParallel(
            model,
            device_ids=[world.device] if world.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            **{_SYNC_BUFFERS: False},
        )
    if not compiled:
        return forward
    _check_compiler(world.device)
    return torch.compile(forward)


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


def _check_compiler(device: torch.device) -> None:
    """Find out now, not in the first step, whether torch.compile has what it needs."""
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
