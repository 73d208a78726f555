"""The encoder for tracking: the numbers of `lib.models.vit`, with less work.

* What a template becomes before the first block is computed once (`embed_template`).
* Equal templates are one: as long as a target has not been given a new template, all T are the
  same image with the same positions, so their tokens stay equal through every block. One copy
  is computed; its keys count T times, which is `log T` added to what they score.
* Where the decoder reads the search tokens only, the last block computes only these.
* Attention is fused, matrices are laid out for the machine (`lib.models.packed`).

All of it is exact; the order of sums differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn import functional as F

from lib.models.fast_stem import FastCorrelation, FastStem
from lib.models.packed import PackedLinear
from lib.models.pixels import upload
from lib.models.stem import STRIDE, ConvStem
from lib.models.template_box import covered_share
from lib.models.vit import VisionTransformer, check_block


@dataclass(frozen=True)
class KeptTemplate:
    """What is remembered of a template.

    Attributes:
        tokens: `(L_z, C)` patch tokens with positions and box.
        keys: `(F, G * G)` what search places are compared with, or None without correlation.
        covered: `()` cells that the target covers, or None without correlation.
    """

    tokens: Tensor
    keys: Tensor | None = None
    covered: Tensor | None = None


class FastBlock:
    """One transformer block with packed weights.

    Args:
        block: timm's.
        rows: tokens it usually gets.
        dtype: precision of the matrix products; norms and sums stay in float32.
        first: when given, only that many first tokens are computed, from all of them.

    Raises:
        ConfigError: the block has a layer that would be left out here.
    """

    def __init__(self, block: Block, rows: int, dtype: torch.dtype, first: int | None) -> None:
        check_block(block)
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.heads, self.first, self.dtype = block.attn.num_heads, first, dtype
        kept = rows if first is None else first
        weight, bias = block.attn.qkv.weight, block.attn.qkv.bias
        width = weight.shape[1]
        if first is None:
            self.qkv = PackedLinear(weight, bias, rows=rows, dtype=dtype, gelu=False)
        else:
            self.q = PackedLinear(weight[:width], bias[:width], rows=kept, dtype=dtype, gelu=False)
            self.kv = PackedLinear(weight[width:], bias[width:], rows=rows, dtype=dtype, gelu=False)
        self.proj, self.fc1, self.fc2 = (
            PackedLinear(layer.weight, layer.bias, rows=kept, dtype=dtype, gelu=gelu)
            for layer, gelu in (
                (block.attn.proj, False),
                (block.mlp.fc1, True),
                (block.mlp.fc2, False),
            )
        )

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """`(B, N, parts * C)` to that many `(B, h, N, C / h)`."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Tokens `(B, N, C)` and the keys' bias `(B, 1, 1, N)` or None; returns `(B, n, C)`."""
        y = self.norm1(x).to(self.dtype)
        if self.first is None:
            q, k, v = self._split(self.qkv(y), 3)
        else:
            x = x[:, : self.first]
            (q,) = self._split(self.q(y[:, : self.first]), 1)
            k, v = self._split(self.kv(y), 2)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.fc2(self.fc1(self.norm2(x).to(self.dtype)))


class FastEncoder:
    """See the module.

    Args:
        body: the network's transformer, in evaluation mode.
        search_only: whether the search tokens are all that is read.
        dtype: precision of the matrix products inside the blocks.

    Raises:
        ConfigError: the transformer has a layer that would be left out here.
    """

    def __init__(self, body: VisionTransformer, search_only: bool, dtype: torch.dtype) -> None:
        self.search_tokens, self.template_tokens = body.search_tokens, body.template_tokens
        self.cells = body.template_cells
        side = int(body.search_tokens**0.5) * 2 * STRIDE
        stem, correlation = body.patch_embed, body.correlation
        self.patch_embed = FastStem(stem, side) if isinstance(stem, ConvStem) else stem
        self.correlation = None if correlation is None else FastCorrelation(correlation, side)
        self.template_box, self.norm = body.template_box, body.norm
        self.search_positions = body.pos_embed[:, : self.search_tokens].detach()
        self.template_positions = body.pos_embed[:, self.search_tokens :].detach()
        self.dtype = dtype
        rows, last = self.search_tokens + self.template_tokens, len(body.blocks) - 1
        self.blocks = [
            FastBlock(block, rows, dtype, self.search_tokens if search_only and i == last else None)
            for i, block in enumerate(body.blocks)
        ]

    def embed_templates(self, images: Tensor, boxes: Tensor) -> list[KeptTemplate]:
        """What to remember of N templates, each in memory of its own.

        Args:
            images: `(N, 3, S_z, S_z)` normalised.
            boxes: `(N, 4)` xywh normalised to them.
        """
        keys = covered = [None] * len(images)
        if self.correlation is None:
            tokens = self.patch_embed(images)
        else:
            features = self.patch_embed.features(images)
            tokens = self.patch_embed.tokens(features)
            share = None if self.template_box is None else covered_share(boxes, self.cells)
            keys, covered = map(_apart, self.correlation.template_keys(features, share))
        tokens = tokens + self.template_positions
        if self.template_box is not None:
            tokens = tokens + self.template_box(boxes[:, None])
        return list(map(KeptTemplate, _apart(tokens), keys, covered))

    def embed_search(
        self, search: Tensor, keys: Tensor | None = None, covered: Tensor | None = None
    ) -> Tensor:
        """Patch tokens with positions, `(B, L_x, C)`.

        Args:
            search: `(B, 3, S_x, S_x)` normalised.
            keys: `(B, F, G * G)` mean over each target's T templates, with correlation only.
            covered: `(B,)` likewise.
        """
        if self.correlation is None:
            return self.patch_embed(search) + self.search_positions
        place = self.patch_embed.features(search)
        tokens = self.patch_embed.tokens(place)
        tokens = tokens + self.correlation(keys, covered, place)
        return tokens + self.search_positions

    def __call__(self, search: Tensor, templates: Tensor, bias: Tensor | None) -> Tensor:
        """Run the blocks.

        Args:
            search: `(B, L_x, C)` from `embed_search`.
            templates: `(B, D * L_z, C)` tokens of each target's D different templates.
            bias: `(B, 1, 1, L_x + D * L_z)` from `key_bias`, or None.

        Returns:
            `(B, L_x, C)` where only these are read, else `(B, L_x + D * L_z, C)`.
        """
        tokens = torch.cat([search, templates], dim=1)
        for block in self.blocks:
            tokens = block(tokens, bias)
        return self.norm(tokens)

    def key_bias(self, copies: Sequence[Sequence[int]], device: torch.device) -> Tensor | None:
        """How much more keys count that stand for several templates.

        Args:
            copies: for each of B targets, how often each of its D different templates is there.
            device: where the blocks run.

        Returns:
            `(B, 1, 1, L_x + D * L_z)` logarithms to add to the scores, or None if all are there
            once.
        """
        if all(count == 1 for row in copies for count in row):
            return None
        logs = np.log(np.array(copies, np.float64)).astype(np.float32)
        logs = np.repeat(logs, self.template_tokens, axis=1)
        logs = np.pad(logs, ((0, 0), (self.search_tokens, 0)))
        return upload(logs, device)[:, None, None].to(self.dtype)


def _apart(rows: Tensor) -> list[Tensor]:
    """The rows of a batch; one that is kept does not keep the memory of the others."""
    return [row.clone() for row in rows] if len(rows) > 1 else [rows[0]]
