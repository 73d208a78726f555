"""Which parameters of the network stay as they are."""

from collections.abc import Iterable, Sequence

from torch import nn

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack
from lib.utils.errors import ConfigError, counted, did_you_mean

_BODY = "encoder.body."


def apply_freezing(network: SeqTrack, cfg: Config) -> list[str]:
    """Switch gradients off where the configuration, or the network itself, wants it.

    The encoder is frozen by FREEZE_ENCODER or ENCODER_MULTIPLIER 0, except what ENCODER_OPEN
    names (the reference's rule); its beginning by FREEZE_BLOCKS. A bottleneck that is never
    applied, because the widths agree, has no gradient to wait for.

    Returns:
        The names of all parameters that do not train, in module order.

    Raises:
        ConfigError: ENCODER_OPEN names nothing, or FREEZE_BLOCKS is more than there are.
    """
    body, train = network.encoder.body, cfg.train
    names = [name for name, _ in body.named_parameters()]
    frozen: set[str] = set()
    if train.freeze_encoder or train.encoder_multiplier == 0:
        frozen = set(names) - _opened(names, train.encoder_open)
    if train.freeze_blocks:
        if train.freeze_blocks > len(body.blocks):
            there = counted(len(body.blocks), "block")
            raise ConfigError(
                f"TRAIN.FREEZE_BLOCKS is {train.freeze_blocks}: there are only {there}"
            )
        parts = ("patch_embed", "pos_embed", *(f"blocks.{i}" for i in range(train.freeze_blocks)))
        frozen |= {n for n in names if n in parts or n.startswith(tuple(f"{p}." for p in parts))}
    for name, parameter in body.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if body.width == network.hidden_dim:
        network.bottleneck.requires_grad_(False)
    return [name for name, p in network.named_parameters() if not p.requires_grad]


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
        word = item.removeprefix(_BODY)
        found = {name for name in names if (word == name if i < 2 else word in name)}
        if not found:
            raise ConfigError(_no_such_parameter(names, i, item, word))
        opened |= found
    return opened


def _no_such_parameter(names: Sequence[str], i: int, item: str, word: str) -> str:
    key = f"TRAIN.ENCODER_OPEN item {i}"
    if i >= 2:
        return f"{key}: no encoder parameter has {item!r} in its name" + did_you_mean(
            word, _beginnings(names)
        )
    partly = sum(word in name for name in names)
    if partly:
        return (
            f"{key}: {item!r} is only part of {counted(partly, 'name')}; items 0 and 1 are exact"
            " names, what is to be found inside of names comes after them"
        )
    return f"{key}: the encoder has no parameter {item!r}" + did_you_mean(word, names)


def _beginnings(names: Iterable[str]) -> list[str]:
    """Every dotted beginning of the names: `blocks`, `blocks.0`, `blocks.0.norm1`, ..."""
    parts = [name.split(".") for name in names]
    return sorted({".".join(p[: i + 1]) for p in parts for i in range(len(p))})
