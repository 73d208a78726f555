"""Batches of samples, in an order that does not depend on how many processes make them.

Step `s` of an epoch uses the samples `s * B * world` to `(s + 1) * B * world - 1`, and rank `r`
the `r`-th `B` of these: two processes with B samples each see what one with 2 B sees. There is
nothing to shuffle, since the samples themselves are random draws.
"""

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.train.data.sampler import VALIDATION_EPOCH, TrackingSampler
from lib.train.data.transforms import TrainingSample
from lib.train.data.workers import make_in_order
from lib.utils.errors import ConfigError, SeqTrackError

logger = logging.getLogger(__name__)

# An epoch, and the numbers of the samples of one batch.
Key = tuple[int, range]


@dataclass(frozen=True)
class Batch:
    """B samples. Images are uint8 until they are on the device.

    Attributes:
        templates: `(B, T, S_z, S_z, 3)` uint8 RGB.
        search: `(B, S_x, S_x, 3)` uint8 RGB.
        template_boxes: `(B, T, 4)` float32 xywh, normalised to the templates' crops.
        boxes: `(B, 4)` float32 xywh, normalised to the search crops; they may stick out.
        numbers: `(B,)` int64, numbers of the samples in their epoch.
        sources: where each sample came from.
        redraws: draws that gave no sample.
        broken: what was wrong with those of them that hit a broken file.
    """

    templates: Tensor
    search: Tensor
    template_boxes: Tensor
    boxes: Tensor
    numbers: Tensor
    sources: list[str]
    redraws: int = 0
    broken: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.numbers)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch with its tensors on `device`."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from where a GPU can fetch it by itself."""
        return self._with_tensors(lambda tensor: tensor.pin_memory())

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


def collate(samples: list[TrainingSample]) -> Batch:
    """Put samples together."""
    return Batch(
        templates=torch.from_numpy(np.stack([sample.templates for sample in samples])),
        search=torch.from_numpy(np.stack([sample.search for sample in samples])),
        template_boxes=torch.from_numpy(np.stack([sample.template_boxes for sample in samples])),
        boxes=torch.from_numpy(np.stack([sample.box for sample in samples])),
        numbers=torch.tensor([sample.number for sample in samples]),
        sources=[sample.source for sample in samples],
        redraws=sum(sample.redraws for sample in samples),
        broken=tuple(text for sample in samples for text in sample.broken),
    )


def batches_per_epoch(samples: int, batch_size: int, world: int) -> int:
    """Steps of an epoch; samples that do not fill a last step are left out.

    Args:
        samples: of one epoch, over all processes.
        batch_size: samples per process and step.
        world: number of processes.

    Raises:
        ConfigError: there are too few samples for one step.
    """
    steps = samples // (batch_size * world)
    if not steps:
        raise ConfigError(
            f"DATA.TRAIN.SAMPLE_PER_EPOCH {samples} is less than one step: TRAIN.BATCH_SIZE "
            f"{batch_size} times {world} process(es)"
        )
    return steps


def training_batches(
    sampler: TrackingSampler,
    *,
    epochs: int,
    samples_per_epoch: int,
    batch_size: int,
    rank: int,
    world: int,
    workers: int,
    start_epoch: int = 1,
    start_batch: int = 0,
    pin_memory: bool = False,
) -> Generator[tuple[int, int, Batch], None, None]:
    """The batches of one rank to the end of the training, over the borders of epochs.

    Args:
        sampler: makes the samples.
        epochs: the last epoch.
        samples_per_epoch: over all processes.
        batch_size: samples per process and step.
        rank: number of this process.
        world: number of processes.
        workers: processes that make samples, at most as many as there are CPUs; 0 makes them
            in this process. The samples do not depend on it.
        start_epoch: the epoch to begin with, from 1.
        start_batch: steps of that epoch to leave out.
        pin_memory: put the tensors in page-locked memory; for CUDA only.

    Yields:
        epoch from 1, step in the epoch from 0, batch. Closing the generator ends the workers.

    Raises:
        ConfigError: an epoch has no step.
        DataError: no sample could be drawn.
        LoadingError: a worker died.
    """
    steps = batches_per_epoch(samples_per_epoch, batch_size, world)

    def places() -> Iterator[tuple[int, int, range]]:
        for epoch in range(start_epoch, epochs + 1):
            for step in range(start_batch if epoch == start_epoch else 0, steps):
                first = (step * world + rank) * batch_size
                yield epoch, step, range(first, first + batch_size)

    keys = ((epoch, numbers) for epoch, _, numbers in places())
    with contextlib.closing(_read(sampler, keys, workers, pin_memory)) as batches:
        for (epoch, step, _), batch in zip(places(), batches, strict=True):
            yield epoch, step, batch


def validation_batches(
    sampler: TrackingSampler,
    *,
    samples: int,
    batch_size: int,
    rank: int,
    world: int,
    workers: int,
    pin_memory: bool = False,
) -> Generator[Batch, None, None]:
    """One rank's share of the validation samples, which are the same ones every time.

    No sample is left out: the last batches may be smaller, and ranks may have one batch more
    or less than others. The arguments are those of `training_batches`.

    Raises:
        DataError: no sample could be drawn.
        LoadingError: a worker died.
    """
    starts = range(rank * batch_size, samples, batch_size * world)
    keys = ((VALIDATION_EPOCH, range(s, min(s + batch_size, samples))) for s in starts)
    with contextlib.closing(_read(sampler, keys, workers, pin_memory)) as batches:
        yield from batches


@dataclass(frozen=True)
class _MakeBatch:
    """Makes the batch of a key. What people should read comes back as a value: raised in a
    worker it would reach them as a traceback."""

    sampler: TrackingSampler

    def __call__(self, key: Key) -> Batch | SeqTrackError:
        epoch, numbers = key
        try:
            return collate([self.sampler.sample(epoch, number) for number in numbers])
        except SeqTrackError as error:
            return error


def _read(
    sampler: TrackingSampler, keys: Iterable[Key], workers: int, pin_memory: bool
) -> Generator[Batch, None, None]:
    made = make_in_order(_MakeBatch(sampler), keys, workers, pin_memory)
    with contextlib.closing(made):
        for batch in made:
            if isinstance(batch, SeqTrackError):
                raise batch
            for text in batch.broken:
                if text not in sampler.told:
                    sampler.told.add(text)
                    logger.warning("%s; another sample is drawn instead", text)
            yield batch
