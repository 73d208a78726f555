"""What a training run tells: a line every so often, a file with all of them, curves, a bar.

The lines have the form that SeqTrack's users know, with our additions behind:

    [train: 3, 50 / 468] FPS: 803.1 (811.2)  ,  Loss/total: 4.81234  ,  IoU: 0.52345  ,  …

Numbers are means since the start of the epoch (since the start of the run in an epoch that was
resumed); FPS counts samples per second of all processes, in parentheses those since the last line.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from lib.train.logging.curves import Curves
from lib.train.logging.meter import Meter, by_group, duration, labelled

# Prints one line; the second argument asks for standard error.
Say = Callable[[str, bool], None]

_SEPARATOR = "  ,  "


class QuietLog:
    """The log of a process that is not the main one: only its warnings are heard.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Say) -> None:
        self._say = say

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
        """Note one step of the training.

        Args:
            epoch: number of the epoch, from 1.
            batch: number of the step in its epoch, from 1.
            batches: steps of an epoch.
            values: means over the batch by name; tensors are read at the next line only.
            samples: samples of the step, over all processes.
            data_seconds: time spent waiting for the batch.
            compute_seconds: time spent on everything else.
            events: how often what should be rare happened in this step, over all processes:
                `redraws`, draws that gave no sample; `broken`, those of them that hit a broken
                file; `skipped`, the step itself, because a gradient overflowed in fp16. Lines
                show those that happened in the epoch.
        """

    def epoch(self, epoch: int) -> None:
        """Note the end of an epoch."""

    def validation(self, epoch: int, values: Mapping[str, float]) -> None:
        """Note what the validation after an epoch found."""

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """Keep a picture `(H, W, 3)` uint8 RGB beside the curves."""

    def say(self, text: str) -> None:
        """Say a line."""

    def warn(self, text: str) -> None:
        """Say that something is wrong but goes on."""
        self._say(f"warning: {text}", True)

    def note(self, text: str) -> None:
        """Keep a line in the file that is said elsewhere."""

    def ending(self, text: str) -> None:
        """Keep a line about how this start ends, if it has kept one before."""

    def at_first_step(self, action: Callable[[], None]) -> None:
        """Do something once the training really runs, and not if it cannot go on."""

    def close(self) -> None:
        """Say nothing more."""


class TrainingLog(QuietLog):
    """The log of the main process.

    Args:
        text_file: the lines are appended to it.
        curves: where TensorBoard's scalars and pictures go.
        epochs: number of the last epoch.
        print_interval: steps between two lines.
        say: prints a line.
    """

    def __init__(
        self, *, text_file: Path, curves: Path, epochs: int, print_interval: int, say: Say
    ) -> None:
        super().__init__(say)
        self._path = text_file
        self._stream: TextIO | None = None
        self._closed = False
        self._curves = Curves(curves, self.warn)
        self._epochs, self._interval = epochs, print_interval
        self._optimizer: Optimizer | None = None
        self._rates: list[float] = []
        self._meter = Meter()
        self._bar: tqdm | None = None
        self._actions: list[Callable[[], None]] = []

    def watch(self, optimizer: Optimizer) -> None:
        """Log the learning rates that this optimizer has at each step."""
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
        """See `QuietLog`."""
        actions, self._actions = self._actions, []
        for action in actions:
            action()
        meter = self._meter
        meter.add(values, samples)
        meter.steps += 1
        meter.samples += samples
        meter.data_seconds += data_seconds
        meter.compute_seconds += compute_seconds
        meter.events.update(events)
        # Its groups are read anew: loading a state replaces them.
        groups = self._optimizer.param_groups if self._optimizer else ()
        self._rates = [group["lr"] for group in groups]
        self._advance_bar(epoch, batch, batches)
        if batch % self._interval == 0 or batch == batches:
            self._tell(epoch, batch, batches)

    def epoch(self, epoch: int) -> None:
        """See `QuietLog`."""
        if self._meter.samples:
            scalars = labelled(self._meter.means())
            scalars |= by_group("LearningRate/group", self._rates)
            self._curves.scalars("train", scalars, epoch)
        self._meter = Meter()

    def validation(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `QuietLog`."""
        if values:
            scalars = labelled(values)
            shown = _SEPARATOR.join(f"{name}: {value:.5f}" for name, value in scalars.items())
            self.say(f"[val: {epoch}] {shown}")
            self._curves.scalars("val", scalars, epoch)

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """See `QuietLog`."""
        self._curves.picture("val", name, picture, epoch)

    def say(self, text: str) -> None:
        """Say a line, and keep it in the file."""
        self._print(text, False)
        self.note(text)

    def warn(self, text: str) -> None:
        """Say that something is wrong but goes on, and keep it in the file."""
        self._print(f"warning: {text}", True)
        self.note(f"warning: {text}")

    def at_first_step(self, action: Callable[[], None]) -> None:
        """See `QuietLog`."""
        self._actions.append(action)

    def close(self) -> None:
        """Close the files and the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._curves.close()
        self._close_file()

    def _tell(self, epoch: int, batch: int, batches: int) -> None:
        meter = self._meter
        means, (average, recent) = meter.means(), meter.speeds()
        named = labelled(means)
        left = batches - batch + (self._epochs - epoch) * batches
        parts = [
            f"FPS: {average:.1f} ({recent:.1f})",
            *(f"{name}: {value:.5f}" for name, value in named.items()),
            "LR: " + " ".join(f"{rate:.2e}" for rate in _shown(self._rates)),
            f"data: {100 * meter.data_seconds / max(meter.seconds, 1e-9):.0f}%",
            f"ETA: {duration(left * meter.seconds / meter.steps)}",
        ]
        parts += [f"{name}: {count}" for name, count in meter.events.items() if count]
        line = f"[train: {epoch}, {batch} / {batches}] " + _SEPARATOR.join(parts)
        if not self._bar_is_enough() or batch == batches:
            self._print(line, False)
        self.note(line)
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {means.get('total', 0):.3f}", refresh=False)
        scalars = {f"Step/{name}": value for name, value in (named | meter.events).items()}
        scalars |= {"Step/FPS": recent, "Step/data share": meter.data_seconds / meter.seconds}
        scalars |= by_group("Step/LR group", self._rates)
        self._curves.scalars("train", scalars, (epoch - 1) * batches + batch)

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

    def _bar_is_enough(self) -> bool:
        return self._bar is not None and not self._bar.disable and sys.stdout.isatty()

    def _print(self, text: str, error: bool) -> None:
        if self._bar is None:
            self._say(text, error)
        else:
            with self._bar.external_write_mode(file=sys.stderr if error else sys.stdout):
                self._say(text, error)

    def note(self, text: str) -> None:
        """See `QuietLog`."""
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
            # A full disk must not end the training here: saving a checkpoint will tell.
            self._close_file()
            self.warn(f"{self._path}: no more lines are kept ({error.strerror or error})")

    def ending(self, text: str) -> None:
        """See `QuietLog`."""
        if self._stream is not None:
            self.note(text)

    def _close_file(self) -> None:
        """Keep no more lines."""
        stream, self._stream, self._closed = self._stream, None, True
        if stream is not None:
            # What it still holds cannot be written if the disk is full.
            with suppress(OSError):
                stream.close()


def _shown(rates: list[float]) -> list[float]:
    """The rates of the two usual groups, or the highest and the lowest of many."""
    return rates if len(rates) <= 2 else [max(rates), min(rates)]


class _ToLog(logging.Handler):
    """Hands warnings of our modules to a training's log."""

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
