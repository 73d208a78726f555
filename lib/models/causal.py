"""Templates that attend to themselves only, so that each goes through the blocks once.

    context = template_context(blocks, tokens, before)                when a template is taken
    search  = attend_to_templates(blocks, search, contexts, bias)     in every frame

A search region attends to itself and to all templates; no template attends to a search region or
to another template. All that a search region needs of a template are its keys and values in each
block. Training does the same two passes: what is trained is what tracks.
Source: frame-wise causal attention with cached keys and values of LoRATv2 (NeurIPS 2025), after
the asymmetric attention of MixFormer (Cui et al., CVPR 2022).
"""

from collections.abc import Iterable

import timm.layers
import timm.models.vision_transformer
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lib.models.blocks import Attention, Block, through
from lib.models.exporting import exporting, onnx_attention

# Blocks of the same parts, with their attention. What does nothing in ours is None or not there;
# the dropout of timm's is 0 in all its models.
_PLAIN = {Block: Attention, timm.models.vision_transformer.Block: timm.layers.Attention}


def can_be_causal(blocks: Iterable[nn.Module]) -> bool:
    """Whether these are our own or timm's plain blocks, whose attention is spelt below."""
    return all(
        type(block) in _PLAIN
        and type(block.attn) is _PLAIN[type(block)]
        and getattr(block.attn, "gate", None) is None
        for block in blocks
    )


def run_block(
    block: nn.Module,
    x: Tensor,
    context: Tensor | None = None,
    key_bias: Tensor | None = None,
    tokens: int | None = None,
    read: slice = slice(None),
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One block, whose tokens attend to themselves and to a context.

    Args:
        block: see `can_be_causal`.
        x: `(B, N, C)`.
        context: `(B, 2, heads, M, C / heads)` keys and values of other tokens, or None.
        key_bias: `(B, 1, 1, tokens + M)` to add to what every key scores, or None.
        tokens: how many rows of x are tokens; nobody attends to those after them. None: all.
        read: the n rows of x that are computed; all attend, and are attended to, as before.

    Returns:
        `(B, n, C)`, and the tokens' own keys and values, `(B, heads, tokens, C / heads)` each.
    """
    attention = block.attn
    queries, *own = _split(attention, block.norm1(x))
    keys, values = own = [part[:, :, :tokens] for part in own]
    if context is not None:
        keys = torch.cat([keys, context[:, 0]], dim=2)
        values = torch.cat([values, context[:, 1]], dim=2)
    queries, x = queries[:, :, read], x[:, read]
    if key_bias is not None:
        key_bias = key_bias.to(queries.dtype)
    if exporting():
        if key_bias is not None:
            # ONNX Runtime wants a row for each query.
            key_bias = key_bias.expand(-1, -1, x.shape[1], -1)
        attended = onnx_attention(queries, keys, values, key_bias)
    else:
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=key_bias)
    attended = through(getattr(attention, "norm", None), attended.transpose(1, 2).flatten(2))
    x = x + through(block.drop_path1, through(block.ls1, attention.proj(attended)))
    mixed = through(block.drop_path2, through(block.ls2, block.mlp(block.norm2(x))))
    return x + mixed, (own[0], own[1])


def template_context(blocks: nn.ModuleList, x: Tensor, before: int) -> Tensor:
    """What a search region needs of N templates.

    Args:
        blocks: of the encoder.
        x: `(N, before + L_z, C)` tokens; each template attends to its own.
        before: class and register tokens, which are not kept.

    Returns:
        `(N, depth, 2, heads, L_z, C / heads)` keys and values of every block.
    """
    kept = []
    for block in blocks[:-1]:
        x, own = run_block(block, x)
        kept.append(own)
    # Nobody reads what the last block would make of a template.
    _, *own = _split(blocks[-1].attn, blocks[-1].norm1(x))
    kept.append((own[0], own[1]))
    pairs = [torch.stack(pair, dim=1) for pair in kept]
    return torch.stack(pairs, dim=1)[:, :, :, :, before:]


def attend_to_templates(
    blocks: nn.ModuleList,
    x: Tensor,
    templates: Tensor,
    key_bias: Tensor | None = None,
    recompute: bool = False,
    row_group: int = 1,
    before: int = 0,
) -> Tensor:
    """All blocks over the tokens of search regions.

    Args:
        blocks: of the encoder.
        x: `(B, N, C)`.
        templates: `(B, D, depth, 2, heads, L_z, C / heads)` of `template_context`.
        key_bias: `(B, 1, 1, N + D * L_z)` to add to what every key scores, or None.
        recompute: save memory in training, see MODEL.ENCODER.USE_CHECKPOINT.
        row_group: x is filled up with rows that nobody attends to until their number is divisible
            by this; see `lib.models.packed`.
        before: class and register tokens, which nobody reads after the last block.

    Returns:
        `(B, N - before, C)`.
    """
    # Tokens of all templates one after the other: (depth, B, 2, heads, D * L_z, C / heads).
    context = templates.permute(2, 0, 3, 4, 1, 5, 6).flatten(4, 5)
    tokens = x.shape[1]
    if more := -tokens % row_group:
        x = F.pad(x, (0, 0, 0, more))
    for i, (block, of_block) in enumerate(zip(blocks, context, strict=True), 1):
        read = slice(before, tokens) if i == len(blocks) else slice(None)
        inputs = (block, x, of_block, key_bias, tokens, read)
        if recompute:
            x, _ = checkpoint(run_block, *inputs, use_reentrant=False)
        else:
            x, _ = run_block(*inputs)
    return x


def _split(attention: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, `(B, heads, N, C / heads)` each."""
    parts = attention.qkv(x).unflatten(2, (3, attention.num_heads, -1)).transpose(1, 3)
    queries, keys, values = parts.unbind(2)
    return through(attention.q_norm, queries), through(attention.k_norm, keys), values
