"""The blocks of our own encoder: pre-norm transformer blocks; names of parts are timm's."""

import functools

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.exporting import exporting, onnx_attention

# The epsilon of MAE's encoder.
LayerNorm = functools.partial(nn.LayerNorm, eps=1e-6)


def through(layer: nn.Module | None, x: Tensor) -> Tensor:
    """`layer(x)`, or `x` without a layer: a call of `nn.Identity` costs a small network time."""
    return x if layer is None else layer(x)


def bias_of_keys(key_bias: Tensor, before: int, each: int) -> Tensor:
    """What to add to what the keys score, those of templates last.

    Args:
        key_bias: `(B, D)` of each of D templates.
        before: keys of other tokens, which have nothing added.
        each: keys of a template.

    Returns:
        `(B, 1, 1, before + D * each)`.
    """
    bias = key_bias[:, :, None].expand(-1, -1, each).flatten(1)
    return F.pad(bias, (before, 0))[:, None, None]


class LayerScale(nn.Module):
    """A learnt factor per channel."""

    def __init__(self, dim: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Scale `(..., C)`."""
        return x * self.gamma


class Attention(nn.Module):
    """Attention of all tokens, or of the first ones, to all."""

    def __init__(self, dim: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = LayerNorm(dim // heads) if qk_norm else None
        self.k_norm = LayerNorm(dim // heads) if qk_norm else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_bias: Tensor | None, rows: int | None) -> Tensor:
        """See `Block.forward`."""
        qkv, heads = self.qkv(x), self.num_heads
        if exporting() and key_bias is not None:
            # ONNX Runtime wants a row for each query.
            key_bias = key_bias.expand(-1, -1, rows or x.shape[1], -1)
        if exporting() and self.q_norm is None and self.k_norm is None:
            q, k, v = qkv.chunk(3, dim=2)
            q = q if rows is None else q[:, :rows]
            return self.proj(onnx_attention(q, k, v, key_bias, heads=heads))
        q, k, v = (part.transpose(1, 2) for part in qkv.unflatten(2, (3, heads, -1)).unbind(2))
        q = through(self.q_norm, q if rows is None else q[:, :, :rows])
        k = through(self.k_norm, k)
        bias = None if key_bias is None else key_bias.to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., C)`."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block.

    Args:
        dim: channels C.
        heads: attention heads.
        drop_path: stochastic depth rate.
        layer_scale: what the factors of LayerScale start from; None: there are none.
        qk_norm: normalise queries and keys.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = Attention(dim, heads, qk_norm)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls1, self.ls2 = (
            None if layer_scale is None else LayerScale(dim, layer_scale) for _ in "12"
        )
        self.drop_path1, self.drop_path2 = (
            DropPath(drop_path) if drop_path else None for _ in "12"
        )

    def forward(self, x: Tensor, key_bias: Tensor | None = None, rows: int | None = None) -> Tensor:
        """Run the block.

        Args:
            x: `(B, N, C)`.
            key_bias: `(B, 1, 1, N)` to add to what every key scores, or None.
            rows: compute only so many first tokens; None: all.

        Returns:
            `(B, N, C)`, or `(B, rows, C)`.
        """
        attended = through(self.ls1, self.attn(self.norm1(x), key_bias, rows))
        x = (x if rows is None else x[:, :rows]) + through(self.drop_path1, attended)
        return x + through(self.drop_path2, through(self.ls2, self.mlp(self.norm2(x))))
