"""The training loop: `fit` is the whole of it, `train_epoch` one epoch.

One process and many on many machines run the same lines. What decides a step, that is samples,
learning rate and dropout, is a function of the configuration, the seed and the position in the
training; so a training that goes on from a checkpoint does what it would have done.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.train.checkpoint import place, restore, save_epoch, save_final, save_interrupt
from lib.train.data.loader import Batch, training_batches
from lib.train.logging.nonfinite import dump_batches, non_finite_weights
from lib.train.logging.record import note_validation, validated_epoch
from lib.train.optim import set_learning_rate
from lib.train.run import Position, Run
from lib.train.signals import SIGNALS, StopRequest
from lib.train.stepper import NonFiniteLoss, StepResult
from lib.utils.errors import counted

Batches = Iterator[tuple[int, int, Batch]]

# Where several processes train: steps from one exchange of counts and signals to the next. In each
# exchange all wait for the slowest, and a signal may wait for so many steps.
MEETING_STEPS = 8
_RARE = ("redraws", "broken")


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
    with (
        _dumping(run),
        StopRequest() as stop,
        contextlib.closing(_batches(run, position)) as batches,
    ):
        if not position.samples and _lacks_validation(run, position.epoch):
            _validate(run, position.epoch, stop)
        while position.epoch < epochs:
            position = train_epoch(run, position, batches, stop)
            path = save_epoch(run, position)
            run.log.epoch(position.epoch)
            if number := run.world.highest(stop.number):
                _leave(run, stop, number, position, path)
            if _wants_validation(run, position.epoch):
                _validate(run, position.epoch, stop)
    path = save_final(run, position)
    run.log.say(f"finished after {counted(position.epoch, 'epoch')}; the weights are {path}")


def train_epoch(run: Run, position: Position, batches: Batches, stop: StopRequest) -> Position:
    """Train from `position` to the end of its epoch; returns where that is."""
    epoch, total = position.epoch + 1, run.batches
    accumulate = run.cfg.train.accumulate
    done = position.samples // run.samples_per_batch
    counts, events = Counter[str](), dict.fromkeys(_RARE, 0)
    run.objective.train()
    while done < total:
        started = time.perf_counter()
        parts = [next(batches)[2] for _ in range(min(accumulate, total - done))]
        loaded = time.perf_counter()
        result = _step(run, position, done, parts)
        done += len(parts)
        samples, step = done * run.samples_per_batch, position.step + 1
        position = Position(epoch - 1, samples, step) if done < total else Position(epoch, 0, step)
        counts["redraws"] += sum(part.redraws for part in parts)
        counts["broken"] += sum(len(part.broken) for part in parts)
        if done == total:
            run.stepper.settle()
            events, _ = _meet(run, stop, counts)
        run.log.step(
            epoch,
            -(-done // accumulate),
            run.steps_per_epoch,
            _values(run, result),
            samples=len(parts) * run.samples_per_batch,
            data_seconds=loaded - started,
            compute_seconds=time.perf_counter() - loaded,
            events={**events, "skipped": int(not result.applied)},
        )
        events = dict.fromkeys(_RARE, 0)
        if done < total and (run.world.size == 1 or step % MEETING_STEPS == 0):
            events, number = _meet(run, stop, counts)
            if number:
                _leave(run, stop, number, position)
    return position


def _meet(run: Run, stop: StopRequest, counts: Counter[str]) -> tuple[dict[str, int], int]:
    """Exchange, in one message, what must not take two.

    Args:
        run: the training.
        stop: whether this process was told to leave.
        counts: how often what should be rare happened here since the last time; is emptied.

    Returns:
        The counts of all processes (see `QuietLog.step`), and the signal that any of them got.
    """
    stops = [int(stop.number == number) for number in SIGNALS]
    totals = run.world.totals([*(counts[name] for name in _RARE), *stops])
    counts.clear()
    arrived = [n for n, times in zip(SIGNALS, totals[len(_RARE) :], strict=True) if times]
    return dict(zip(_RARE, totals, strict=False)), max(arrived, default=0)


def _step(run: Run, position: Position, done: int, parts: Sequence[Batch]) -> StepResult:
    """One optimizer step on `parts`, after `done` batches of the epoch."""
    epoch = position.epoch + 1
    progress = (position.epoch + done / run.batches) / run.cfg.train.epoch
    set_learning_rate(run.optimizer, run.cfg, epoch, position.step, progress)
    torch.manual_seed(dropout_seed(run.seed, epoch, done, run.world.rank))
    on_device = [part.to(run.world.device, non_blocking=True) for part in parts]
    return run.stepper.step(on_device, progress, note=(position, done, parts))


@contextlib.contextmanager
def _dumping(run: Run) -> Iterator[None]:
    """Write the batch that a step stumbled over; it may be the step before the running one.

    Raises:
        NonFiniteLoss: that of the block, with the place of the dump.
    """
    try:
        yield
    except NonFiniteLoss as error:
        raise NonFiniteLoss(f"{error}; {_dump(run, *error.note, what=error)}") from None


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
    return due and run.world.on_main(lambda: validated_epoch(run.folder)) != epoch


def _validate(run: Run, epoch: int, stop: StopRequest) -> None:
    if run.validate is None:
        return
    # The state is safe, and a validation may take longer than anyone waits.
    with stop.at_once():
        run.log.validation(epoch, run.validate(epoch))
    if run.world.is_main:
        try:
            note_validation(run.folder, epoch)
        except OSError as error:
            # It would be made once more. A full disk ends the training where it saves.
            run.log.warn(f"{run.folder}: {error.strerror or error}; validation is not on record")


def _leave(
    run: Run, stop: StopRequest, number: int, position: Position, saved: Path | None = None
) -> None:
    """Leave for a signal, all processes together, after saving what is not `saved`."""
    run.stepper.settle()
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
