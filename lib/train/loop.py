"""The training loop: `fit` is the whole of it, `train_epoch` one epoch.

One process and many on many machines run the same lines. What decides a step, that is samples,
learning rate and dropout, is a function of the configuration, the seed and the position in the
training; so a training that goes on from a checkpoint does what it would have done.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.train.data import Batch, training_batches
from lib.train.dump import dump_batches, non_finite_weights
from lib.train.optim import set_learning_rate
from lib.train.run import Position, Run
from lib.train.state import place, restore, save_epoch, save_final, save_interrupt
from lib.train.stepper import NonFiniteLoss, StepResult
from lib.train.stop import StopRequest
from lib.utils.errors import counted

Batches = Iterator[tuple[int, int, Batch]]


def fit(run: Run) -> None:
    """Train to the last epoch, from the newest checkpoint in the folder of the run or the start.

    SIGTERM and Ctrl-C let the running step end and save; then they do what they did before.

    Raises:
        CheckpointError: the checkpoints in the folder cannot be used.
        NonFiniteLoss: a loss was no number; the message names the dump of the batch.
        PartialFailure: a checkpoint could not be saved, or another process of the run died.
    """
    position = restore(run)
    epochs = run.cfg.train.epoch
    with StopRequest() as stop, contextlib.closing(_batches(run, position)) as batches:
        if not position.samples and _lacks_validation(run, position.epoch):
            _validate(run, position.epoch, stop)
        while position.epoch < epochs:
            position = train_epoch(run, position, batches, stop)
            path = save_epoch(run, position)
            run.log.epoch(position.epoch)
            _leave_if_asked(run, stop, position, path)
            if _wants_validation(run, position.epoch):
                _validate(run, position.epoch, stop)
    path = save_final(run, position)
    run.log.say(f"finished after {counted(position.epoch, 'epoch')}; the weights are {path}")


def train_epoch(run: Run, position: Position, batches: Batches, stop: StopRequest) -> Position:
    """Train from `position` to the end of its epoch; returns where that is."""
    epoch, total = position.epoch + 1, run.batches
    accumulate = run.cfg.train.accumulate
    done = position.samples // run.samples_per_batch
    run.objective.train()
    while done < total:
        started = time.perf_counter()
        parts = [next(batches)[2] for _ in range(min(accumulate, total - done))]
        loaded = time.perf_counter()
        result = _step(run, position, done, parts)
        done += len(parts)
        samples, step = done * run.samples_per_batch, position.step + 1
        position = Position(epoch - 1, samples, step) if done < total else Position(epoch, 0, step)
        run.log.step(
            epoch,
            -(-done // accumulate),
            run.steps_per_epoch,
            _values(run, result),
            samples=len(parts) * run.samples_per_batch,
            data_seconds=loaded - started,
            compute_seconds=time.perf_counter() - loaded,
            events=_events(run, parts, result),
        )
        if done < total:
            _leave_if_asked(run, stop, position)
    return position


def _events(run: Run, parts: Sequence[Batch], result: StepResult) -> dict[str, int]:
    """How often what should be rare happened in a step; see `QuietLog.step`."""
    redraws, broken = run.world.totals(
        [sum(part.redraws for part in parts), sum(len(part.broken) for part in parts)]
    )
    return {"redraws": redraws, "broken": broken, "skipped": int(not result.applied)}


def _step(run: Run, position: Position, done: int, parts: Sequence[Batch]) -> StepResult:
    """One optimizer step on `parts`, after `done` batches of the epoch."""
    epoch = position.epoch + 1
    progress = (position.epoch + done / run.batches) / run.cfg.train.epoch
    set_learning_rate(run.optimizer, run.cfg, epoch, position.step, progress)
    torch.manual_seed(dropout_seed(run.seed, epoch, done, run.world.rank))
    on_device = [part.to(run.world.device, non_blocking=True) for part in parts]
    try:
        return run.stepper.step(on_device, progress)
    except NonFiniteLoss as error:
        raise NonFiniteLoss(f"{error}; {_dump(run, position, done, parts, error)}") from None


def dropout_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Where torch's random numbers of one step start, so that no state of them has to be kept."""
    return int(np.random.SeedSequence((seed, epoch, batch, rank)).generate_state(1, np.uint64)[0])


def _batches(run: Run, position: Position) -> Batches:
    return training_batches(
        run.sampler,
        epochs=run.cfg.train.epoch,
        samples_per_epoch=run.cfg.data.train.sample_per_epoch,
        batch_size=run.cfg.train.batch_size,
        rank=run.world.rank,
        world=run.world.size,
        workers=run.workers,
        start_epoch=position.epoch + 1,
        start_batch=position.samples // run.samples_per_batch,
        pin_memory=run.world.device.type == "cuda",
    )


def _values(run: Run, result: StepResult) -> dict[str, Tensor]:
    """What is logged: means over the processes, still on the device."""
    values = result.terms
    if result.applied:  # the gradients of a step that fp16 skips have no norm
        values = {**values, "grad_norm": result.grad_norm}
    return run.world.mean(values)


def _wants_validation(run: Run, epoch: int) -> bool:
    train = run.cfg.train
    return epoch % train.val_epoch_interval == 0 or epoch == train.epoch


def _lacks_validation(run: Run, epoch: int) -> bool:
    """Whether a signal came before the validation that was due after an epoch was done."""
    due = epoch > 0 and run.validate is not None and _wants_validation(run, epoch)
    # Only the main process keeps a log to look into.
    lacks = due and run.world.is_main and not run.log.has_validation(epoch)
    return bool(run.world.highest(int(lacks)))


def _validate(run: Run, epoch: int, stop: StopRequest) -> None:
    if run.validate is not None:
        # The state is safe, and a validation may take longer than anyone waits.
        with stop.at_once():
            run.log.validation(epoch, run.validate(epoch))


def _leave_if_asked(
    run: Run, stop: StopRequest, position: Position, saved: Path | None = None
) -> None:
    """Leave all processes together if any was told to, after saving what is not `saved`."""
    number = run.world.highest(stop.number)
    if number:
        path = saved or save_interrupt(run, position)
        run.log.say(f"stopped {place(position)}; {path} is saved, the same command goes on")
        stop.act(number)


def _dump(run: Run, position: Position, done: int, parts: Sequence[Batch], what: object) -> str:
    """Write the offending batch; returns where, in words."""
    process = f"-process{run.world.rank}" if run.world.size > 1 else ""
    epoch = position.epoch + 1
    folder = run.log_dir / f"nonfinite-{run.cfg.name}-ep{epoch:04d}-step{position.step}{process}"
    facts = {
        "what": str(what),
        "epoch": epoch,
        "batch": done,
        "step": position.step,
        "seed": run.seed,
        "non_finite_weights": non_finite_weights(run.objective.network),
    }
    try:
        dump_batches(folder, parts, facts)
    except OSError as error:
        return f"the batch could not be written to {folder} ({error.strerror or error})"
    return f"the batch is in {folder}; a smaller TRAIN.LR or another precision may help"
