"""How long a training step takes beside one of the published kind, on the same batch.

The reference step computes in fp32 without TF32, writes attention out, updates one parameter
after the other, and runs encoder and decoder as two forward passes. The batch is on the device
already in both: what the loader costs is measured apart from this.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.turns import take_turns
from lib.config.schema import Config
from lib.models.pixels import normalise
from lib.models.seqtrack import build_seqtrack
from lib.train.loop import train_step
from lib.train.losses.objective import Objective
from lib.train.losses.tokens import token_cross_entropy
from lib.train.optim import build_optimizer
from lib.train.precision import Precision


@dataclass(frozen=True)
class NoiseBatch:
    """What `Objective.forward` reads of a `Batch`."""

    templates: Tensor
    search: Tensor
    template_boxes: Tensor
    boxes: Tensor

    @classmethod
    def of(cls, cfg: Config, size: int, device: torch.device) -> "NoiseBatch":
        """Seeded, in the shapes of the configuration."""
        generator = torch.Generator().manual_seed(0)
        side, small = cfg.data.search.size, cfg.data.template.size
        shapes = ((size, cfg.data.template.number, small, small, 3), (size, side, side, 3))
        images = (torch.randint(0, 256, s, dtype=torch.uint8, generator=generator) for s in shapes)
        boxes = torch.rand(size, 4, generator=generator) * 0.4 + 0.2
        placed = torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(*shapes[0][:2], 4)
        tensors = (*images, placed.contiguous(), boxes)
        return cls(*(tensor.to(device) for tensor in tensors))


def reference_step(objective: Objective, cfg: Config, batch: NoiseBatch) -> Callable[[int], object]:
    """A step of the published kind: cross-entropy of the tokens, and nothing fused."""
    network = objective.network
    groups = objective.param_groups(cfg)
    optimizer = torch.optim.AdamW(groups, foreach=False, fused=False)
    tokenizer = objective.tokenizer
    templates, search = normalise(batch.templates), normalise(batch.search)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    _unfuse(network)

    def step(_: int) -> object:
        inputs, words = tokenizer.encode(batch.boxes)
        with sdpa_kernel(SDPBackend.MATH):
            memory = network.memory(network.encode(templates, search, batch.template_boxes))
            logits = network.logits(memory, inputs, batch.template_boxes)
            loss = token_cross_entropy(logits, words, cfg.train.special_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.step()
        return loss.item()

    return step


def _unfuse(network: nn.Module) -> None:
    for block in network.encoder.body.blocks:
        block.attn.fused_attn = False


def our_step(objective: Objective, cfg: Config, batch: NoiseBatch) -> Callable[[int], object]:
    """A step as `train.py` makes it."""
    device = batch.search.device
    optimizer, precision = build_optimizer(objective, cfg), Precision(cfg.train.precision, device)
    limit = cfg.train.grad_clip_norm
    return lambda _: train_step(objective, optimizer, precision, [batch], 0.0, clip_norm=limit)


def step_record(
    cfg: Config,
    device: torch.device,
    batch_size: int | None,
    precisions: list[str],
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Measure steps in turns.

    Args:
        cfg: what is trained.
        device: where.
        batch_size: samples per step, or None for TRAIN.BATCH_SIZE.
        precisions: those of our step.
        rounds: steps of each.
        seconds: begin no further round after that time, but finish two.

    Returns:
        the record: `ratio_to_reference` is that of the last precision.
    """
    batch = NoiseBatch.of(cfg, batch_size or cfg.train.batch_size, device)
    torch.manual_seed(0)
    first = Objective(build_seqtrack(cfg), cfg).to(device).train()
    steps = {"reference": reference_step(copy.deepcopy(first), cfg, batch)}
    for precision in precisions:
        changed = cfg.train.model_copy(update={"precision": precision})
        own = cfg.model_copy(update={"train": changed})
        steps[precision] = our_step(copy.deepcopy(first), own, batch)
    times = take_turns(steps, device, rounds, seconds, at_least=2)
    slow = times["reference"].median
    rows = [
        {
            "what": name if name == "reference" else f"ours {name}",
            **each.row(),
            "samples_per_s": round(1e3 * len(batch.search) / each.median, 2),
            "ratio_to_reference": round(slow / each.median, 4),
        }
        for name, each in times.items()
    ]
    return {
        "config": cfg.name,
        "batch_size": len(batch.search),
        "reference_ms": round(slow, 4),
        "ratio_to_reference": rows[-1]["ratio_to_reference"],
        "rows": rows,
    }
