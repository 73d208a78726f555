"""The decoder: a small causal transformer that writes the box as tokens.

    cache = decoder.start(memory, positions)
    hidden, cache = decoder.step(tokens, cache)      all tokens at once, or one after the other

It attends to the tokens so far and to the encoder's memory. Keys and values of the memory are
projected once per image; those of earlier tokens are kept, so each new token costs one step. The
result is the same as running the growing sequence again (a test holds them equal).
Parameter names are those of `nn.MultiheadAttention`, which released weights carry; the module
itself cannot take ready-made keys and values, hence the attention below.
Source: SeqTrack (CVPR 2023), section 3.2; sizes and norms from the reference framework.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.exporting import exporting, onnx_attention

# Keys and values, each (B, heads, N, D / heads).
KeysValues = tuple[Tensor, Tensor]


class Constants(NamedTuple):
    """What of the layers' products depends on weights only: `W (x + p) = W x + W p`.

    For tracking. In training the layers compute as published: the gradient of a bias of keys is
    zero but for rounding, which Adam makes a step of, and trainings would part from recorded ones.

    Attributes:
        tokens: `(vocabulary, D)` embedded tokens.
        own: per layer `(L, 3 D)` to add to queries, keys and values of the tokens.
        queries: per layer `(D, D)` from the tokens to queries of the memory.
        cross: per layer `(L, D)` to add to these queries.
        weight: `(layers * 2 D, D)` from the memory to keys and values of all layers.
        bias: `(1, M, layers * 2 D)` to add to these.
    """

    tokens: Tensor
    own: list[Tensor]
    queries: list[Tensor]
    cross: list[Tensor]
    weight: Tensor
    bias: Tensor


class Cache(NamedTuple):
    """What a step attends to.

    Attributes:
        constants: of the decoder, once it is frozen.
        memory: keys and values of the encoder's output, one pair per layer.
        past: keys and values of the tokens so far, likewise; empty before the first.
    """

    constants: Constants | None
    memory: list[KeysValues]
    past: list[KeysValues]


def split_heads(x: Tensor, length: int, parts: int, heads: int) -> tuple[Tensor, ...]:
    """`(B * L, parts * D)` to that many `(B, heads, L, D / heads)`."""
    if length == 1:
        return x.view(-1, parts, heads, 1, x.shape[-1] // (parts * heads)).unbind(1)
    split = x.view(-1, length, parts, heads, x.shape[-1] // (parts * heads)).unbind(2)
    # One after the other: as one permutation, an exported graph would copy all of them.
    return tuple(y.transpose(1, 2) for y in split)


def add_positions(x: Tensor, positions: Tensor) -> Tensor:
    """Positions `(L, D)`, or `(D,)` where L is 1, added to tokens `(B * L, D)`."""
    if positions.dim() == 1:
        return x + positions
    return (x.unflatten(0, (-1, len(positions))) + positions).flatten(0, 1)


def placed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`W x` of tokens `(B * L, D)` and what positions add, `(L, K)`, or `(K,)` where L is 1."""
    if bias.dim() == 1:
        return F.linear(x, weight, bias)
    return (F.linear(x, weight).unflatten(0, (-1, len(bias))) + bias).flatten(0, 1)


class DecoderAttention(nn.Module):
    """Multi-head attention with ready queries, keys and values."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def project(self, x: Tensor, part: int) -> Tensor:
        """Queries (part 0), keys (1) or values (2) of `(..., D)`."""
        rows = slice(part * x.shape[-1], (part + 1) * x.shape[-1])
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
        """Attend from `(B, h, L, D / h)` to `(B, h, N, D / h)`; returns `(B * L, D)`."""
        if keys.shape[2] == queries.shape[2] == 1:
            # All of the attention is on the only key.
            attended = values
        elif exporting():
            attended = onnx_attention(queries, keys, values, causal=causal)
        else:
            dropout = self.dropout if self.training else 0.0
            attended = F.scaled_dot_product_attention(
                queries, keys, values, dropout_p=dropout, is_causal=causal
            )
        if queries.shape[2] > 1:
            attended = attended.transpose(1, 2).flatten(0, 1)
        return self.out_proj(attended.flatten(1))


class DecoderLayer(nn.Module):
    """Self-attention over the tokens, cross-attention to the memory, feed-forward.

    Positions are added to queries and keys, never to values.
    """

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = DecoderAttention(dim, heads, dropout)
        self.multihead_attn = DecoderAttention(dim, heads, dropout)
        self.linear1 = nn.Linear(dim, ffn)
        self.linear2 = nn.Linear(ffn, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def _self_attention(
        self, x: Tensor, positions: Tensor, own: Tensor | None, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        attention = self.self_attn
        length = 1 if positions.dim() == 1 else len(positions)
        if own is None:
            there = add_positions(x, positions)
            parts = (attention.project(y, part) for part, y in enumerate((there, there, x)))
            qkv = torch.cat(list(parts), dim=-1)
        else:
            qkv = placed(x, attention.in_proj_weight, own)
        queries, keys, values = split_heads(qkv, length, 3, attention.heads)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        # A single token may see all of its past: no mask is needed.
        return attention(queries, keys, values, causal=length > 1), (keys, values)

    def _cross_attention(
        self,
        x: Tensor,
        positions: Tensor,
        cross: tuple[Tensor, Tensor] | None,
        memory: KeysValues,
    ) -> Tensor:
        attention = self.multihead_attn
        length = 1 if positions.dim() == 1 else len(positions)
        if cross is None:
            projected = attention.project(add_positions(x, positions), 0)
        else:
            projected = placed(x, *cross)
        (queries,) = split_heads(projected, length, 1, attention.heads)
        return attention(queries, *memory, causal=False)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self._dropped(F.relu(self.linear1(x))))

    def _dropped(self, x: Tensor) -> Tensor:
        # To call a module that does nothing costs a small network more than this question.
        return self.dropout(x) if self.training else x

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        fixed: tuple[Tensor, tuple[Tensor, Tensor]] | None,
        memory: KeysValues,
        past: KeysValues | None,
    ) -> tuple[Tensor, KeysValues]:
        """One layer over tokens `(B, L)`.

        Args:
            x: `(B * L, D)`; with `past`, L is 1.
            positions: `(L, D)`, or `(D,)` where L is 1, added to queries and keys.
            fixed: of `Constants`: what positions add to `own`, and `queries` with `cross`; None:
                compute as published.
            memory: keys and values of the memory.
            past: keys and values of the tokens before, or None.

        Returns:
            `(B * L, D)`, and the keys and values of all tokens so far.
        """
        own, cross = (None, None) if fixed is None else fixed
        if self.pre_norm:
            attended, kept = self._self_attention(self.norm1(x), positions, own, past)
            x = x + self._dropped(attended)
            read = self._cross_attention(self.norm2(x), positions, cross, memory)
            x = x + self._dropped(read)
            return x + self._dropped(self._feed_forward(self.norm3(x))), kept
        attended, kept = self._self_attention(x, positions, own, past)
        x = self.norm1(x + self._dropped(attended))
        x = self.norm2(x + self._dropped(self._cross_attention(x, positions, cross, memory)))
        return self.norm3(x + self._dropped(self._feed_forward(x))), kept


class WordEmbedding(nn.Module):
    """Token table, and the positions that the layers add to queries and keys."""

    def __init__(self, vocabulary_size: int, length: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary_size, dim)
        self.position_embeddings = nn.Embedding(length, dim)
        self.LayerNorm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens `(...)` as `(..., D)`, without positions."""
        return self.dropout(self.LayerNorm(self.word_embeddings(tokens)))


class DecoderBody(nn.Module):
    """The stack of layers and its final norm."""

    def __init__(self, layers: list[DecoderLayer], dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)


class Decoder(nn.Module):
    """Causal decoder over at most `length` tokens.

    Args:
        vocabulary_size: coordinate tokens, END and START.
        length: longest decoder input (four tokens for each box before, START, four tokens).
        dim: channels D.
        heads: attention heads.
        ffn: channels inside the feed-forward part.
        layers: number of layers.
        dropout: dropout rate in training.
        pre_norm: normalise before each part instead of after it.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        length: int,
        dim: int,
        heads: int,
        ffn: int,
        layers: int,
        dropout: float,
        pre_norm: bool,
    ) -> None:
        super().__init__()
        self.fixed: Constants | None = None
        self.embedding = WordEmbedding(vocabulary_size, length, dim, dropout)
        self.body = DecoderBody(
            [DecoderLayer(dim, heads, ffn, dropout, pre_norm) for _ in range(layers)], dim
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for layer in self.body.layers:
            nn.init.zeros_(layer.self_attn.out_proj.bias)
            nn.init.zeros_(layer.multihead_attn.out_proj.bias)

    @torch.no_grad()
    def freeze(self, positions: Tensor) -> None:
        """Compute the constants once for all: the weights will not change any more.

        Args:
            positions: `(1, M, D)` of the memory.
        """
        places = self.embedding.position_embeddings.weight
        own, queries, cross, weights, biases = [], [], [], [], []
        for layer in self.body.layers:
            weight, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
            dim = weight.shape[1]
            own.append(F.pad(F.linear(places, weight[: 2 * dim]), (0, dim)) + bias)
            weight, bias = layer.multihead_attn.in_proj_weight, layer.multihead_attn.in_proj_bias
            queries.append(weight[:dim])
            cross.append(F.linear(places, weight[:dim], bias[:dim]))
            weights.append(weight[dim:])
            keys = F.linear(positions, weight[dim : 2 * dim])
            biases.append(F.pad(keys, (0, dim)) + bias[dim:])
        tokens = self.embedding.LayerNorm(self.embedding.word_embeddings.weight)
        self.fixed = Constants(
            tokens, own, queries, cross, torch.cat(weights), torch.cat(biases, dim=-1)
        )

    def start(self, memory: Tensor, positions: Tensor) -> Cache:
        """Project a memory, and read nothing yet.

        Args:
            memory: `(B, M, D)`.
            positions: `(1, M, D)`, added to the keys only.
        """
        layers, length = self.body.layers, memory.shape[1]
        heads = layers[0].multihead_attn.heads
        parts: list[Tensor] = []
        if self.fixed is not None:
            projected = F.linear(memory, self.fixed.weight) + self.fixed.bias
            parts += split_heads(projected.flatten(0, 1), length, 2 * len(layers), heads)
        else:
            for layer in layers:
                for part, x in ((1, memory + positions), (2, memory)):
                    projected = layer.multihead_attn.project(x, part)
                    parts += split_heads(projected.flatten(0, 1), length, 1, heads)
        pairs = list(zip(parts[0::2], parts[1::2], strict=True))
        return Cache(self.fixed, pairs, [])

    def step(
        self, tokens: Tensor, cache: Cache, start_bias: Tensor | None = None, start: int = 0
    ) -> tuple[Tensor, Cache]:
        """Run tokens `(B, L)` through all layers.

        Args:
            tokens: `(B, L)` int64; after the first step L is 1.
            cache: from `start` or the step before.
            start_bias: `(B, D)` to add to START, or None.
            start: which of `tokens` START is.

        Returns:
            `(B, L, D)`, and the cache of the next step.
        """
        constants, places = cache.constants, self.embedding.position_embeddings.weight
        # As many tokens were read as there are keys of them.
        offset = cache.past[0][0].shape[2] if cache.past else 0
        length = tokens.shape[1]
        rows = offset if length == 1 else slice(offset, offset + length)
        flat = tokens.flatten()
        x = self.embedding(flat) if constants is None else F.embedding(flat, constants.tokens)
        if start_bias is not None:
            # Nothing is added to the other tokens.
            if length > 1:
                others = (0, 0, start, length - 1 - start)
                start_bias = F.pad(start_bias[:, None], others).flatten(0, 1)
            x = x + start_bias
        past, positions = [], places[rows]
        for i, layer in enumerate(self.body.layers):
            fixed = None
            if constants is not None:
                cross = constants.queries[i], constants.cross[i][rows]
                fixed = constants.own[i][rows], cross
            before = cache.past[i] if cache.past else None
            x, kept = layer(x, positions, fixed, cache.memory[i], before)
            past.append(kept)
        hidden = self.body.norm(x)
        hidden = hidden.view(-1, length, hidden.shape[-1])
        return hidden, Cache(constants, cache.memory, past)
