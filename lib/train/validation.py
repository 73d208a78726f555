"""Validation while training: held-out samples, sequences in closed loop, and pictures.

Everything is as it was afterwards: random generators, modes of the modules, weights. A training
that validates gives the same weights, to the bit, as one that does not.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.models.lora import merged
from lib.train.checkpoint import TrainState
from lib.train.data.loader import Loading, collate, validation_batches
from lib.train.data.sampler import VALIDATION_EPOCH, TrackingSampler
from lib.train.logging.log import QuietLog
from lib.train.logging.samples import draw_samples
from lib.utils.distributed import World
from lib.utils.errors import SeqTrackError

# The network of `TrackerModel.inference` and a way to warn -> named scores.
Scorer = Callable[[Any, Callable[[str], None]], dict[str, float]]

_PICTURED_SAMPLES = 6


@dataclass(frozen=True)
class Validator:
    """What `Run.validate` calls in all processes."""

    cfg: Config
    state: TrainState  # of its model the average is validated, where there is one
    world: World
    log: QuietLog  # gets the pictures
    samples: TrackingSampler | None  # held-out samples, or None
    pictured: TrackingSampler  # samples to show: the held-out ones, or else the training's
    closed_loop: Scorer | None  # scores the tracker on sequences, or None

    def __call__(self, epoch: int) -> dict[str, float]:
        """Validate after an epoch.

        Returns:
            In the main process, mean losses of the held-out samples and the scores of the closed
            loop; nothing in the others.
        """
        model, ema = self.state.model, self.state.ema
        with (
            untouched_generators(self.world.device),
            evaluating(model),
            nullcontext() if ema is None else ema.swapped(),
            _buffers_of_main(model, self.world),
        ):
            values = {} if self.samples is None else self._held_out(self.samples)
            if self.world.is_main:
                self._picture(epoch)
            if self.closed_loop is not None:
                values |= self.closed_loop(merged(model.inference()), self.log.warn)
            self.world.barrier()
        return values

    def _held_out(self, sampler: TrackingSampler) -> dict[str, float]:
        """Means over all held-out samples; nothing if a process has failed, which it warns of."""
        sums: dict[str, float] | None = None
        try:
            sums = self._sums(sampler)
        except Exception as error:
            # The training is safe on disk, and goes on.
            self.log.warn(f"no losses of held-out samples: {_first_line(error)}")
        total = Counter[str]()
        for part in (parts := self.world.gather(sums)):
            total.update(part or {})
        samples = total.pop("samples", 0)
        return {} if None in parts else {name: value / samples for name, value in total.items()}

    @torch.no_grad()
    def _sums(self, sampler: TrackingSampler) -> dict[str, float]:
        device, sums, count = self.world.device, dict[str, Tensor](), 0
        loading, samples = Loading.of(self.cfg, self.world), self.cfg.data.val.sample_per_epoch
        end = torch.ones((), device=device)
        for batch in validation_batches(sampler, loading, samples):
            with self.state.precision.autocast():
                terms = self.state.model(batch.to(device, non_blocking=True), end)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.float() * len(batch)
            count += len(batch)
        return {**{name: float(value) for name, value in sums.items()}, "samples": float(count)}

    def _picture(self, epoch: int) -> None:
        """The first samples, always the same, with what the network predicts for them."""
        key = 1 if self.samples is None else VALIDATION_EPOCH
        try:
            made = [self.pictured.sample(key, number) for number in range(_PICTURED_SAMPLES)]
            batch = collate(made)
            prediction = self.state.model.predict(batch.to(self.world.device))
            self.log.picture("samples", draw_samples(batch, prediction), epoch)
        except Exception as error:
            # The training is safe on disk, and goes on.
            self.log.warn(f"no pictures of samples: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    text = str(error) if isinstance(error, SeqTrackError) else f"{type(error).__name__}: {error}"
    return text.strip().partition("\n")[0]


@contextmanager
def untouched_generators(device: torch.device) -> Iterator[None]:
    """All global random generators of this process are afterwards as they were before."""
    devices = [device] if device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def _buffers_of_main(module: nn.Module, world: World) -> Iterator[None]:
    """Running statistics as the main process has them, which are those that get published.

    Each process collects its own from its share of a batch.
    """
    own = [buffer.clone() for buffer in module.buffers()]
    world.broadcast(module.buffers())
    try:
        yield
    finally:
        for buffer, before in zip(module.buffers(), own, strict=True):
            buffer.copy_(before)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
