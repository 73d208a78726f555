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

from lib.config.schema import Config
from lib.train.data.sampler import VALIDATION_EPOCH, TrackingSampler
from lib.train.data.transforms import TrainingSample
from lib.train.data.workers import make_in_order
from lib.utils.distributed import World
from lib.utils.errors import ConfigError, SeqTrackError

logger = logging.getLogger(__name__)

# An epoch, and the numbers of the samples of one batch.
Key = tuple[int, range]


@dataclass(frozen=True)
class Batch:
    """B samples, see `TrainingSample`. Images are uint8 until they are on the device."""

    templates: Tensor  # `(B, T, S_z, S_z, 3)` uint8 RGB
    search: Tensor  # `(B, S_x, S_x, 3)` uint8 RGB
    template_boxes: Tensor  # `(B, T, 4)` float32 xywh, normalised to the templates' crops
    boxes: Tensor  # `(B, 4)` float32 xywh, normalised to the search crops; they may stick out
    numbers: Tensor  # `(B,)` int64
    sources: list[str]
    redraws: int = 0
    broken: tuple[str, ...] = ()
    # `(B, N, 4)` as `boxes`, those before, oldest first, NaN where one is not known
    history: Tensor | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from where a GPU can fetch it by itself."""
        return self._with_tensors(lambda tensor: tensor.pin_memory())

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


def collate(samples: list[TrainingSample]) -> Batch:

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))

    return Batch(
        templates=stacked("templates"),
        search=stacked("search"),
        template_boxes=stacked("template_boxes"),
        boxes=stacked("box"),
        history=None if samples[0].history is None else stacked("history"),
        numbers=torch.tensor([sample.number for sample in samples]),
        sources=[sample.source for sample in samples],
        redraws=sum(sample.redraws for sample in samples),
        broken=tuple(text for sample in samples for text in sample.broken),
    )


@dataclass(frozen=True)
class Loading:
    """How one of the processes of a run loads its batches."""

    batch_size: int  # samples per process and step
    rank: int = 0  # number of this process
    world: int = 1  # number of processes
    workers: int = 0  # see `make_in_order`; the samples do not depend on it
    pin_memory: bool = False  # put the tensors in page-locked memory; for CUDA only

    @classmethod
    def of(cls, cfg: Config, world: World) -> "Loading":
        train, on_gpu = cfg.train, world.device.type == "cuda"
        return cls(train.batch_size, world.rank, world.size, train.num_worker, on_gpu)


def batches_per_epoch(samples: int, batch_size: int, world: int) -> int:
    """Steps of an epoch of `samples` over all processes; those that fill no step are left out.

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
    loading: Loading,
    epochs: int,
    samples_per_epoch: int,
    start_epoch: int = 1,
    start_batch: int = 0,
) -> Generator[tuple[int, int, Batch], None, None]:
    """The batches of one rank to the end of the training, over the borders of epochs.

    Yields:
        epoch from 1, step in the epoch from 0, batch. Closing the generator ends the workers.

    Raises:
        ConfigError: an epoch has no step.
        DataError: no sample could be drawn.
        LoadingError: a worker died.
    """
    size, world = loading.batch_size, loading.world
    steps = batches_per_epoch(samples_per_epoch, size, world)

    def keys() -> Iterator[Key]:
        for epoch in range(start_epoch, epochs + 1):
            for step in range(start_batch if epoch == start_epoch else 0, steps):
                first = (step * world + loading.rank) * size
                yield epoch, range(first, first + size)

    with contextlib.closing(_read(sampler, keys(), loading)) as batches:
        for (epoch, numbers), batch in zip(keys(), batches, strict=True):
            yield epoch, numbers.start // (size * world), batch


def validation_batches(
    sampler: TrackingSampler, loading: Loading, samples: int
) -> Generator[Batch, None, None]:
    """One rank's share of the validation samples, which are the same ones every time.

    No sample is left out: the last batches may be smaller, and ranks may have one batch more
    or less than others. Raises as `training_batches`.
    """
    size = loading.batch_size
    starts = range(loading.rank * size, samples, size * loading.world)
    keys = ((VALIDATION_EPOCH, range(s, min(s + size, samples))) for s in starts)
    with contextlib.closing(_read(sampler, keys, loading)) as batches:
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
    sampler: TrackingSampler, keys: Iterable[Key], loading: Loading
) -> Generator[Batch, None, None]:
    made = make_in_order(_MakeBatch(sampler), keys, loading.workers, loading.pin_memory)
    with contextlib.closing(made):
        for batch in made:
            if isinstance(batch, SeqTrackError):
                raise batch
            for text in dict.fromkeys(batch.broken):
                if text in sampler.warned:
                    continue
                sampler.warned.add(text)
                logger.warning("%s; another sample is drawn instead", text)
            yield batch
