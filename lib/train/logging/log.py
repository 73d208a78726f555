"""What a training logs: a line every so often, a file with all of them, curves, a bar.

The lines have the form that SeqTrack's users know, with our additions behind:

    [train: 3, 50 / 468] FPS: 803.1 (811.2)  ,  Loss/total: 4.81234  ,  IoU: 0.52345  ,  …

Numbers are means since the start of the epoch (since the start of the run in an epoch that was
resumed); FPS counts samples per second of all processes, in parentheses those since the last line.
"""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

# Prints one line; the second argument asks for standard error.
Say = Callable[[str, bool], None]

_SEPARATOR = "  ,  "
# Values of a step that are no losses; scores of a tracker are in capitals.
_NO_LOSSES = ("iou", "grad_norm")


class QuietLog:
    """The log of a process that is not the main one: its warnings alone are printed."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def _nothing(self, *args: Any, **options: Any) -> None:
        pass

    step = epoch = validation = picture = say = note = ending = at_first_step = close = _nothing

    def warn(self, text: str) -> None:
        """Print that something is wrong but goes on."""
        self._say(f"warning: {text}", True)


class TrainingLog(QuietLog):
    """The log of the main process.

    Args:
        text_file: the lines are appended to it.
        curves: where TensorBoard's scalars and pictures go.
        epochs: number of the last epoch.
        print_interval: steps between two lines.
        say: see `Say`.
    """

    def __init__(
        self, *, text_file: Path, curves: Path, epochs: int, print_interval: int, say: Say
    ) -> None:
        super().__init__(say)
        self._path = text_file
        self._stream: TextIO | None = None
        self._closed = False
        self._curves = _Curves(curves, self.warn)
        self._epochs, self._interval = epochs, print_interval
        self._optimizer: Optimizer | None = None
        self._rates: list[float] = []
        self._meter = _Meter()
        self._bar: tqdm | None = None
        self._actions: list[Callable[[], None]] = []

    def watch(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    def step(
        self,
        epoch: int,
        batch: int,
        batches: int,
        values: Mapping[str, Tensor | float],
        samples: int,
        data_seconds: float,
        compute_seconds: float,
        events: Mapping[str, int],
    ) -> None:
        """Note step `batch`, from 1, of the `batches` steps of an epoch.

        Args:
            epoch: from 1.
            batch: from 1.
            batches: steps of an epoch.
            values: means over the batch by name; tensors are read at the next line only.
            samples: of the step, over all processes.
            data_seconds: time spent waiting for the batch.
            compute_seconds: time spent on everything else.
            events: how often what should be rare happened in this step, over all processes:
                `redraws`, draws that gave no sample; `broken`, those of them that hit a broken
                file; `skipped`, the step itself, because a gradient overflowed in fp16.
        """
        actions, self._actions = self._actions, []
        for action in actions:
            action()
        meter = self._meter
        meter.add(values, samples)
        meter.data_seconds += data_seconds
        meter.compute_seconds += compute_seconds
        meter.events.update(events)
        # Its groups are read anew: loading a state replaces them.
        groups = self._optimizer.param_groups if self._optimizer else ()
        self._rates = [group["lr"] for group in groups]
        self._advance_bar(epoch, batch, batches)
        if batch % self._interval == 0 or batch == batches:
            self._report(epoch, batch, batches)

    def epoch(self, epoch: int) -> None:
        if self._meter.samples:
            scalars = _labelled(self._meter.means()) | self._by_group("LearningRate/group")
            self._curves.scalars("train", scalars, epoch)
        self._meter = _Meter()

    def validation(self, epoch: int, values: Mapping[str, float]) -> None:
        if values:
            scalars = _labelled(values)
            shown = _SEPARATOR.join(f"{name}: {value:.5f}" for name, value in scalars.items())
            self.say(f"[val: {epoch}] {shown}")
            self._curves.scalars("val", scalars, epoch)

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        self._curves.picture("val", name, picture, epoch)

    def say(self, text: str) -> None:
        """Print a line, and keep it in the file."""
        self._print(text, False)
        self.note(text)

    def warn(self, text: str) -> None:
        """As `say`, on standard error."""
        self._print(f"warning: {text}", True)
        self.note(f"warning: {text}")

    def at_first_step(self, action: Callable[[], None]) -> None:
        """Do something once the training really runs, and not if it cannot go on."""
        self._actions.append(action)

    def note(self, text: str) -> None:
        """Keep a line in the file that is printed elsewhere."""
        if self._closed:
            return
        try:
            if self._stream is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = open(self._path, "a", encoding="utf-8", errors="backslashreplace")
                text = time.strftime("# %Y-%m-%d %H:%M:%S\n") + text
            self._stream.write(text + "\n")
            self._stream.flush()
        except OSError as error:
            # A full disk must not end the training here: saving a checkpoint will.
            self._close_file()
            self.warn(f"{self._path}: no more lines are kept ({error.strerror or error})")

    def ending(self, text: str) -> None:
        """Keep a line about how this start ends, if it has kept one before."""
        if self._stream is not None:
            self.note(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._curves.close()
        self._close_file()

    def _report(self, epoch: int, batch: int, batches: int) -> None:
        meter = self._meter
        means, (average, recent) = meter.means(), meter.speeds()
        named = _labelled(means)
        left = batches - batch + (self._epochs - epoch) * batches
        # Those of the two usual groups, or the highest and the lowest of many.
        rates = self._rates if len(self._rates) <= 2 else [max(self._rates), min(self._rates)]
        parts = [
            f"FPS: {average:.1f} ({recent:.1f})",
            *(f"{name}: {value:.5f}" for name, value in named.items()),
            "LR: " + " ".join(f"{rate:.2e}" for rate in rates),
            f"data: {100 * meter.data_seconds / max(meter.seconds, 1e-9):.0f}%",
            f"ETA: {duration(left * meter.seconds / meter.steps)}",
        ]
        parts += [f"{name}: {count}" for name, count in meter.events.items() if count]
        line = f"[train: {epoch}, {batch} / {batches}] " + _SEPARATOR.join(parts)
        bar = self._bar
        if bar is None or bar.disable or not sys.stdout.isatty() or batch == batches:
            self._print(line, False)
        self.note(line)
        if bar is not None:
            bar.set_postfix_str(f"loss {means.get('total', 0):.3f}", refresh=False)
        scalars = {f"Step/{name}": value for name, value in (named | meter.events).items()}
        scalars |= {"Step/FPS": recent, "Step/data share": meter.data_seconds / meter.seconds}
        scalars |= self._by_group("Step/LR group")
        self._curves.scalars("train", scalars, (epoch - 1) * batches + batch)

    def _by_group(self, name: str) -> dict[str, float]:
        return {f"{name}{i}": rate for i, rate in enumerate(self._rates)}

    def _advance_bar(self, epoch: int, batch: int, batches: int) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=self._epochs * batches,
                initial=(epoch - 1) * batches + batch - 1,
                unit="step",
                smoothing=0.05,
                dynamic_ncols=True,
                file=sys.stderr,
                disable=None,
            )
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._bar.update()

    def _print(self, text: str, error: bool) -> None:
        if self._bar is None:
            self._say(text, error)
        else:
            with self._bar.external_write_mode(file=sys.stderr if error else sys.stdout):
                self._say(text, error)

    def _close_file(self) -> None:
        stream, self._stream, self._closed = self._stream, None, True
        if stream is not None:
            # What it still holds cannot be written if the disk is full.
            with suppress(OSError):
                stream.close()


@dataclass
class _Meter:
    sums: dict[str, Tensor | float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    samples: int = 0
    data_seconds: float = 0.0
    compute_seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    before: tuple[int, float] = (0, 0.0)

    @property
    def seconds(self) -> float:
        return self.data_seconds + self.compute_seconds

    def add(self, values: Mapping[str, Tensor | float], samples: int) -> None:
        """Note the means over the samples of a step; tensors stay on their device, unread."""
        self.steps, self.samples = self.steps + 1, self.samples + samples
        for name, value in values.items():
            now = value.detach().float() if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + now * samples
            self.counts[name] += samples

    def means(self) -> dict[str, float]:
        """Mean of every value over the steps that had it; this waits for the device."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def speeds(self) -> tuple[float, float]:
        """Samples per second since the start of the epoch and since the last call."""
        samples, seconds = self.before
        self.before = (self.samples, self.seconds)
        recent = (self.samples - samples) / max(self.seconds - seconds, 1e-9)
        return self.samples / max(self.seconds, 1e-9), recent


class _Curves:
    """One TensorBoard run per part (`train`, `val`) in a folder, made when first needed.

    A disk that is full or a package that is missing costs the curves, not the training.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._writers: dict[str, Any] = {}
        self._broken = False

    def scalars(self, part: str, values: Mapping[str, float], x: int) -> None:
        for name, value in values.items():
            self._attempt(lambda n=name, v=value: self._writer(part).add_scalar(n, v, x))

    def picture(self, part: str, name: str, picture: np.ndarray, x: int) -> None:
        self._attempt(lambda: self._writer(part).add_image(name, picture, x, dataformats="HWC"))

    def close(self) -> None:
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            self._attempt(writer.close)

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            # It takes a second to import, and not every command that trains needs it.
            from torch.utils.tensorboard import SummaryWriter

            self._writers[part] = SummaryWriter(str(self._folder / part))
        return self._writers[part]

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except (OSError, ImportError) as error:
            self._broken = True
            self._warn(f"{self._folder}: no more curves are kept ({error})")


def _labelled(values: Mapping[str, float]) -> dict[str, float]:
    """The names that people see: `Loss/total` and `IoU` first, a lone loss only once."""
    losses = [name for name in values if name.islower() and name not in (*_NO_LOSSES, "total")]
    named = {"Loss/total": values["total"]} if "total" in values else {}
    named |= {"IoU": values["iou"]} if "iou" in values else {}
    if len(losses) > 1 or "total" not in values:
        named |= {f"Loss/{name}": values[name] for name in losses}
    others = (name for name in values if name not in ("total", "iou", *losses))
    return named | {name: values[name] for name in others}


def duration(seconds: float) -> str:
    """Example: `1 d 02:03:04`."""
    days, rest = divmod(round(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {clock}" if days else clock


class _ToLog(logging.Handler):
    def __init__(self, log: QuietLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warn(record.getMessage())


@contextmanager
def warnings_in(log: QuietLog | None) -> Iterator[None]:
    """What our modules warn of goes to `log` alone, and so into its file; without one nowhere."""
    ours = logging.getLogger("lib")
    handler: logging.Handler = logging.NullHandler() if log is None else _ToLog(log)
    ours.addHandler(handler)
    propagated, ours.propagate = ours.propagate, False
    try:
        yield
    finally:
        ours.propagate = propagated
        ours.removeHandler(handler)
