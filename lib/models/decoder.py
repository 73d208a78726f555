"""The decoder: a small causal transformer that reads the box out loud.

It attends to the words said so far and to the encoder's memory. Keys and values of the memory
are projected once per image; those of earlier words are kept, so each new token costs one
step. The result is the same as running the growing sentence again (a test holds them equal).
Parameter names are those of `nn.MultiheadAttention`, which released weights carry; the module
itself cannot take ready-made keys and values, hence the attention below.
Source: SeqTrack (CVPR 2023), section 3.2; sizes and norms from the reference framework.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Keys and values, each (B, heads, N, D / heads).
KeysValues = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention over `(B, N, D)` with separate projection of keys and values."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def _project(self, x: Tensor, part: int) -> Tensor:
        """Project `(B, N, D)` by the query (0), key (1) or value (2) rows: `(B, h, N, D/h)`."""
        dim = x.shape[-1]
        rows = slice(part * dim, (part + 1) * dim)
        y = F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])
        return y.unflatten(-1, (self.heads, dim // self.heads)).transpose(1, 2)

    def queries(self, query_input: Tensor) -> Tensor:
        """Queries `(B, h, L, D/h)` of an input `(B, L, D)`."""
        return self._project(query_input, 0)

    def keys_values(self, key_input: Tensor, value_input: Tensor) -> KeysValues:
        """Keys and values `(B, h, N, D/h)` of inputs `(B, N, D)`."""
        return self._project(key_input, 1), self._project(value_input, 2)

    def forward(self, query_input: Tensor, keys_values: KeysValues, causal: bool) -> Tensor:
        """Attend from `(B, L, D)` to ready keys and values; returns `(B, L, D)`."""
        attended = F.scaled_dot_product_attention(
            self.queries(query_input),
            *keys_values,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Self-attention over the words, cross-attention to the memory, feed-forward.

    Positions are added to queries and keys, never to values.
    """

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = Attention(dim, heads, dropout)
        self.multihead_attn = Attention(dim, heads, dropout)
        self.linear1 = nn.Linear(dim, ffn)
        self.linear2 = nn.Linear(ffn, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def _self_attention(
        self, x: Tensor, positions: Tensor, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        placed = x + positions
        keys, values = self.self_attn.keys_values(placed, x)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        # With a past, the one new word may see all of it: no mask is needed.
        return self.self_attn(placed, (keys, values), causal=past is None), (keys, values)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.relu(self.linear1(x))))

    def forward(
        self, x: Tensor, positions: Tensor, memory: KeysValues, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """One layer over words `(B, L, D)`.

        Args:
            x: `(B, L, D)` words; with `past`, L is 1.
            positions: `(L, D)` query positions of these words.
            memory: projected keys and values of the memory.
            past: keys and values of the words before, or None.

        Returns:
            `(B, L, D)`, and the keys and values of all words so far.
        """
        if self.pre_norm:
            attended, kept = self._self_attention(self.norm1(x), positions, past)
            x = x + self.dropout(attended)
            x = x + self.dropout(self.multihead_attn(self.norm2(x) + positions, memory, False))
            return x + self.dropout(self._feed_forward(self.norm3(x))), kept
        attended, kept = self._self_attention(x, positions, past)
        x = self.norm1(x + self.dropout(attended))
        x = self.norm2(x + self.dropout(self.multihead_attn(x + positions, memory, False)))
        return self.norm3(x + self.dropout(self._feed_forward(x))), kept


class WordEmbedding(nn.Module):
    """Word table, and the positions that the layers add to queries and keys."""

    def __init__(self, vocabulary_size: int, length: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary_size, dim)
        self.position_embeddings = nn.Embedding(length, dim)
        self.LayerNorm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens `(B, L)` as `(B, L, D)`, without positions."""
        return self.dropout(self.LayerNorm(self.word_embeddings(tokens)))


class DecoderBody(nn.Module):
    """The stack of layers and its final norm."""

    def __init__(self, layers: list[DecoderLayer], dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)


class Decoder(nn.Module):
    """Causal decoder over at most `length` words.

    Args:
        vocabulary_size: coordinate tokens, END and START.
        length: longest decoder input (START and four tokens).
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

    def project_memory(self, memory: Tensor, positions: Tensor) -> list[KeysValues]:
        """Keys and values of the memory for every layer, projected once.

        Args:
            memory: `(B, M, D)`.
            positions: `(1, M, D)`, added to the keys only.
        """
        placed = memory + positions
        return [layer.multihead_attn.keys_values(placed, memory) for layer in self.body.layers]

    def forward(
        self,
        tokens: Tensor,
        memory: list[KeysValues],
        past: list[KeysValues] | None = None,
        opening: Tensor | None = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """Run words `(B, L)` through all layers.

        Args:
            tokens: `(B, L)` int64; with `past`, the one word that follows it.
            memory: what `project_memory` returned.
            past: what this function returned for the words before, or None.
            opening: `(B, D)` to add to the first of `tokens`, or None.

        Returns:
            `(B, L, D)`, and the keys and values to pass as `past` next time.
        """
        # Words already read = keys already kept.
        offset = 0 if past is None else past[0][0].shape[2]
        positions = self.embedding.position_embeddings.weight[offset : offset + tokens.shape[1]]
        x = self.embedding(tokens)
        if opening is not None:
            x = torch.cat([x[:, :1] + opening[:, None], x[:, 1:]], dim=1)
        kept = []
        for i, layer in enumerate(self.body.layers):
            x, keys_values = layer(x, positions, memory[i], None if past is None else past[i])
            kept.append(keys_values)
        return self.body.norm(x), kept
