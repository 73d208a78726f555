"""Templates that attend to themselves only, so that each goes through the blocks once.

    context = template_context(blocks, tokens, before)      when a template is taken
    search  = run_block(block, search, context of it)       in every frame

A search region attends to itself and to all templates; no template attends to a search region or
to another template. All that a search region needs of a template are its keys and values in each
block. Training does the same two passes: what is trained is what tracks.
Source: frame-wise causal attention with cached keys and values of LoRATv2 (NeurIPS 2025), after
the asymmetric attention of MixFormer (Cui et al., CVPR 2022).
"""

from collections.abc import Iterable

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.exporting import exporting, onnx_attention


def can_be_causal(blocks: Iterable[nn.Module]) -> bool:
    """Whether these are timm's plain blocks, whose attention is spelt below."""
    return all(
        type(block) is Block
        and type(block.attn) is Attention
        and getattr(block.attn, "gate", None) is None
        for block in blocks
    )


def run_block(
    block: Block,
    x: Tensor,
    context: Tensor | None = None,
    key_bias: Tensor | None = None,
    tokens: int | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One block, whose tokens attend to themselves and to a context.

    Args:
        block: see `can_be_causal`.
        x: `(B, N, C)`.
        context: `(B, 2, heads, M, C / heads)` keys and values of other tokens, or None.
        key_bias: `(B, 1, 1, tokens + M)` to add to what every key scores, or None.
        tokens: how many rows of x are tokens; nobody attends to those after them. None: all.

    Returns:
        `(B, N, C)`, and the tokens' own keys and values, `(B, heads, tokens, C / heads)` each.
    """
    attention = block.attn
    queries, *own = _split(attention, block.norm1(x))
    keys, values = own = [part[:, :, :tokens] for part in own]
    if context is not None:
        keys = torch.cat([keys, context[:, 0]], dim=2)
        values = torch.cat([values, context[:, 1]], dim=2)
    if key_bias is not None:
        key_bias = key_bias.to(queries.dtype)
    if exporting():
        if key_bias is not None:
            # ONNX Runtime wants a row for each query.
            key_bias = key_bias.expand(-1, -1, x.shape[1], -1)
        attended = onnx_attention(queries, keys, values, key_bias)
    else:
        dropout = attention.attn_drop.p if attention.training else 0.0
        attended = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=key_bias, dropout_p=dropout
        )
    attended = attention.norm(attended.transpose(1, 2).flatten(2))
    x = x + block.drop_path1(block.ls1(attention.proj_drop(attention.proj(attended))))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x)))), (own[0], own[1])


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


def _split(attention: Attention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, `(B, heads, N, C / heads)` each."""
    parts = attention.qkv(x).unflatten(2, (3, attention.num_heads, -1)).transpose(1, 3)
    queries, keys, values = parts.unbind(2)
    return attention.q_norm(queries), attention.k_norm(keys), values
