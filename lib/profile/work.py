"""How much a network multiplies for one frame, in both ways that people count.

`linear_conv` counts layers with weights only, as most tools do; `all` counts the products inside
attention as well. Both are multiply-accumulates (MAC); one MAC is two FLOP. Formulas of our own;
a test holds them against PyTorch's counter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.config.schema import Config
from lib.models.encoder import VisionTransformer
from lib.models.seqtrack import STEPS, SeqTrack


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one frame."""

    linear_conv: int = 0  # of linear and convolution layers
    attention: int = 0  # of the products of queries with keys, and of the shares with values

    @property
    def all(self) -> int:
        return self.linear_conv + self.attention

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(self.linear_conv + other.linear_conv, self.attention + other.attention)


def embedding_macs(network: SeqTrack, cfg: Config, templates: int, cached: bool) -> Macs:
    """From pixels to tokens.

    Args:
        network: its embedding is run once, on zeros.
        cfg: the configuration that it was built from.
        cached: whether the templates have been through it before.
    """
    body, size = network.encoder.body, cfg.test.template_size
    like = {"device": network.pos_embed.device}
    z = torch.zeros(1, 3, size, size, **like)
    x = torch.zeros(1, 3, cfg.test.search_size, cfg.test.search_size, **like)
    with torch.inference_mode():
        features = body.embed_templates(z, torch.zeros(1, 4, **like))
    # With what it correlates: a correlation is a layer here.
    total = Macs(_counted(lambda: body.embed_search(x, features.unflatten(1))).all)
    if not cached:
        template = _counted(lambda: body.embed_templates(z, features.boxes))
        total += Macs(templates * template.linear_conv, templates * template.attention)
    return total


def _counted(run: Callable[[], object]) -> Macs:
    """What PyTorch counts."""
    # Written out, attention is the only product of batches.
    written_out, counter = sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False)
    with torch.inference_mode(), written_out, counter:
        run()
    counts = counter.get_flop_counts()["Global"]
    attention = sum(flops for name, flops in counts.items() if "bmm" in str(name))
    return Macs((sum(counts.values()) - attention) // 2, attention // 2)


def encoder_macs(network: SeqTrack, distinct: int, pruned: bool) -> Macs:
    """The blocks over the search tokens and `distinct` templates.

    Args:
        distinct: how many templates are computed, or read where they are kept as keys and values.
        pruned: whether the last block computes only the search tokens.
    """
    body = network.encoder.body
    if not isinstance(body, VisionTransformer):
        return _counted_encoder(network, distinct)
    keys = body.search_tokens + distinct * body.template_tokens
    tokens = body.search_tokens if body.causal else keys
    total = Macs()
    for block in body.blocks:
        last = pruned and block is body.blocks[-1]
        rows, width = body.search_tokens if last else tokens, body.width
        hidden = block.mlp.fc1.out_features
        linear = rows * (width * width + 2 * width * hidden) + tokens * 3 * width * width
        total += Macs(linear, 2 * rows * keys * width)
    return total


def _counted_encoder(network: SeqTrack, distinct: int) -> Macs:
    """Of an encoder that is not our own, run once on zeros."""
    body, like = network.encoder.body, {"device": network.pos_embed.device}
    search = torch.zeros(1, body.search_tokens, body.width, **like)
    size = math.isqrt(body.template_tokens) * body.patch_embed.proj.weight.shape[-1]
    with torch.inference_mode():
        images = torch.zeros(distinct, 3, size, size, **like)
        features = body.embed_templates(images, torch.zeros(distinct, 4, **like)).unflatten(1)
    return _counted(lambda: body(search, features.tokens, None, True))


def decoder_macs(network: SeqTrack, cached: bool) -> Macs:
    """Bottleneck, four words and the head; `cached` as tracked, else as published."""
    dim, memory = network.hidden_dim, network.pos_embed.shape[1]
    total = Macs()
    if network.encoder.body.width != dim:
        total += Macs(memory * network.encoder.body.width * dim)
    head = sum(layer.weight.numel() for layer in network.vocab_embed.layers)
    for step in range(STEPS):
        # With MODEL.HISTORY the words of the boxes before are read first.
        known = STEPS * network.history + step + 1
        words = 1 if cached and step else known
        for layer in network.decoder.body.layers:
            ffn = 2 * dim * layer.linear1.out_features
            # Own queries, keys, values and output; queries and output of the other attention.
            linear = words * (6 * dim * dim + ffn)
            if not cached or step == 0:
                linear += 2 * memory * dim * dim
            # With one key there is nothing to choose: a first cached word has no products.
            own = 0 if cached and known == 1 else 2 * words * known * dim
            total += Macs(linear, own + 2 * words * memory * dim)
        total += Macs((1 if cached else words) * head)
    return total


def frame_macs(network: SeqTrack, cfg: Config, distinct: int | None) -> Macs:
    """One whole frame.

    Args:
        cfg: the configuration that it was built from.
        distinct: how many templates differ; None for the published method, which does not care.
    """
    count, ours = cfg.test.num_templates, distinct is not None
    pruned = ours and network.feature_type == "x"
    return (
        embedding_macs(network, cfg, count, ours)
        + encoder_macs(network, count if distinct is None else distinct, pruned)
        + decoder_macs(network, ours)
    )
