"""What a training run consists of, and how far it has come."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from lib.config.schema import Config
from lib.train.data.loader import batches_per_epoch
from lib.utils.distributed import World

if TYPE_CHECKING:
    from lib.train.data.sampler import TrackingSampler
    from lib.train.ema import Ema
    from lib.train.logging.log import TrainingLog
    from lib.train.losses.objective import Objective
    from lib.train.stepper import Stepper


@dataclass(frozen=True)
class Position:
    """How far a training has come; the default is its start.

    Attributes:
        epoch: complete epochs.
        samples: samples of the next epoch that were learned from, over all processes.
        step: optimizer steps since the start.
    """

    epoch: int = 0
    samples: int = 0
    step: int = 0


@dataclass
class Run:
    """Everything that `lib.train.loop.fit` works with, on its device already.

    Attributes:
        cfg: the configuration.
        objective: network, training-only heads and losses.
        optimizer: over the parameters of `objective`.
        stepper: makes the optimizer steps, with `objective` as it is or in DDP or compiled.
        ema: moving average of the network's weights, if the configuration wants one.
        sampler: where training samples come from.
        world: this process among all.
        folder: where checkpoints are read and written, and nowhere else.
        log_dir: where the dump of an offending batch goes.
        log: what is said and drawn.
        validate: epoch -> named values; runs in all processes. None: nothing to validate on.
        seed: of the samples and of dropout.
        workers: data-loading processes of this process.
        settings: plain facts to keep in checkpoints, such as versions and the git revision.
    """

    cfg: Config
    objective: "Objective"
    optimizer: Optimizer
    stepper: "Stepper"
    ema: "Ema | None"
    sampler: "TrackingSampler"
    world: World
    folder: Path
    log_dir: Path
    log: "TrainingLog"
    validate: Callable[[int], dict[str, float]] | None
    seed: int
    workers: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def samples_per_batch(self) -> int:
        """Samples of one forward pass, over all processes."""
        return self.cfg.train.batch_size * self.world.size

    @property
    def batches(self) -> int:
        """Batches of one epoch, per process."""
        return batches_per_epoch(
            self.cfg.data.train.sample_per_epoch, self.cfg.train.batch_size, self.world.size
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch; the last one may have fewer parts."""
        return math.ceil(self.batches / self.cfg.train.accumulate)
