"""What a training will need of memory, before it begins: counted, and measured in one pass."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.train.data.loader import Batch
from lib.train.losses.objective import build_objective

_FLOAT = 4  # bytes of a weight, of its gradient, and of each of Adam's two moments


@dataclass(frozen=True)
class Memory:
    """Of one process, in bytes, but for what the libraries take.

    Attributes:
        parameters: of the network and its heads, a number.
        training: those of them that train.
        weights: of all, and of their moving average.
        training_state: gradients and moments of those that train.
        activations: what the forward pass of a batch keeps for the backward pass.
    """

    parameters: int
    training: int
    weights: int
    training_state: int
    activations: int

    def __str__(self) -> str:
        parts = (self.weights, self.training_state, self.activations)
        weights, state, kept = (f"{part / 2**20:,.0f} MiB" for part in parts)
        return (
            f"{self.training:,} of {self.parameters:,} parameters train; about "
            f"{sum(parts) / 2**30:.2f} GiB of memory: weights {weights}, gradients and moments "
            f"{state}, a batch's activations {kept}"
        )


def expected_memory(cfg: Config) -> Memory:
    """Build the network, on the CPU, and run it once on one sample and once on two.

    Raises:
        ConfigError: as `build_objective`.
    """
    model = build_objective(cfg, seed=0)
    if cfg.train.lora_rank:
        model.add_low_rank(cfg.train.lora_rank, seed=0)
    model.train()
    own = {x.untyped_storage().data_ptr() for x in [*model.parameters(), *model.buffers()]}
    one, two = (_kept(model, _black(cfg, samples), own, cfg) for samples in (1, 2))
    # What does not depend on the samples (weights in another number format) is kept once.
    activations = one + (cfg.train.batch_size - 1) * max(0, two - one)
    total = sum(p.numel() for p in model.parameters())
    training = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = 2 if cfg.train.ema_decay else 1
    return Memory(total, training, _FLOAT * copies * total, 3 * _FLOAT * training, activations)


def _kept(model: nn.Module, batch: Batch, own: set[int], cfg: Config) -> int:
    """Bytes that a forward pass keeps, each storage once, without parameters and buffers."""
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(x)  # or its place in memory would be given to another
        return x

    half = cfg.train.precision in ("bf16", "fp16")
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        model(batch, 0.0)
    return sum(sizes.values())


def _black(cfg: Config, samples: int) -> Batch:
    """A batch of black pictures."""
    side, small, number = cfg.data.search.size, cfg.data.template.size, cfg.data.template.number
    box = torch.tensor([0.25, 0.25, 0.5, 0.5])
    return Batch(
        templates=torch.zeros(samples, number, small, small, 3, dtype=torch.uint8),
        search=torch.zeros(samples, side, side, 3, dtype=torch.uint8),
        template_boxes=box.expand(samples, number, 4).contiguous(),
        boxes=box.expand(samples, 4).contiguous(),
        numbers=torch.arange(samples),
        sources=[""] * samples,
        history=box.expand(samples, cfg.model.history, 4).contiguous(),
    )
