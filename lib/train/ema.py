"""A moving average of the weights, smoother than any single step (Polyak averaging)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lib.utils.errors import CheckpointError


class Ema:
    """The exponential moving average of everything in a network's state dict.

    In the beginning the decay is (1 + n) / (10 + n) after n updates, until it reaches the given
    one: a young average would mostly consist of the weights before training.

    `decay` is the share of the old average that an update keeps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        # Tensors that share memory with the network's; a network never replaces its own.
        self._live = {k: v for k, v in network.state_dict().items() if torch.is_tensor(v)}
        self._shadow = {key: value.clone() for key, value in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Count the weights as they are now; to be called after every optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged = [key for key, value in self._live.items() if value.is_floating_point()]
        average = get_ema_multi_avg_fn(decay)
        average([self._shadow[k] for k in averaged], [self._live[k] for k in averaged], None)
        for key in self._live.keys() - set(averaged):
            self._shadow[key].copy_(self._live[key])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The network has the averaged weights inside of this context, its own again after."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for key, live in self._live.items():
            kept = live.clone()
            live.copy_(self._shadow[key])
            self._shadow[key].copy_(kept)

    def weights(self) -> dict[str, Tensor]:
        """The averaged state dict of the network, not a copy. Not inside of `swapped`."""
        return dict(self._shadow)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "weights": self.weights()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved average. Raises CheckpointError: it is of another network."""
        weights = state["weights"]
        shapes = {key: value.shape for key, value in self._shadow.items()}
        if {key: value.shape for key, value in weights.items()} != shapes:
            raise CheckpointError("the saved moving average of the weights is of another network")
        self.updates = int(state["updates"])
        for key, value in weights.items():
            self._shadow[key].copy_(value)
