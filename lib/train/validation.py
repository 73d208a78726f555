"""Validation while training: held-out samples, sequences in closed loop, and pictures.

Everything is as it was afterwards: random generators, modes of the modules, weights. A training
that validates gives the same weights, to the bit, as one that does not.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack
from lib.train.data.loader import collate, validation_batches
from lib.train.data.sampler import VALIDATION_EPOCH, TrackingSampler
from lib.train.data.transforms import TrainingSample
from lib.train.ema import Ema
from lib.train.logging.log import QuietLog
from lib.train.logging.samples import ask, draw_samples
from lib.train.losses.objective import Objective
from lib.utils.distributed import World
from lib.utils.errors import SeqTrackError

# The network and a way to warn -> named scores. Handed in, because tracking is not our layer.
Scorer = Callable[[SeqTrack, Callable[[str], None]], dict[str, float]]

_PICTURED_SAMPLES = 6


@dataclass(frozen=True)
class Validator:
    """What `Run.validate` calls in all processes.

    Attributes:
        cfg: the configuration.
        objective: the losses, as they are trained (not what wraps them).
        ema: its averaged weights are validated where there is one.
        autocast: gives the context of the forward pass.
        world: this process among all.
        log: gets the pictures.
        samples: held-out samples, or None.
        pictured: samples to show: the held-out ones, or else the training's.
        closed_loop: scores the tracker on sequences, or None.
        workers: data-loading processes.
    """

    cfg: Config
    objective: Objective
    ema: Ema | None
    autocast: Callable[[], torch.autocast]
    world: World
    log: QuietLog
    samples: TrackingSampler | None
    pictured: TrackingSampler
    closed_loop: Scorer | None
    workers: int

    def __call__(self, epoch: int) -> dict[str, float]:
        """Validate after an epoch.

        Returns:
            Mean losses and IoU of the held-out samples, the same in all processes; in the main
            process the scores of the closed loop as well.
        """
        with ExitStack() as stack:
            stack.enter_context(untouched_generators(self.world.device))
            stack.enter_context(evaluating(self.objective))
            if self.ema is not None:
                stack.enter_context(self.ema.swapped())
            stack.enter_context(_buffers_of_main(self.objective, self.world))
            values = {} if self.samples is None else self._held_out(self.samples)
            if self.world.is_main:
                self._picture(epoch)
            if self.closed_loop is not None:
                values |= self.closed_loop(self.objective.network, self.log.warn)
            self.world.barrier()
        return values

    def _held_out(self, sampler: TrackingSampler) -> dict[str, float]:
        """Means over all held-out samples; nothing if a process has failed, which it says."""
        zero = torch.zeros((), device=self.world.device)
        sums = dict.fromkeys([*self._terms, "samples", "failed"], zero)
        try:
            sums |= self._sums(sampler)
        except Exception as error:
            # The training is safe on disk, and goes on.
            self.log.warn(f"no losses of held-out samples: {_first_line(error)}")
            sums["failed"] = zero + 1
        mean = {name: float(value) for name, value in self.world.mean(sums).items()}
        samples, failed = mean.pop("samples"), mean.pop("failed")
        return {} if failed else {name: value / samples for name, value in mean.items()}

    @torch.no_grad()
    def _sums(self, sampler: TrackingSampler) -> dict[str, Tensor]:
        """Sums over this process's held-out samples, and their number, which may be 0."""
        device = self.world.device
        sums: dict[str, Tensor] = {}
        count = 0
        batches = validation_batches(
            sampler,
            samples=self.cfg.data.val.sample_per_epoch,
            batch_size=self.cfg.train.batch_size,
            rank=self.world.rank,
            world=self.world.size,
            workers=self.workers,
            pin_memory=device.type == "cuda",
        )
        end = torch.ones((), device=device)
        for batch in batches:
            there = batch.to(device, non_blocking=True)
            with self.autocast():
                terms = self.objective(
                    there.templates, there.search, there.template_boxes, there.boxes, end
                )
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.float() * len(batch)
            count += len(batch)
        return {**sums, "samples": torch.full((), float(count), device=device)}

    @property
    def _terms(self) -> list[str]:
        return ["total", *self.objective.weights, "iou"]

    def _picture(self, epoch: int) -> None:
        """The first samples, always the same, with what the network says about them."""
        key = 1 if self.samples is None else VALIDATION_EPOCH
        try:
            made = [self.pictured.sample(key, number) for number in range(_PICTURED_SAMPLES)]
            self.log.picture("samples", self._drawn(made), epoch)
        except Exception as error:
            # The training is safe on disk, and goes on.
            self.log.warn(f"no pictures of samples: {_first_line(error)}")

    def _drawn(self, made: list[TrainingSample]) -> np.ndarray:
        cfg, objective = self.cfg, self.objective
        batch = collate(made)
        there = batch.to(self.world.device)
        answer = ask(
            objective.network,
            objective.tokenizer,
            there.templates,
            there.search,
            there.template_boxes,
            cfg.data.mean,
            cfg.data.std,
        )
        return draw_samples(
            batch.templates.numpy(),
            batch.template_boxes.numpy(),
            batch.search.numpy(),
            batch.boxes.numpy(),
            answer,
            cfg.data.seq_format,
        )


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
    world.take_from_main(module.buffers())
    try:
        yield
    finally:
        for buffer, before in zip(module.buffers(), own, strict=True):
            buffer.copy_(before)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode that it was in."""
    modes = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, training in modes:
            one.training = training
