"""The training loop: `fit` is the whole training, `train_epoch` one epoch, `train_step` one step.

One process and many on many machines run the same lines. What decides a step, that is samples,
learning rate and dropout, is a function of the configuration, the seed and the position in the
training; so a training that goes on from a checkpoint does what it would have done.
"""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.train.checkpoint import Checkpoints, Position, TrainState
from lib.train.data.loader import Batch, Loading, training_batches
from lib.train.data.sampler import TrackingSampler
from lib.train.early_stop import best_epoch, keep_best
from lib.train.ema import Ema
from lib.train.logging.log import QuietLog
from lib.train.logging.nonfinite import dump_batches, non_finite_weights
from lib.train.logging.record import note_validation, validated_epoch
from lib.train.optim import set_learning_rate
from lib.train.precision import NonFiniteLoss, Precision
from lib.train.signals import SIGNALS, StopRequest
from lib.utils.distributed import World
from lib.utils.errors import counted

Batches = Iterator[tuple[int, int, Batch]]

# Where several processes train: steps from one exchange of counts and signals to the next. In each
# exchange all wait for the slowest, and a signal may wait for so many steps.
MEETING_STEPS = 8
_RARE = ("redraws", "broken")


@dataclass
class Run:
    """What `fit` works with, on its device already."""

    cfg: Config
    state: TrainState  # what learns
    module: nn.Module  # `state.model` as a step calls it: as it is, or in DDP, or compiled
    checkpoints: Checkpoints
    sampler: TrackingSampler
    world: World
    log: QuietLog
    log_dir: Path  # where the dump of an offending batch goes
    # Epoch -> named values; runs in all processes. None: nothing to validate on.
    validate: Callable[[int], dict[str, float]] | None
    seed: int  # of the samples and of dropout


class StepResult(NamedTuple):
    """What one optimizer step did."""

    terms: dict[str, Tensor]  # scalars of the model without gradients, means over the parts
    grad_norm: Tensor  # of all gradients before clipping
    # Whether the weights moved: fp16 skips steps. One whose numbers are still to be checked counts
    # as applied.
    applied: bool


def fit(run: Run) -> None:
    """Train to the last epoch, from the newest checkpoint in the folder of the run or the start.

    SIGTERM and Ctrl-C let the running step end and save; then they do what they did before.

    Raises:
        CheckpointError: the checkpoints in the folder cannot be used.
        NonFiniteLoss: a loss was no number; the message names the dump of the batch.
        PartialFailure: a checkpoint could not be saved, or another process of the run died.
    """
    position = run.checkpoints.restore()
    epochs = run.cfg.train.epoch
    with (
        _dumping(run),
        StopRequest() as stop,
        contextlib.closing(_batches(run, position)) as batches,
    ):
        if not position.samples and _lacks_validation(run, position.epoch):
            _validate(run, position.epoch, stop)
        while position.epoch < epochs and not _gives_up(run, position.epoch):
            position = train_epoch(run, position, batches, stop)
            path = run.checkpoints.save_epoch(position)
            run.log.epoch(position.epoch)
            if number := run.world.all_reduce_max(stop.number):
                _leave(run, stop, number, position, path)
            _validate(run, position.epoch, stop)
    best = _best_epoch(run)
    path = run.checkpoints.save_final(position, best is not None)
    which = "" if best is None else f", of epoch {best}, whose validation was the best"
    which = ": those of the start, for no epoch was better" if best == 0 else which
    run.log.say(f"finished after {counted(position.epoch, 'epoch')}; the weights are {path}{which}")


def train_epoch(run: Run, position: Position, batches: Batches, stop: StopRequest) -> Position:
    """Train from `position` to the end of its epoch; returns where that is."""
    cfg, world, state, plan = run.cfg.train, run.world, run.state, run.checkpoints.plan
    epoch, done = position.epoch + 1, position.samples // plan.batch
    counts, events = Counter[str](), dict.fromkeys(_RARE, 0)
    state.model.train()
    while done < plan.batches:
        started = time.perf_counter()
        parts = [next(batches)[2] for _ in range(min(cfg.accumulate, plan.batches - done))]
        loaded = time.perf_counter()
        progress = (epoch - 1 + done / plan.batches) / cfg.epoch
        set_learning_rate(state.optimizer, run.cfg, epoch, position.step, progress)
        torch.manual_seed(dropout_seed(run.seed, epoch, done, world.rank))
        on_device = [part.to(world.device, non_blocking=True) for part in parts]
        result = train_step(
            run.module, state.optimizer, state.precision, on_device, progress,
            clip_norm=cfg.grad_clip_norm, ema=state.ema, note=(position, done, parts),
        )  # fmt: skip
        done, step = done + len(parts), position.step + 1
        last = done == plan.batches
        position = (
            Position(epoch, 0, step) if last else Position(epoch - 1, done * plan.batch, step)
        )
        counts["redraws"] += sum(part.redraws for part in parts)
        counts["broken"] += sum(len(part.broken) for part in parts)
        if last:
            state.precision.settle()
            events, _ = _meet(world, stop, counts)
        # The gradients of a step that fp16 skips have no norm.
        values = result.terms | ({"grad_norm": result.grad_norm} if result.applied else {})
        run.log.step(
            epoch, -(-done // cfg.accumulate), plan.steps, world.mean(values),
            samples=len(parts) * plan.batch,
            data_seconds=loaded - started,
            compute_seconds=time.perf_counter() - loaded,
            events={**events, "skipped": int(not result.applied)},
        )  # fmt: skip
        events = dict.fromkeys(_RARE, 0)
        if not last and (world.size == 1 or step % MEETING_STEPS == 0):
            events, number = _meet(world, stop, counts)
            if number:
                _leave(run, stop, number, position)
    return position


def train_step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    parts: Sequence[Batch],
    progress: float,
    *,
    clip_norm: float = 0.0,
    ema: Ema | None = None,
    note: Any = None,
) -> StepResult:
    """One optimizer step on a batch that comes in one or more parts of the same size.

    Args:
        module: a `TrackerModel`, as it is, compiled or in DistributedDataParallel.
        optimizer: with the learning rates of this step.
        precision: of the forward pass; checks that loss and gradients are finite.
        parts: on the device.
        progress: share of the training that is done, 0 to 1.
        clip_norm: largest norm of all gradients; 0 clips nothing.
        note: comes back in the error where this step has bad numbers.

    Raises:
        NonFiniteLoss: of this step or of the one before; the weights are as before that one.
    """
    optimizer.zero_grad(set_to_none=True)
    # A tensor, or a compiled module is compiled again; filled on the device: a copy would wait.
    reached = torch.full((), progress, device=precision.device)
    share, sums = 1.0 / len(parts), {}
    with precision.tf32():
        for i, part in enumerate(parts):
            # Processes exchange gradients in the last backward pass of a step alone.
            apart = i < len(parts) - 1 and hasattr(module, "no_sync")
            with module.no_sync() if apart else contextlib.nullcontext():  # type: ignore[operator]
                with precision.autocast():
                    terms = module(part, reached)
                precision.scaler.scale(terms["total"] * share).backward()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach() * share
    precision.scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    # An infinite limit clips nothing, but the norm is wanted all the same.
    grad_norm = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf)
    applied = precision.check(optimizer, sums, grad_norm, note)
    precision.scaler.step(optimizer)
    precision.scaler.update()
    if applied and ema is not None:
        # After a late step with bad numbers it is wrong, but the training ends before it is saved.
        ema.update()
    return StepResult(sums, grad_norm, applied)


def dropout_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Where torch's random numbers of one step start, so that no state of them has to be kept."""
    return int(np.random.SeedSequence((seed, epoch, batch, rank)).generate_state(1, np.uint64)[0])


def _meet(world: World, stop: StopRequest, counts: Counter[str]) -> tuple[dict[str, int], int]:
    """Exchange, in one message, what must not take two; `counts` are emptied.

    Returns:
        The counts of all processes (see `QuietLog.step`), and the signal that any of them got.
    """
    stops = [int(stop.number == number) for number in SIGNALS]
    sums = world.all_reduce_sum([*(counts[name] for name in _RARE), *stops])
    counts.clear()
    arrived = [n for n, times in zip(SIGNALS, sums[len(_RARE) :], strict=True) if times]
    return dict(zip(_RARE, sums, strict=False)), max(arrived, default=0)


def _batches(run: Run, position: Position) -> Batches:
    return training_batches(
        run.sampler,
        Loading.of(run.cfg, run.world),
        epochs=run.cfg.train.epoch,
        samples_per_epoch=run.cfg.data.train.sample_per_epoch,
        start_epoch=position.epoch + 1,
        start_batch=position.samples // run.checkpoints.plan.batch,
    )


def _lacks_validation(run: Run, epoch: int) -> bool:
    """Whether a signal came before the validation that was due after an epoch was done."""
    if run.validate is None:
        return False
    if not epoch:
        # What the first epoch has to be better than.
        return run.cfg.train.early_stop > 0
    return run.world.on_main(lambda: validated_epoch(run.checkpoints.folder)) != epoch


def _validate(run: Run, epoch: int, stop: StopRequest) -> None:
    """Validate, if that is due."""
    train = run.cfg.train
    if run.validate is None or (epoch % train.val_epoch_interval and epoch != train.epoch):
        return
    # The state is safe, and a validation may take longer than anyone waits.
    with stop.at_once():
        values = run.validate(epoch)
        run.log.validation(epoch, values)
    if run.cfg.train.early_stop:
        keep_best(run.checkpoints, run.world, epoch, values)
    if run.world.is_main:
        folder = run.checkpoints.folder
        try:
            note_validation(folder, epoch)
        except OSError as error:
            # It would be made once more. A full disk ends the training where it saves.
            run.log.warn(f"{folder}: {error.strerror or error}; validation is not on record")


def _best_epoch(run: Run) -> int | None:
    """The epoch whose weights are published, where TRAIN.EARLY_STOP chooses it."""
    if not run.cfg.train.early_stop or run.validate is None:
        return None
    return best_epoch(run.checkpoints, run.world)


def _gives_up(run: Run, epoch: int) -> bool:
    """Whether TRAIN.EARLY_STOP epochs went by since the best validation."""
    best = _best_epoch(run)
    return epoch > 0 and best is not None and epoch - best >= run.cfg.train.early_stop


def _leave(
    run: Run, stop: StopRequest, number: int, position: Position, saved: Path | None = None
) -> None:
    """Leave for a signal, all processes together, after saving what is not `saved`."""
    run.state.precision.settle()
    path = saved or run.checkpoints.save_interrupt(position)
    run.log.say(f"stopped {position}; {path} is saved, the same command goes on")
    stop.act(number)


@contextlib.contextmanager
def _dumping(run: Run) -> Iterator[None]:
    """Write the batch of a step with bad numbers, which may be the step before the running one."""
    try:
        yield
    except NonFiniteLoss as error:
        position, done, parts = error.note
        process = f"-process{run.world.rank}" if run.world.size > 1 else ""
        name = f"nonfinite-{run.cfg.name}-ep{position.epoch + 1:04d}-step{position.step}{process}"
        facts = {
            "what": str(error),
            "epoch": position.epoch + 1,
            "batch": done,
            "step": position.step,
            "seed": run.seed,
            "non_finite_weights": non_finite_weights(run.state.model.inference()),
        }
        folder = run.log_dir / name
        where = f"the batch is in {folder}; a smaller TRAIN.LR or another precision may help"
        try:
            dump_batches(folder, parts, facts)
        except OSError as fault:
            reason = fault.strerror or fault
            where = f"the batch could not be written to {folder} ({reason})"
        raise NonFiniteLoss(f"{error}; {where}") from None
