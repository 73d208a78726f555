"""The optimizer: which parameter learns, how fast, and when.

The learning rate is a function of the configuration and of the position in the training, so
there is no scheduler whose state could be lost or disagree when a training resumes.
Source: the reference trainer (AdamW, two groups, step schedule); the options are named with
their keys in `lib/config/schema/training.py`.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from lib.config.schema import Config
from lib.models.encoder import JointEncoder
from lib.train.model import TrackerModel
from lib.utils.distributed import World
from lib.utils.errors import CheckpointError, ConfigError, counted, did_you_mean

_ENCODER = "encoder"
_BODY = "encoder.body."
# Tables that are added to tokens, or are tokens.
_EMBEDDINGS = ("pos_embed", "position_embeddings", f"{_BODY}prefix", f"{_BODY}type_embed")
# Parts of the encoder that were not pre-trained, and learn as fast as what follows it.
_NEW = ("type_embed", "template_box")


def freeze_encoder(body: JointEncoder, cfg: Config) -> None:
    """Switch gradients of an encoder off where the configuration wants it.

    It is frozen by FREEZE_ENCODER or ENCODER_MULTIPLIER 0, except what ENCODER_OPEN names (the
    reference's rule); its beginning by FREEZE_BLOCKS.

    Raises:
        ConfigError: ENCODER_OPEN names nothing, or FREEZE_BLOCKS is more than there are.
    """
    train, names = cfg.train, [name for name, _ in body.named_parameters()]
    frozen: set[str] = set()
    if train.freeze_encoder or train.encoder_multiplier == 0:
        frozen = set(names) - _opened(names, train.encoder_open)
    if number := train.freeze_blocks:
        if number > len(body.blocks):
            blocks = counted(len(body.blocks), "block")
            raise ConfigError(f"TRAIN.FREEZE_BLOCKS is {number}: there are only {blocks}")
        parts = (*body.embedding, *(f"blocks.{i}" for i in range(number)))
        frozen |= {n for n in names if f"{n}.".startswith(tuple(f"{p}." for p in parts))}
    for name in frozen:
        body.get_parameter(name).requires_grad_(False)


def frozen_modules(network: nn.Module) -> list[nn.Module]:
    """The modules that have parameters of which none trains."""
    return [
        module
        for module in network.modules()
        if not any(parameter.requires_grad for parameter in module.parameters())
        and next(module.parameters(), None) is not None
    ]


def _opened(names: Sequence[str], items: Sequence[str]) -> set[str]:
    """The encoder's parameters that ENCODER_OPEN names: items 0, 1 exactly, others in part.

    Names are those inside the encoder, such as `blocks.11.norm1.weight`; the prefix that they
    have in a checkpoint may stay.
    """
    opened: set[str] = set()
    for i, item in enumerate(items):
        part, key = item.removeprefix(_BODY), f"TRAIN.ENCODER_OPEN item {i}"
        containing = {name for name in names if part in name}
        found = containing if i >= 2 else containing & {part}
        if not found and i >= 2:
            # Every dotted beginning of the names: `blocks`, `blocks.0`, `blocks.0.norm1`, ...
            prefixes = {n[: m.start()] for n in names for m in re.finditer(r"\.|$", n)}
            hint = did_you_mean(part, sorted(prefixes))
            raise ConfigError(f"{key}: no encoder parameter has {item!r} in its name{hint}")
        if not found and containing:
            raise ConfigError(
                f"{key}: {item!r} is only part of {counted(len(containing), 'name')}; items 0 and 1"
                " are exact names, what is to be found inside of names comes after them"
            )
        if not found:
            hint = did_you_mean(part, names)
            raise ConfigError(f"{key}: the encoder has no parameter {item!r}{hint}")
        opened |= found
    return opened


def group_names(model: TrackerModel) -> tuple[list[str], list[str]]:
    """Names of the parameters that train: all but the encoder's, the encoder's; module order.

    Names are the network's, as in its state dict; auxiliary heads come last in the first group
    as `heads.*`.
    """
    names = [name for name, p in model.inference().named_parameters() if p.requires_grad]
    heads = [f"heads.{name}" for name, _ in model.heads.named_parameters()]
    return (
        [name for name in names if _ENCODER not in name] + heads,
        [name for name in names if _ENCODER in name],
    )


def base_rates(cfg: Config) -> tuple[float, float]:
    return cfg.train.lr, cfg.train.lr * cfg.train.encoder_multiplier


def parameter_groups(model: TrackerModel, cfg: Config, depth: int) -> list[dict[str, Any]]:
    """The two groups of `group_names` for an optimizer, each with its base rate as `initial_lr`.

    LAYER_DECAY and NO_DECAY cut them into smaller ones: parameters of one rate and weight decay.
    `depth` is the number of blocks at the network's `encoder.body.blocks`.
    """
    parameters = dict(model.inference().named_parameters())
    parameters |= {f"heads.{name}": p for name, p in model.heads.named_parameters()}
    groups = []
    for names, rate in zip(group_names(model), base_rates(cfg), strict=True):
        # The reference's groups exist with nothing in them as well.
        parts: dict[tuple[float, float], list[Tensor]] = {} if names else {(1.0, 0.0): []}
        for name in names:
            share = cfg.train.layer_decay ** _layers_above(name, depth)
            if _is_pretrained_stem(name):
                share *= cfg.train.stem_multiplier
            embeds = any(part in name for part in _EMBEDDINGS)
            spared = cfg.train.no_decay and (embeds or parameters[name].ndim <= 1)
            decay = 0.0 if spared else cfg.train.weight_decay
            parts.setdefault((share, decay), []).append(parameters[name])
        for (share, decay), members in parts.items():
            lr = rate * share
            groups.append({"params": members, "lr": lr, "initial_lr": lr, "weight_decay": decay})
    return groups


def _layers_above(name: str, depth: int) -> int:
    """Layers between a parameter and the encoder's end: 0 for its norm, what is new in it, and
    what is outside of it.

    Source: layer-wise learning rate decay of BEiT (Bao et al., 2022) and MAE's fine-tuning.
    """
    _, is_body, rest = name.partition(_BODY)
    parts = rest.split(".")
    if not is_body or parts[0] in ("norm", *_NEW):
        return 0
    return depth - int(parts[1]) if parts[0] == "blocks" else depth + 1


def _is_pretrained_stem(name: str) -> bool:
    """Whether a parameter is of the stages that `LiteStem` has from ImageNet."""
    place = "encoder.body.patch_embed."
    return name.startswith(tuple(f"{place}{part}." for part in ("first", "early", "late")))


def build_optimizer(model: TrackerModel, cfg: Config) -> AdamW:
    """AdamW over the parameters that train. Move the model to its device first."""
    device = next(model.parameters()).device
    fused = device.type in ("cuda", "cpu")
    return AdamW(model.param_groups(cfg), betas=cfg.train.betas, fused=fused)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over moments and step counts of a saved optimizer state.

    Learning rates, weight decay and the like stay those of this optimizer, which has them from
    the configuration. A state without moments (a checkpoint that was made smaller) is fine: the
    moments start from zero.

    Raises:
        CheckpointError: the state is of other parameters.
    """
    groups = optimizer.state_dict()["param_groups"]
    sizes = [len(group["params"]) for group in groups]
    saved_sizes = [len(group["params"]) for group in state["param_groups"]]
    if sizes != saved_sizes:
        raise CheckpointError(
            f"the saved optimizer has groups of {saved_sizes} parameters, this training {sizes}: "
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
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    known = world.on_main(lambda: [p in optimizer.state for p in parameters])
    for parameter in (p for p, there in zip(parameters, known, strict=True) if there):
        state = optimizer.state[parameter]
        if not world.is_main:
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            state.update(step=step, **moments)
        world.broadcast(state[name] for name in ("step", "exp_avg", "exp_avg_sq"))


def learning_rate_factor(cfg: Config, epoch: int, step: int, progress: float) -> float:
    """Share of the base learning rates that one optimizer step uses.

    Args:
        epoch: that of the step, from 1.
        step: optimizer steps before this one, over the whole training.
        progress: share of the training that is done, 0 to 1. It is of epochs, not of steps: a
            training that goes on with more processes takes fewer steps from then on.
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
