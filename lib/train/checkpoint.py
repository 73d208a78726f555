"""Training checkpoints: what is in them, when they are written and kept, and going on from one.

    SEQTRACK_ep0012.pth.tar      after every epoch; the last ten and every tenth stay
    SEQTRACK_interrupt.pth.tar   in the middle of an epoch, at SIGTERM or Ctrl-C; for training only
    SEQTRACK.pth.tar             at the end: weights only

The fields are those of the reference trainer; what it did not need is in `resume`. Learning
rates, samples and dropout depend on the position in the training alone: nothing of them is kept.
All files are in the folder of the run, and no other folder is looked at. The main process alone
reads and writes them; what it has read goes to the others tensor by tensor.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lib.config.schema import Config
from lib.models.weights import FINAL_NAMES, epoch_checkpoints, state_differences
from lib.train.logging.record import RECORD_NAME, last_start, note_validation, validated_epoch
from lib.train.optim import restore_optimizer, share_optimizer
from lib.train.run import Position, Run
from lib.utils.checkpoint import load_tensors, read_checkpoint, save_checkpoint, weights_in
from lib.utils.errors import CheckpointError, PartialFailure, counted
from lib.utils.files import remove_temporaries

INTERRUPT_NAME = "SEQTRACK_interrupt.pth.tar"
_NET_TYPE = "SEQTRACK"
# Weights among what trackers do not read.
_RESUMED = ("net", "heads")
_KEPT_LAST = 10
_KEPT_EVERY = 10
_CHANGES_SHOWN = 5
# Keys that change no weight, or that the message names anyway.
_NO_MATTER = (
    "TEST.",
    "DATA.VAL.",
    "TRAIN.EPOCH",
    "TRAIN.NUM_WORKER",
    "TRAIN.PRINT_INTERVAL",
    "TRAIN.VAL_EPOCH_INTERVAL",
    "MODEL.ENCODER.USE_CHECKPOINT",
)
_ADVICE = "to train anew from its weights, give --init-from and another --save_dir"


def save_epoch(run: Run, position: Position) -> Path:
    """Write the checkpoint of a complete epoch, then remove those that it makes superfluous.

    Returns:
        the file.

    Raises:
        PartialFailure: it could not be written; nothing was removed.
    """
    path = run.folder / f"SEQTRACK_ep{position.epoch:04d}.pth.tar"
    _write(run, path, lambda: _content(run, position))
    if run.world.is_main:
        (run.folder / INTERRUPT_NAME).unlink(missing_ok=True)
        epochs = epoch_checkpoints(run.folder)
        for number in sorted(epochs)[:-_KEPT_LAST]:
            if number % _KEPT_EVERY:
                epochs[number].unlink(missing_ok=True)
    return path


def save_interrupt(run: Run, position: Position) -> Path:
    """Write the checkpoint of an incomplete epoch; returns the file.

    Raises:
        PartialFailure: it could not be written.
    """
    path = run.folder / INTERRUPT_NAME
    _write(run, path, lambda: _content(run, position))
    return path


def save_final(run: Run, position: Position) -> Path:
    """Write the weights alone, the averaged ones if there are; returns the file.

    Raises:
        PartialFailure: it could not be written.
    """
    path = run.folder / FINAL_NAMES[0]
    weights = {"epoch": position.epoch, "net_type": _NET_TYPE}
    _write(run, path, lambda: {**weights, "net": _published(run)})
    return path


def can_go_on(folder: Path) -> bool:
    """Whether a training in `folder` would be continued."""
    return bool(epoch_checkpoints(folder)) or (folder / INTERRUPT_NAME).is_file()


def finished(folder: Path, cfg: Config, seed: int | None = None) -> str | None:
    """A sentence about the finished training in `folder`, or None if there is work to do.

    Args:
        folder: of the checkpoints.
        cfg: what is to be trained.
        seed: of the training; None: whatever it was.

    Raises:
        CheckpointError: there are final weights that were not trained there (as when they were
            downloaded), or with other settings, or there is nothing to go on from: a new training
            would overwrite them.
    """
    path = folder / FINAL_NAMES[0]
    if not path.is_file():
        return None
    goes_on = can_go_on(folder)
    if not goes_on and not (folder / RECORD_NAME).is_file():
        raise _would_be_lost(path, "weights but no training")
    try:
        epoch = read_checkpoint(path).epoch
    except CheckpointError:
        if not goes_on:
            raise
        return None
    if epoch is not None and epoch >= cfg.train.epoch:
        newest = max(epoch_checkpoints(folder), default=0)
        if goes_on and newest < epoch:
            text = f"weights of epoch {epoch}, the newest checkpoint beside it is of epoch {newest}"
            raise _would_be_lost(path, text)
        _check_settings(path, cfg, seed, epoch)
        return f"{path}: this training is finished ({counted(epoch, 'epoch')}); nothing to do"
    if not goes_on:
        raise _would_be_lost(path, "weights but nothing to go on from")
    return None


def _check_settings(path: Path, cfg: Config, seed: int | None, epoch: int) -> None:
    """Refuse to call a training finished that was another one.

    Raises:
        CheckpointError: its settings are on record and differ.
    """
    start = last_start(path.parent)
    if start is None:
        return
    before, facts = start
    now = {"config": _values(cfg)} | ({} if seed is None else {"seed": seed})
    changes = _changes({**facts, "config": _values(before)}, now, _NO_MATTER)
    if changes:
        raise CheckpointError(
            f"{path}: a training is finished there ({counted(epoch, 'epoch')}), but another one: "
            f"{changes}; for this one give another --save_dir"
        )


def _would_be_lost(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds {what}, and a training there would overwrite them: start from them with "
        f"--init-from {path} and another --save_dir, or move them"
    )


def restore(run: Run) -> Position:
    """Go on from the newest usable checkpoint of the folder, if there is one.

    Raises:
        CheckpointError: checkpoints are there but none can be read; or the newest is of another
            network.
        SystemExit: the same, in the other processes.
    """
    position = run.world.on_main(lambda: _restore(run))
    if position != Position() and run.world.size > 1:
        _share(run)
    return position


def _restore(run: Run) -> Position:
    """Read the checkpoint, and strike what is on record about later epochs."""
    remove_temporaries(run.folder, "SEQTRACK*.pth.tar")
    found = _newest(run)
    position = Position() if found is None else _restore_from(run, *found)
    if validated_epoch(run.folder) > position.epoch:
        note_validation(run.folder, 0)  # that epoch will be trained again
    return position


def _share(run: Run) -> None:
    """Give all processes the state of the main one."""
    world = run.world
    world.take_from_main(run.objective.state_dict().values())
    share_optimizer(run.optimizer, world)
    run.stepper.load_state_dict(world.on_main(run.stepper.state_dict))
    if run.ema is not None:
        ema = run.ema
        ema.updates = world.on_main(lambda: ema.updates)
        world.take_from_main(ema.weights().values())


def _write(run: Run, path: Path, content: Callable[[], dict[str, Any]]) -> None:
    def write() -> None:
        try:
            save_checkpoint(path, content())
        except OSError as error:
            kept = epoch_checkpoints(run.folder)
            before = f"{kept[max(kept)].name} and before are whole" if kept else "none is there yet"
            raise PartialFailure(
                f"{path}: the checkpoint cannot be saved ({error.strerror or error}); {before}; "
                "make room and start again"
            ) from None

    run.world.on_main(write)


def _content(run: Run, position: Position) -> dict[str, Any]:
    resume = {
        "samples": position.samples,
        "step": position.step,
        "heads": _on_cpu(run.objective.heads.state_dict()),
        "stepper": _on_cpu(run.stepper.state_dict()),
    }
    if run.ema is not None:
        # `net` is what trackers read: the average. Training goes on with these.
        resume["net"] = _on_cpu(run.objective.network.state_dict())
        resume["ema_updates"] = run.ema.updates
    return {
        "epoch": position.epoch,
        "actor_type": "SeqTrackActor",
        "net_type": _NET_TYPE,
        "net": _published(run),
        "net_info": None,
        "constructor": None,
        "optimizer": _on_cpu(run.optimizer.state_dict()),
        "stats": {},
        "settings": {**run.settings, **_circumstances(run)},
        "resume": resume,
    }


def _published(run: Run) -> dict[str, Tensor]:
    network = run.objective.network
    return _on_cpu(network.state_dict() if run.ema is None else run.ema.weights())


def _circumstances(run: Run) -> dict[str, Any]:
    """What should be the same when a training goes on."""
    return {
        "config_name": run.cfg.name,
        "config": _values(run.cfg),
        "seed": run.seed,
        "processes": run.world.size,
    }


def _values(cfg: Config) -> dict[str, Any]:
    return cfg.model_dump(by_alias=True, mode="json")


def _on_cpu(value: Any) -> Any:
    """Tensors on the CPU, mappings as plain dictionaries."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value


def _newest(run: Run) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, with its content."""
    epochs = epoch_checkpoints(run.folder)
    paths = [epochs[number] for number in sorted(epochs, reverse=True)]
    interrupt = run.folder / INTERRUPT_NAME
    if interrupt.is_file():
        paths.insert(0, interrupt)
    for path in paths:
        try:
            content = _read(path)
        except CheckpointError as error:
            run.log.warn(f"{error}; going on from the checkpoint before it")
            continue
        # Left over where a run was killed right after it had saved the epoch.
        if path == interrupt and content["epoch"] < max(epochs, default=0):
            continue
        return path, content
    if paths:
        raise CheckpointError(
            f"{run.folder}: no checkpoint there can be read (see above); move them away to train "
            "from the start"
        )
    return None


def _read(path: Path) -> dict[str, Any]:
    content = load_tensors(path)
    if not isinstance(content, dict) or type(content.get("epoch")) is not int:
        raise CheckpointError(f"{path} does not say after which epoch it was written")
    if not isinstance(content.get("net"), dict):
        raise CheckpointError(f"{path} has no weights in a field 'net'")
    content["net"] = weights_in(path, content)
    if isinstance(resume := content.get("resume"), dict):
        resume |= {name: weights_in(path, resume[name]) for name in _RESUMED if resume.get(name)}
    return content


def _restore_from(run: Run, path: Path, content: dict[str, Any]) -> Position:
    try:
        position = _take_over(run, path, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no training checkpoint of this version or of the reference ({error!r}); "
            + _ADVICE
        ) from None
    _say_where(run, path, content, position)
    return position


def _take_over(run: Run, path: Path, content: dict[str, Any]) -> Position:
    resume = content.get("resume") or {}
    weights = resume.get("net", content["net"])
    _load(run.objective.network, weights, path)
    if "heads" in resume:
        _load(run.objective.heads, resume["heads"], path)
    _take_over_optimizer(run, path, content.get("optimizer"))
    if "stepper" in resume:
        run.stepper.load_state_dict(resume["stepper"])
    if run.ema is not None:
        average = content["net"] if "ema_updates" in resume else weights
        updates = resume.get("ema_updates", 0)
        run.ema.load_state_dict({"updates": updates, "weights": average})
    epoch, samples = content["epoch"], resume.get("samples", 0)
    if samples // run.samples_per_batch >= run.batches:  # epochs are shorter now
        epoch, samples = epoch + 1, 0
    return Position(epoch, samples, resume.get("step", epoch * run.steps_per_epoch))


def _take_over_optimizer(run: Run, path: Path, state: dict[str, Any] | None) -> None:
    """Published checkpoints often come without the moments, or without any optimizer."""
    if state is not None:
        try:
            restore_optimizer(run.optimizer, state)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}; {_ADVICE}") from None
    if state is None or not state["state"]:
        run.log.warn(f"{path} holds no moments of the optimizer; they start from zero")


def _load(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    differences = state_differences(module.state_dict(), weights)
    if differences:
        raise CheckpointError(
            f"{path} is of another configuration: {'; '.join(differences)}; train this one into "
            "another --save_dir"
        )
    module.load_state_dict(weights)


def place(position: Position) -> str:
    """How far a training has come, in words: `after 3 epochs and 64 samples of the next`."""
    within = f" and {counted(position.samples, 'sample')} of the next" if position.samples else ""
    return f"after {counted(position.epoch, 'epoch')}{within}"


def _say_where(run: Run, path: Path, content: dict[str, Any], position: Position) -> None:
    run.log.say(f"going on {place(position)}, from {path}")
    settings = content.get("settings")
    if not isinstance(settings, dict):
        return
    changes = _changes(settings, _circumstances(run), ("TEST.",))
    if changes:
        run.log.warn(f"not as it was when the checkpoint was written: {changes}")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], no_matter: tuple[str, ...]) -> str:
    """What differs, in words: `TRAIN.LR (0.001 -> 0.0005), …`; empty if nothing does."""
    then, here = _flat(before), _flat(now)
    changes = [
        f"{key} ({then[key]} -> {here[key]})"
        for key in here
        if key in then and then[key] != here[key] and not key.startswith(no_matter)
    ]
    more = len(changes) - _CHANGES_SHOWN
    return ", ".join(changes[:_CHANGES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; those of the configuration as users know them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix if key == "config" else f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}." if name else "")
        else:
            flat[name] = value
    return flat
