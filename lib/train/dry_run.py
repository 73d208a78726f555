"""A few steps of a training, to see what it would take; nothing of them is kept."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.training.open import training_set_names
from lib.datasets.training.sample import BoxedFrame, FrameSample
from lib.models.pretrained import find_pretrained
from lib.train.build import Options, assemble, check_options
from lib.train.data.loader import Batch, collate
from lib.train.data.sampler import TrackingSampler, build_sampler
from lib.train.logging.log import QuietLog, Say, duration, warnings_in
from lib.train.logging.summary import summary
from lib.train.loop import Run, train_step
from lib.train.optim import set_learning_rate
from lib.utils.cores import usable_cores
from lib.utils.distributed import World
from lib.utils.errors import CheckpointError, DataError

# Where a step would take long (a big network on a CPU), a small one shows as much per sample.
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

    def draw(self, rng: np.random.Generator, progress: float) -> FrameSample:
        shape, quarter = (self.side, self.side, 3), self.side / 4
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        box = np.array([1.5 * quarter, 1.5 * quarter, quarter, quarter])
        return FrameSample(
            (BoxedFrame(image, box),) * (self.templates + 1), f"random image for {self.name}"
        )


@dataclass(frozen=True)
class Cost:
    """What a dry run measured, in this process."""

    batch: int  # samples of a forward pass
    parts: int  # forward passes of a step
    step_seconds: float  # of an optimizer step, without waiting for data
    sample_seconds: float | None  # of making a sample; None where images are random
    peak_bytes: int


def dry_run(cfg: Config, options: Options, paths: Paths, world: World, say: Say) -> None:
    """Build all of a training but its log, run a few steps of it, and say what they took.

    Known data sets that are missing are replaced by random images, missing pre-trained weights
    that a training would fetch by random ones, with a warning.

    Raises:
        ConfigError: options or keys that do not go together.
        DataError: no data set has such a name, or a folder is not there.
        CheckpointError: weights that were named cannot be used.
    """
    check_options(cfg, options)
    log = _DryLog(say) if world.is_main else QuietLog(say)
    with warnings_in(log if world.is_main else None):
        sampler, missing = _sampler(cfg, options, paths, "train")
        validation = _sampler(cfg, options, paths, "val") if cfg.data.val.datasets_name else None
    if world.is_main:
        for text in missing:
            log.warn(f"{text}; random images stand in for it")
        for text in validation[1] if validation else ():
            log.warn(f"{text}; validation needs it")

    def find(kind: str, encoder: str) -> Path | None:
        """The pre-trained encoder if it is here: the cost is the same without it."""
        try:
            return find_pretrained(kind, encoder)
        except CheckpointError as error:
            log.warn(f"{error} (a training would fetch them; this dry run goes on without)")
            return None

    run = assemble(cfg, options, paths, world, sampler, log, find)
    cost = measure(run, every_set=not missing, compiled=options.compiled)
    log.say(f"dry run of {cfg.name}: nothing of it is kept")
    for line in [*summary(run, options.compiled), *report(run, cost)]:
        log.say(line)


class _DryLog(QuietLog):
    def say(self, text: str) -> None:
        self._say(text, False)


def measure(run: Run, every_set: bool, compiled: bool) -> Cost:
    device, train = run.world.device, run.cfg.train
    made, sample_seconds = _make_samples(run.sampler, train.batch_size)

    def step_seconds(samples: int, parts: int) -> float:
        whole = collate([made[i % len(made)] for i in range(samples)]).to(device)
        return _timed_step(run, [whole] * parts)

    run.state.model.train()
    set_learning_rate(run.state.optimizer, run.cfg, 1, 0, 1)
    batch, parts = train.batch_size, train.accumulate
    small, first, again = 0, 0.0, True
    if device.type == "cpu":
        small = min(batch, _SMALL_BATCH)
        first = step_seconds(small, 1)
        # A format that this CPU computes step by step (bf16 before AVX-512): once has to do.
        again = compiled or not run.world.all_reduce_max(int(first > _ENOUGH_SECONDS))
        expected = (step_seconds(small, 1) if again else first) * batch * parts / small
        # Compiled code is for one size of batch: another one would be compiled anew.
        if compiled or run.world.all_reduce_max(int(expected > _LONG_SECONDS)):
            batch, parts = small, 1
    if (batch, parts) != (small, 1):
        step_seconds(batch, parts)  # the first one allocates, and compiles
    times: list[float] = [] if again else [first]
    while len(times) < _STEPS and not run.world.all_reduce_max(int(sum(times) > _ENOUGH_SECONDS)):
        times.append(step_seconds(batch, parts))
    return Cost(
        batch=batch,
        parts=parts,
        step_seconds=sum(times) / len(times),
        sample_seconds=sample_seconds if every_set else None,
        peak_bytes=_peak_bytes(device),
    )


def report(run: Run, cost: Cost) -> list[str]:
    train, plan, processes = run.cfg.train, run.checkpoints.plan, run.world.size
    rate = compute = cost.batch * cost.parts * processes / cost.step_seconds
    note = more = same = ""
    if cost.batch < train.batch_size:
        note = f" with {cost.batch} samples at a time instead of {train.batch_size}"
        more, same = "; more samples need more", "; taken to be the same for each sample"
    memory = f"{cost.peak_bytes / 2**30:.2f} GiB in each process"
    data_line = "data: not measured, since random images stood in for it"
    if cost.sample_seconds is not None:
        makers = min(train.num_worker, usable_cores())
        data = max(1, makers) * processes / cost.sample_seconds
        data_line = f"data: {1 / cost.sample_seconds:.1f} samples/s by one process; "
        if makers:
            rate = min(compute, data)
            cores = "if each of them has a CPU of its own"
            data_line += f"{data:.1f} by {makers * processes}, {cores}"
        else:
            rate = 1 / (1 / compute + 1 / data)
            data_line += "TRAIN.NUM_WORKER is 0, so compute waits for it"
    samples = plan.batches * plan.batch
    return [
        f"peak memory: {memory}{note}{more}",
        f"compute: {compute:.2f} samples/s, {cost.step_seconds:.3f} s per step{note}{same}",
        data_line,
        f"estimated: {rate:.2f} samples/s, {duration(samples / rate)} per epoch, "
        f"{duration(train.epoch * samples / rate)} for all {train.epoch} epochs",
    ]


def _sampler(
    cfg: Config, options: Options, paths: Paths, part: str
) -> tuple[TrackingSampler, list[str]]:
    """The sampler, with random images for known sets that cannot be used, and why they cannot."""
    missing: list[str] = []

    def stand_in(name: str, error: DataError) -> RandomImages:
        if name not in training_set_names():
            raise error
        missing.append(str(error))
        return RandomImages(name, cfg.data.template.number)

    return build_sampler(cfg, paths, options.seed, part, stand_in=stand_in), missing


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
    state, device = run.state, run.world.device
    _synchronise(device)
    run.world.barrier()
    began = time.perf_counter()
    limit = run.cfg.train.grad_clip_norm
    train_step(
        run.module, state.optimizer, state.precision, parts, 0.0, clip_norm=limit, ema=state.ema
    )
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_bytes(device: torch.device) -> int:
    """Highest memory use: of tensors on a GPU, of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
