"""A few steps of a training, to see what it would take; nothing of them is kept."""

import os
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.draw import Draw, SampleSource, Sighting
from lib.models.pretrained import find_pretrained
from lib.models.seqtrack import SeqTrack
from lib.train.data import Batch, collate
from lib.train.log import QuietLog, Say, duration
from lib.train.optim import set_learning_rate
from lib.train.run import Run
from lib.train.sampler import TrackingSampler, build_sampler
from lib.train.setup import Options, assemble, check_options, load_encoder, new_network
from lib.train.summary import summary
from lib.train.transforms import TrainingTransform
from lib.utils.distributed import World
from lib.utils.errors import CheckpointError, DataError

# Where a step would take long (a big network on a CPU), a small one tells as much per sample.
_SMALL_BATCH = 2
_LONG_SECONDS = 5.0
_STEPS = 3
_ENOUGH_SECONDS = 30.0
_DATA_SECONDS = 3.0


@dataclass
class RandomImages:
    """A `SampleSource` that stands in for a data set that is not here."""

    name: str
    templates: int
    side: int = 512

    def draw(self, rng: np.random.Generator, progress: float) -> Draw:
        """Noise, with a box in the middle."""
        shape, quarter = (self.side, self.side, 3), self.side / 4
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        box = np.array([1.5 * quarter, 1.5 * quarter, quarter, quarter])
        return Draw((Sighting(image, box),) * (self.templates + 1), f"random image for {self.name}")


@dataclass(frozen=True)
class Cost:
    """What a dry run measured, in this process.

    Attributes:
        batch: samples of a forward pass.
        parts: forward passes of a step.
        step_seconds: time of an optimizer step, without waiting for data.
        sample_seconds: time that making a sample took; None where images are random.
        peak_bytes: highest memory use.
    """

    batch: int
    parts: int
    step_seconds: float
    sample_seconds: float | None
    peak_bytes: int


def dry_run(cfg: Config, options: Options, paths: Paths, world: World, say: Say) -> None:
    """Build all of a training, run a few steps of it, and say what they took.

    Data sets that are missing are replaced by random images, missing pre-trained weights by
    random ones; both are said.

    Raises:
        ConfigError: options or keys that do not go together.
    """
    check_options(cfg, options)
    sampler, missing = _sampler(cfg, options, paths)
    network = new_network(cfg, options.seed)
    if world.is_main:
        for text in missing:
            say(f"warning: {text}; random images stand in for it", True)
        _try_weights(network, cfg, options, say)
    folder = paths.checkpoint_dir(cfg.name)
    run = assemble(network, cfg, options, world, sampler, QuietLog(say), folder, paths.log_dir)
    cost = measure(run, every_set=not missing, compiled=options.compiled)
    if world.is_main:
        lines = [*summary(run, options.compiled), *report(run, cost)]
        for line in [f"dry run of {cfg.name}: nothing of it is kept", *lines]:
            say(line, False)


def measure(run: Run, every_set: bool, compiled: bool) -> Cost:
    """Time a few optimizer steps and the making of their samples."""
    device, train = run.world.device, run.cfg.train
    made, sample_seconds = _make_samples(run.sampler, train.batch_size)

    def step_seconds(samples: int, parts: int) -> float:
        whole = collate([made[i % len(made)] for i in range(samples)]).to(device)
        return _timed_step(run, [whole] * parts)

    run.objective.train()
    set_learning_rate(run.optimizer, run.cfg, 1, 0, 1)
    batch, parts = train.batch_size, train.accumulate
    small = 0
    if device.type == "cpu":
        small = min(batch, _SMALL_BATCH)
        step_seconds(small, 1)
        expected = step_seconds(small, 1) * batch * parts / small
        # Compiled code is for one size of batch: another one would be compiled anew.
        if compiled or run.world.highest(int(expected > _LONG_SECONDS)):
            batch, parts = small, 1
    if (batch, parts) != (small, 1):
        step_seconds(batch, parts)  # the first one allocates, and compiles
    times: list[float] = []
    while len(times) < _STEPS and not run.world.highest(int(sum(times) > _ENOUGH_SECONDS)):
        times.append(step_seconds(batch, parts))
    return Cost(
        batch=batch,
        parts=parts,
        step_seconds=sum(times) / len(times),
        sample_seconds=sample_seconds if every_set else None,
        peak_bytes=_peak_bytes(device),
    )


def report(run: Run, cost: Cost) -> list[str]:
    """What was measured and what follows from it, in lines."""
    train, processes = run.cfg.train, run.world.size
    compute = cost.batch * cost.parts * processes / cost.step_seconds
    smaller = cost.batch < train.batch_size
    note = f" with {cost.batch} samples at a time instead of {train.batch_size}" if smaller else ""
    more = "; more samples need more" if smaller else ""
    lines = [
        f"peak memory: {cost.peak_bytes / 2**30:.2f} GiB in each process{note}{more}",
        f"compute: {compute:.2f} samples/s, {cost.step_seconds:.3f} s per step{note}"
        f"{'; taken to be the same for each sample' if smaller else ''}",
    ]
    rate = compute
    if cost.sample_seconds is None:
        lines.append("data: not measured, since random images stood in for it")
    else:
        makers = max(1, min(run.workers, os.cpu_count() or 1)) * processes
        data = makers / cost.sample_seconds
        rate = min(compute, data)
        lines.append(
            f"data: {1 / cost.sample_seconds:.1f} samples/s by one process; {data:.1f} by "
            f"{makers}, if each of them has a CPU of its own"
        )
    samples = run.batches * run.samples_per_batch
    lines.append(
        f"estimated: {rate:.2f} samples/s, {duration(samples / rate)} per epoch, "
        f"{duration(train.epoch * samples / rate)} for all {train.epoch} epochs"
    )
    return lines


def _sampler(cfg: Config, options: Options, paths: Paths) -> tuple[TrackingSampler, list[str]]:
    """The sampler, with random images for data sets that cannot be used, and why they cannot."""
    sets = cfg.data.train
    sources: list[SampleSource] = []
    ratios: list[float] = []
    missing: list[str] = []
    for name, ratio in zip(sets.datasets_name, sets.datasets_ratio, strict=True):
        if not ratio:
            continue
        try:
            sources += build_sampler(_only(cfg, name), paths, options.seed).sources
        except DataError as error:
            missing.append(str(error))
            sources.append(RandomImages(name, cfg.data.template.number))
        ratios.append(ratio)
    sampler = TrackingSampler(
        sources=tuple(sources),
        ratios=tuple(ratios),
        transform=TrainingTransform(cfg.data),
        seed=options.seed,
        epochs=cfg.train.epoch,
        samples=sets.sample_per_epoch,
    )
    return sampler, missing


def _only(cfg: Config, name: str) -> Config:
    """The configuration with one training set."""
    update = {"datasets_name": (name,), "datasets_ratio": (1.0,)}
    train = cfg.data.train.model_copy(update=update)
    return cfg.model_copy(update={"data": cfg.data.model_copy(update={"train": train})})


def _try_weights(network: SeqTrack, cfg: Config, options: Options, say: Say) -> None:
    """Load the pre-trained encoder if it is here; the cost is the same without it."""
    encoder = cfg.model.encoder
    if encoder.pretrain_type == "scratch" or options.init_from is not None:
        return
    try:
        path = find_pretrained(encoder.pretrain_type, encoder.type, options.pretrained)
        say(load_encoder(network, cfg, path), False)
    except CheckpointError as error:
        text = f"warning: {error} (a training would fetch them; this dry run goes on without)"
        say(text, True)


def _make_samples(sampler: TrackingSampler, wanted: int) -> tuple[list, float]:
    """Some samples, and the seconds that one takes; the first one, which is slow, is not timed."""
    made = [sampler.sample(1, 0)]
    began = time.perf_counter()
    while True:
        made.append(sampler.sample(1, len(made)))
        spent, timed = time.perf_counter() - began, len(made) - 1
        if timed >= 2 and (timed >= wanted or spent > _DATA_SECONDS):
            return made, spent / timed


def _timed_step(run: Run, parts: list[Batch]) -> float:
    synchronise(run.world.device)
    run.world.barrier()
    began = time.perf_counter()
    run.stepper.step(parts, 0.0)
    synchronise(run.world.device)
    return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_bytes(device: torch.device) -> int:
    """Highest memory use: of tensors on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
