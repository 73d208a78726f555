"""The optimizer: which parameter learns how fast, and when.

The learning rate is a function of the configuration and of the position in the training, so
there is no scheduler whose state could be lost or disagree when a training resumes.
Source: the reference trainer (AdamW, two groups, step schedule); the options are named with
their keys in `lib/config/schema/training.py`.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from lib.config.schema import Config
from lib.train.losses.objective import Objective
from lib.utils.distributed import World
from lib.utils.errors import CheckpointError

_ENCODER = "encoder"


def group_names(objective: Objective) -> tuple[list[str], list[str]]:
    """Names of the parameters that train: all but the encoder's, the encoder's; module order.

    Names are the network's, as in its state dict; auxiliary heads come last in the first group
    as `heads.*`.
    """
    names = [name for name, p in objective.network.named_parameters() if p.requires_grad]
    heads = [f"heads.{name}" for name, _ in objective.heads.named_parameters()]
    return (
        [name for name in names if _ENCODER not in name] + heads,
        [name for name in names if _ENCODER in name],
    )


def base_rates(cfg: Config) -> tuple[float, float]:
    """Learning rates of the two groups before the schedule."""
    return cfg.train.lr, cfg.train.lr * cfg.train.encoder_multiplier


def parameter_groups(objective: Objective, cfg: Config) -> list[dict[str, Any]]:
    """The two groups of `group_names` for an optimizer, each with its base rate as `initial_lr`.

    LAYER_DECAY and NO_DECAY cut them into smaller ones: parameters of one rate and weight decay.
    """
    parameters = dict(objective.network.named_parameters())
    parameters |= {f"heads.{name}": p for name, p in objective.heads.named_parameters()}
    depth = len(objective.network.encoder.body.blocks)
    groups = []
    for names, rate in zip(group_names(objective), base_rates(cfg), strict=True):
        # The reference's groups exist with nothing in them as well.
        parts: dict[tuple[float, float], list[Tensor]] = {} if names else {(1.0, 0.0): []}
        for name in names:
            share = cfg.train.layer_decay ** _layers_above(name, depth)
            spared = cfg.train.no_decay and _is_spared(name, parameters[name])
            decay = 0.0 if spared else cfg.train.weight_decay
            parts.setdefault((share, decay), []).append(parameters[name])
        for (share, decay), members in parts.items():
            lr = rate * share
            group = {"params": members, "lr": lr, "initial_lr": lr, "weight_decay": decay}
            groups.append(group)
    return groups


def _layers_above(name: str, depth: int) -> int:
    """Layers between a parameter and the encoder's end: 0 for its norm and what is outside of it.

    Source: layer-wise learning rate decay of BEiT (Bao et al., 2022) and MAE's fine-tuning.
    """
    _, is_body, rest = name.partition("encoder.body.")
    parts = rest.split(".")
    if not is_body or parts[0] == "norm":
        return 0
    return depth - int(parts[1]) if parts[0] == "blocks" else depth + 1


def _is_spared(name: str, parameter: Tensor) -> bool:
    return parameter.ndim <= 1 or "pos_embed" in name or "position_embeddings" in name


def build_optimizer(objective: Objective, cfg: Config) -> AdamW:
    """AdamW over the parameters that train. Move the objective to its device first."""
    device = next(objective.parameters()).device
    groups = parameter_groups(objective, cfg)
    return AdamW(groups, betas=cfg.train.betas, fused=device.type in ("cuda", "cpu"))


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over moments and step counts of a saved optimizer state.

    Learning rates, weight decay and the like stay those of this optimizer, which has them from
    the configuration. A state without moments (a checkpoint that was made smaller) is fine: the
    moments start from zero.

    Raises:
        CheckpointError: the state is of other parameters.
    """
    groups = optimizer.state_dict()["param_groups"]
    mine = [len(group["params"]) for group in groups]
    theirs = [len(group["params"]) for group in state["param_groups"]]
    if mine != theirs:
        raise CheckpointError(
            f"the saved optimizer has groups of {theirs} parameters, this training has {mine}: "
            "another network, other auxiliary losses, other parameters are frozen, or "
            "TRAIN.NO_DECAY or LAYER_DECAY is another"
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    keys = [key for group in state["param_groups"] for key in group["params"]]
    for key, parameter in zip(keys, parameters, strict=True):
        for name, value in state["state"].get(key, {}).items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise CheckpointError(
                    f"the saved optimizer's {name} number {key} has shape {tuple(value.shape)}, "
                    f"the parameter has {tuple(parameter.shape)}"
                )
    kept = [
        {**group, "params": saved["params"]}
        for group, saved in zip(groups, state["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state["state"], "param_groups": kept})


def share_optimizer(optimizer: torch.optim.Optimizer, world: World) -> None:
    """Give all processes the moments and step counts of the main one."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    known = world.on_main(lambda: [p in optimizer.state for p in parameters])
    for parameter in (p for p, there in zip(parameters, known, strict=True) if there):
        state = optimizer.state[parameter]
        if not world.is_main:
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            state.update(step=step, **moments)
        world.take_from_main(state[name] for name in ("step", "exp_avg", "exp_avg_sq"))


def learning_rate_factor(cfg: Config, epoch: int, step: int, progress: float) -> float:
    """Share of the base learning rates that one optimizer step uses.

    Args:
        cfg: the configuration.
        epoch: the epoch that the step is in, from 1.
        step: optimizer steps before this one, over the whole training.
        progress: share of the training that is done, 0 to 1. It is of epochs, not of steps:
            a training that goes on with more processes takes fewer steps from then on.
    """
    scheduler = cfg.train.scheduler
    # The first step already moves: a rate of 0 would waste it.
    warmup = min(1.0, (step + 1) / max(1, scheduler.warmup_steps))
    if scheduler.type == "cosine":
        wave = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return warmup * (scheduler.final_share + (1 - scheduler.final_share) * wave)
    return warmup * scheduler.decay_rate ** ((epoch - 1) // cfg.train.lr_drop_epoch)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, cfg: Config, epoch: int, step: int, progress: float
) -> list[float]:
    """Give every group its rate for the step; see `learning_rate_factor`. Returns the rates."""
    factor = learning_rate_factor(cfg, epoch, step, progress)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return [group["lr"] for group in optimizer.param_groups]
