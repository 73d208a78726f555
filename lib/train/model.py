"""What the training loop trains: any network together with its losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from lib.config.schema import Config
from lib.train.data.loader import Batch
from lib.utils.errors import ConfigError


@dataclass(frozen=True)
class Prediction:
    """Boxes `(B, 4)` xywh, normalised to the search crop, that a network finds in B samples, and
    maps `(B, K, side, side)` of where in the search region it looked, with K labels."""

    boxes: np.ndarray
    attention: np.ndarray | None = None
    labels: tuple[str, ...] = ()


class TrackerModel(nn.Module, ABC):
    """The protocol between the loop and a network with its losses.

    DistributedDataParallel wraps it and torch.compile compiles it, so that a training step has
    one forward call whatever losses are on.

    Attributes:
        name: of its checkpoint files (`NAME_ep0001.pth.tar`) and of their field `net_type`.
        heads: modules that train along and are not published.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict()

    @abstractmethod
    def forward(self, batch: Batch, progress: Tensor | float) -> dict[str, Tensor]:
        """Losses of a batch. Nothing here waits for the device.

        Args:
            batch: on the device of the module.
            progress: share of the training that is done, 0 to 1. A compiled module wants a
                scalar tensor: it would be compiled again for every new number.

        Returns:
            Scalars: `total`, the only one with a gradient, and whatever is to be logged.
        """

    @abstractmethod
    def inference(self) -> nn.Module:
        """The network alone, a part of this module: it is averaged, published and tracked with."""

    def param_groups(self, cfg: Config) -> list[dict[str, Any]]:
        """Groups for an optimizer, each with its rate before the schedule as `initial_lr`."""
        rate, decay = cfg.train.lr, cfg.train.weight_decay
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [{"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}]

    def load_encoder(self, path: Path) -> None:
        """Start from a pre-trained image encoder.

        Raises:
            CheckpointError: the file is of another encoder.
            ConfigError: this network has none, which is what it says here.
        """
        raise ConfigError(
            f"{self.name} has no encoder that could start from {path}: set "
            "MODEL.ENCODER.PRETRAIN_TYPE=scratch"
        )

    def predict(self, batch: Batch) -> Prediction | None:
        """Track in every sample of a batch, in evaluation mode; None if that cannot be drawn."""
        return None
