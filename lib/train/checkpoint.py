"""Training checkpoints: what is in them, when they are written and kept, and going on from one.

    SEQTRACK_ep0012.pth.tar      after every epoch; the last ten and every tenth stay
    SEQTRACK_interrupt.pth.tar   in the middle of an epoch, at SIGTERM or Ctrl-C; for training only
    SEQTRACK_best.pth.tar        with TRAIN.EARLY_STOP: the weights of the best validation
    SEQTRACK.pth.tar             at the end: weights only

(SEQTRACK is the model's name.) The fields are those of the reference trainer; what it did not
need is in `resume`. Learning rates, samples and dropout depend on the position in the training
alone: nothing of them is kept. No other folder is looked at. The main process alone reads and
writes; what it has read goes to the others tensor by tensor.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lib.config.schema import Config
from lib.models.lora import merged
from lib.models.weights import epoch_checkpoints, state_differences
from lib.train.data.loader import batches_per_epoch
from lib.train.ema import Ema
from lib.train.logging.log import QuietLog
from lib.train.logging.record import RECORD_NAME, last_start, note_validation, validated_epoch
from lib.train.model import TrackerModel
from lib.train.optim import restore_optimizer, share_optimizer
from lib.train.precision import Precision
from lib.utils.checkpoint import load_tensors, read_checkpoint, save_checkpoint, weights_in
from lib.utils.distributed import World
from lib.utils.errors import CheckpointError, PartialFailure, counted, some
from lib.utils.files import remove_temporaries

# Weights among what trackers do not read.
_RESUMED = ("net", "heads", "average")
_KEPT_LAST = 10
_KEPT_EVERY = 10
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
_ADVICE = "to train anew from its weights, give --init-from and another --save-dir"


@dataclass(frozen=True)
class Position:
    """How far a training has come; the default is its start."""

    epoch: int = 0  # complete epochs
    samples: int = 0  # samples of the next epoch that were learned from, over all processes
    step: int = 0  # optimizer steps since the start

    def __str__(self) -> str:
        within = f" and {counted(self.samples, 'sample')} of the next" if self.samples else ""
        return f"after {counted(self.epoch, 'epoch')}{within}"


class EpochPlan:
    """How the samples of an epoch are spread over batches and steps.

    Attributes:
        batch: samples of one forward pass, over all processes.
        batches: forward passes of an epoch, per process.
        steps: optimizer steps of an epoch; the last one may have fewer batches.
    """

    def __init__(self, cfg: Config, world: World) -> None:
        train, samples = cfg.train, cfg.data.train.sample_per_epoch
        self.batch = train.batch_size * world.size
        self.batches = batches_per_epoch(samples, train.batch_size, world.size)
        self.steps = math.ceil(self.batches / train.accumulate)


@dataclass
class TrainState:
    """What learns, on its device: all that a checkpoint is made of but the position.

    `precision` has the scale of fp16; `ema` is there if the configuration wants an average.
    """

    model: TrackerModel
    optimizer: Optimizer
    precision: Precision
    ema: Ema | None = None


class CheckpointFolder:
    """The files of one training.

    Attributes:
        final: the weights of a finished training.
        interrupt: the checkpoint of an incomplete epoch.
        best: the weights of the best validation, where that ends a training.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.final = path / f"{name}.pth.tar"
        self.interrupt = path / f"{name}_interrupt.pth.tar"
        self.best = path / f"{name}_best.pth.tar"

    def epochs(self) -> dict[int, Path]:
        return epoch_checkpoints(self.path, self.name)

    def can_go_on(self) -> bool:
        return bool(self.epochs()) or self.interrupt.is_file()

    def finished(self, cfg: Config, seed: int | None = None) -> str | None:
        """A sentence about the finished training that is there, or None if there is work to do.

        Raises:
            CheckpointError: a new training would overwrite final weights: they were not trained
                there (but downloaded), or with other settings, or there is nothing to go on from.
        """
        if not self.final.is_file():
            return None
        goes_on = self.can_go_on()
        if not goes_on and not (self.path / RECORD_NAME).is_file():
            raise self._would_be_lost("weights but no training")
        try:
            epoch = read_checkpoint(self.final).epoch
        except CheckpointError:
            if not goes_on:
                raise
            return None
        if epoch is None or epoch < cfg.train.epoch:
            if goes_on:
                return None
            raise self._would_be_lost("weights but nothing to go on from")
        newest = max(self.epochs(), default=0)
        if goes_on and newest < epoch:
            beside = f"the newest checkpoint beside it is of epoch {newest}"
            raise self._would_be_lost(f"weights of epoch {epoch}, {beside}")
        epochs = counted(epoch, "epoch")
        if start := last_start(self.path):
            now = {"config": _values(cfg)} | ({} if seed is None else {"seed": seed})
            before = {**start[1], "config": _values(start[0])}
            if changes := _changes(before, now, _NO_MATTER):
                raise CheckpointError(
                    f"{self.final}: a training is finished there ({epochs}), but another one: "
                    f"{changes}; for this one give another --save-dir"
                )
        return f"{self.final}: this training is finished ({epochs}); nothing to do"

    def _would_be_lost(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.final} holds {what}, and a training there would overwrite them: start from "
            f"them with --init-from {self.final} and another --save-dir, or move them"
        )


class Checkpoints:
    """Writes and restores the state of a training.

    All processes call the same methods together.

    Args:
        folder: is read and written, and nothing else.
        state: what is saved, and restored in place.
        settings: plain facts to keep, such as versions and the git revision.
        teacher: which network teaches; a training goes on with the same one only.
    """

    def __init__(
        self,
        folder: Path,
        cfg: Config,
        state: TrainState,
        world: World,
        log: QuietLog,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        teacher: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.plan, self.settings = folder, EpochPlan(cfg, world), settings or {}
        self._state, self._world, self._log = state, world, log
        self._files = CheckpointFolder(folder, state.model.name)
        # What should be the same when a training goes on.
        self._same = {
            "config_name": cfg.name,
            "config": _values(cfg),
            "seed": seed,
            "processes": world.size,
        }
        self._teacher = teacher

    def save_epoch(self, position: Position) -> Path:
        """Write the checkpoint of a complete epoch, then remove those that it makes superfluous.

        Raises:
            PartialFailure: it could not be written; nothing was removed.
        """
        path = self.folder / f"{self._files.name}_ep{position.epoch:04d}.pth.tar"
        self._write(path, lambda: self._content(position))
        if self._world.is_main:
            self._files.interrupt.unlink(missing_ok=True)
            epochs = self._files.epochs()
            for number in sorted(epochs)[:-_KEPT_LAST]:
                if number % _KEPT_EVERY:
                    epochs[number].unlink(missing_ok=True)
        return path

    def save_interrupt(self, position: Position) -> Path:
        """Write the checkpoint of an incomplete epoch; as `save_epoch`."""
        self._write(self._files.interrupt, lambda: self._content(position))
        return self._files.interrupt

    def save_best(self, epoch: int) -> None:
        """Write the weights alone, as the best so far; as `save_epoch`."""
        self._write(self._files.best, lambda: self._weights(epoch))

    def save_final(self, position: Position, best: bool = False) -> Path:
        """Write the weights alone, the averaged ones if there are; as `save_epoch`.

        `best`: those that `save_best` has kept.
        """
        kept = self._files.best
        self._write(
            self._files.final,
            lambda: load_tensors(kept) if best else self._weights(position.epoch),
        )
        return self._files.final

    def restore(self) -> Position:
        """Go on from the newest usable checkpoint of the folder, if there is one.

        Raises:
            CheckpointError: checkpoints are there but none can be read; or the newest is of
                another network.
            SystemExit: the same, in the other processes.
        """
        position = self._world.on_main(self._restore)
        if position != Position() and self._world.size > 1:
            self._share()
        return position

    def _write(self, path: Path, content: Callable[[], dict[str, Any]]) -> None:
        def write() -> None:
            try:
                save_checkpoint(path, content())
            except OSError as error:
                kept = self._files.epochs()
                whole = f"{kept[max(kept)].name} and before are whole" if kept else "none is there"
                raise PartialFailure(
                    f"{path}: the checkpoint cannot be saved ({error.strerror or error}); {whole}; "
                    "make room and start again"
                ) from None

        self._world.on_main(write)

    def _content(self, position: Position) -> dict[str, Any]:
        state = self._state
        resume = {
            "samples": position.samples,
            "step": position.step,
            "heads": _on_cpu(state.model.heads.state_dict()),
            "stepper": _on_cpu(state.precision.state_dict()),
        }
        published, network = self._published(), state.model.inference()
        # `net` is what trackers read: the average, low-rank additions added up. Training goes on
        # with these.
        if state.ema is not None:
            resume["ema_updates"] = state.ema.updates
        if state.ema is not None or network.state_dict().keys() != published.keys():
            resume["net"] = _on_cpu(network.state_dict())
        if state.ema is not None and resume["net"].keys() != published.keys():
            resume["average"] = _on_cpu(state.ema.weights())
        return {
            "epoch": position.epoch,
            "actor_type": "SeqTrackActor",
            "net_type": self._files.name,
            "net": published,
            "net_info": None,
            "constructor": None,
            "optimizer": _on_cpu(state.optimizer.state_dict()),
            "stats": {},
            "settings": {**self.settings, **self._same, "teacher": self._teacher},
            "resume": resume,
        }

    def _weights(self, epoch: int) -> dict[str, Any]:
        return {"epoch": epoch, "net_type": self._files.name, "net": self._published()}

    def _published(self) -> dict[str, Tensor]:
        """What trackers read: the average where there is one, without low-rank additions."""
        ema, network = self._state.ema, self._state.model.inference()
        with nullcontext() if ema is None else ema.swapped():
            plain = merged(network)
        # Only a copy has the average still.
        averaged = ema is not None and plain is network
        return _on_cpu(ema.weights() if ema and averaged else plain.state_dict())

    def _restore(self) -> Position:
        """Read the checkpoint, and remove what is on record about later epochs."""
        remove_temporaries(self.folder, f"{self._files.name}*.pth.tar")
        position = Position()
        if found := self._newest():
            path, content = found
            try:
                self._check_teacher(path, content.get("settings"))
                position = self._load(path, content)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CheckpointError(
                    f"{path} is no training checkpoint of this version or of the reference "
                    f"({error!r}); {_ADVICE}"
                ) from None
            self._log.say(f"going on {position}, from {path}")
            before = content.get("settings")
            if isinstance(before, dict) and (changes := _changes(before, self._same, ("TEST.",))):
                self._log.warn(f"not as it was when the checkpoint was written: {changes}")
        if validated_epoch(self.folder) > position.epoch:
            note_validation(self.folder, 0)  # that epoch will be trained again
        return position

    def _check_teacher(self, path: Path, settings: Any) -> None:
        """Refuse to go on with another teacher: half a training of each is neither's."""
        before = settings.get("teacher") if isinstance(settings, dict) else None
        if before != self._teacher:
            told = [
                f"{one['config']} (sha256 {one['sha256'][:12]})" if one else "none"
                for one in (before, self._teacher)
            ]
            raise CheckpointError(
                f"{path} was trained with the teacher {told[0]}, and TRAIN.TEACHER gives "
                f"{told[1]}; give it the same one, or another --save-dir"
            )

    def _share(self) -> None:
        world, state = self._world, self._state
        world.broadcast(state.model.state_dict().values())
        share_optimizer(state.optimizer, world)
        state.precision.load_state_dict(world.on_main(state.precision.state_dict))
        if (ema := state.ema) is not None:
            ema.updates = world.on_main(lambda: ema.updates)
            world.broadcast(ema.weights().values())

    def _newest(self) -> tuple[Path, dict[str, Any]] | None:
        epochs, interrupt = self._files.epochs(), self._files.interrupt
        paths = [epochs[number] for number in sorted(epochs, reverse=True)]
        if interrupt.is_file():
            paths.insert(0, interrupt)
        for path in paths:
            try:
                content = _read(path)
            except CheckpointError as error:
                self._log.warn(f"{error}; going on from the checkpoint before it")
                continue
            # Left over where a run was killed right after it had saved the epoch.
            if path == interrupt and content["epoch"] < max(epochs, default=0):
                continue
            return path, content
        if paths:
            raise CheckpointError(
                f"{self.folder}: no checkpoint there can be read (see above); move them away to "
                "train from the start"
            )
        return None

    def _load(self, path: Path, content: dict[str, Any]) -> Position:
        state, resume = self._state, content.get("resume") or {}
        weights = resume.get("net", content["net"])
        _load_module(state.model.inference(), weights, path)
        if "heads" in resume:
            _load_module(state.model.heads, resume["heads"], path)
        # Published checkpoints often come without the moments, or without any optimizer.
        saved = content.get("optimizer")
        if saved is not None:
            try:
                restore_optimizer(state.optimizer, saved)
            except CheckpointError as error:
                raise CheckpointError(f"{path}: {error}; {_ADVICE}") from None
        if saved is None or not saved["state"]:
            self._log.warn(f"{path} holds no moments of the optimizer; they start from zero")
        if "stepper" in resume:
            state.precision.load_state_dict(resume["stepper"])
        if state.ema is not None:
            kept = resume.get("average", content["net"])
            average = kept if "ema_updates" in resume else weights
            updates = resume.get("ema_updates", 0)
            state.ema.load_state_dict({"updates": updates, "weights": average})
        epoch, samples = content["epoch"], resume.get("samples", 0)
        if samples // self.plan.batch >= self.plan.batches:  # epochs are shorter now
            epoch, samples = epoch + 1, 0
        return Position(epoch, samples, resume.get("step", epoch * self.plan.steps))


def _values(cfg: Config) -> dict[str, Any]:
    return cfg.model_dump(by_alias=True, mode="json")


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value


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


def _load_module(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    differences = state_differences(module.state_dict(), weights)
    if differences:
        raise CheckpointError(
            f"{path} is of another configuration: {'; '.join(differences)}; train this one into "
            "another --save-dir"
        )
    module.load_state_dict(weights)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], no_matter: tuple[str, ...]) -> str:
    """What differs, in words: `TRAIN.LR (0.001 -> 0.0005), …`; empty if nothing does."""
    then, here = _flat(before), _flat(now)
    changes = [
        f"{key} ({then[key]} -> {here[key]})"
        for key in here
        if key in then and then[key] != here[key] and not key.startswith(no_matter)
    ]
    return some(changes)


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
