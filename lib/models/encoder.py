"""The encoder: a plain vision transformer over search region and templates together.

    features = encoder.embed_templates(images, boxes)         once per template
    tokens   = encoder.embed_search(images, features)         once per frame
    output   = encoder(tokens, features.tokens, key_bias)

All images are cut into patches by one shared convolution; the tokens of the search region come
first, then those of the templates; every token attends to all. Equal templates need not be
computed twice: one whose keys count n times has `log n` added to what they score (`key_bias`).
Parameter names are those of timm, MAE and the released weights.
Source: SeqTrack (CVPR 2023), section 3.2.
"""

import math
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.models.blocks import Block, LayerNorm, bias_of_keys
from lib.models.causal import attend_to_templates, template_context
from lib.models.extras import (
    STRIDE,
    ConvStem,
    Correlation,
    TemplateBox,
    covered_share,
    grid_table,
)
from lib.models.lite import LiteStem, load_lite
from lib.models.pretrained import load_pretrained_encoder


class TemplateFeatures(NamedTuple):
    """What is kept of N templates, or of D templates of each of B targets (then N is B, D).

    Attributes:
        tokens: `(N, L_z, C)` patch tokens with positions; of an encoder whose templates attend to
            themselves only, `(N, depth, 2, heads, L_z, C / heads)` keys and values of each block.
        boxes: `(N, 4)` xywh normalised to the crops; None where the network does not use them.
        keys: `(N, F, G * G)` what search places are correlated with, or None.
        covered: `(N,)` cells that the target covers, or None.
    """

    tokens: Tensor
    boxes: Tensor | None = None
    keys: Tensor | None = None
    covered: Tensor | None = None

    def unflatten(self, batch: int) -> "TemplateFeatures":
        """Split the N templates among B targets: `(B, N / B, ...)`."""
        parts = (None if x is None else x.unflatten(0, (batch, -1)) for x in self)
        return TemplateFeatures(*parts)

    def averaged(self, key_bias: Tensor | None) -> "TemplateFeatures":
        """With means of `keys` and `covered` `(B, 1, ...)` in their place, as often as they count.

        That is all that a search region is correlated with, so it may be done ahead of time.
        """
        if self.keys is None or self.covered is None or self.keys.shape[1] == 1:
            return self
        bias = torch.zeros_like(self.covered) if key_bias is None else key_bias
        share = bias.softmax(dim=1)
        keys = (self.keys * share[:, :, None, None]).sum(dim=1, keepdim=True)
        covered = (self.covered * share).sum(dim=1, keepdim=True)
        return self._replace(keys=keys, covered=covered)


class JointEncoder(Protocol):
    """What SeqTrack asks of an encoder; an `nn.Module` that has these is one.

    Attributes:
        width: channels C of a token.
        search_tokens: L_x, a square number.
        template_tokens: L_z.
        blocks: the transformer blocks: for freezing, rates by layer, and tracking in other
            precisions.
        embedding: names of the parameters and modules before the blocks that
            TRAIN.FREEZE_BLOCKS freezes with them. A last norm is called `norm`.
        template_box: what tells the tokens of a template where the target is; None: nothing.
    """

    width: int
    search_tokens: int
    template_tokens: int
    blocks: nn.ModuleList
    embedding: tuple[str, ...]
    template_box: nn.Module | None

    def load_pretrained(self, path: Path | str) -> None:
        """Start from an encoder of single images.

        Raises:
            CheckpointError: the file cannot be read or is of another encoder.
        """
        ...

    def embed_templates(self, images: Tensor, boxes: Tensor | None) -> TemplateFeatures:
        """What is kept of N templates: `(N, 3, S_z, S_z)` normalised, boxes `(N, 4)` in them."""
        ...

    def embed_search(
        self, images: Tensor, templates: TemplateFeatures, key_bias: Tensor | None = None
    ) -> Tensor:
        """Tokens `(B, L_x, C)` of `(B, 3, S_x, S_x)` normalised images."""
        ...

    def __call__(
        self, search: Tensor, templates: Tensor, key_bias: Tensor | None, search_only: bool
    ) -> Tensor:
        """Encode search tokens `(B, L_x, C)` with template tokens `(B, D, L_z, C)`.

        Args:
            search: from `embed_search`.
            templates: `TemplateFeatures.tokens` of D templates each.
            key_bias: `(B, D)` logarithm of how often each template counts; None: all once.
            search_only: whether only the search tokens are read.

        Returns:
            `(B, L_x, C)` with `search_only`, else `(B, L_x + D * L_z, C)`.
        """
        ...


class VisionTransformer(nn.Module):
    """The encoder of SeqTrack; see `JointEncoder` for its methods.

    Args:
        search_size: side of the search crop in pixels.
        template_size: side of the template crops in pixels.
        patch_size: side of a patch in pixels.
        width: channels C of a token.
        depth: number of transformer blocks.
        heads: attention heads per block.
        drop_path: stochastic depth rate of the last block, linear from 0 at the first.
        use_checkpoint: recompute every block in the backward pass to save memory.
        stem: `patch`, `conv` (see `ConvStem`) or `lite` (see `LiteStem`).
        tied_query_key: start with equal query and key weights.
        grid_positions: start the positions as large sinusoids of place instead of small noise.
        template_box: tell template tokens where the target is, see `TemplateBox`.
        correlation: add correlation features to the search tokens, see `Correlation`.
        type_embedding: add a vector to the tokens of the search region and one to those of
            templates (LoRAT, Lin et al., ECCV 2024), both 0 at first.
        causal: templates attend to themselves only (`lib.models.causal`).

    Attributes:
        pos_embed: `(1, L_x + L_z, C)` rows of the search region, then of all templates.
        type_embed: `(1, 2, C)` of the search region and of templates, or None.
    """

    embedding = ("patch_embed", "pos_embed")

    def __init__(
        self,
        *,
        search_size: int,
        template_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        drop_path: float = 0.0,
        use_checkpoint: bool = False,
        stem: str = "patch",
        tied_query_key: bool = False,
        grid_positions: bool = False,
        template_box: bool = False,
        correlation: bool = False,
        type_embedding: bool = False,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.use_checkpoint, self.causal = use_checkpoint, causal
        self.search_tokens = (search_size // patch_size) ** 2
        self.template_tokens = (template_size // patch_size) ** 2
        every = 2 if stem == "lite" else 1
        self.template_cells = template_size // STRIDE // every
        if stem != "patch":
            self.patch_embed = LiteStem(width) if stem == "lite" else ConvStem(width)
        else:
            self.patch_embed = PatchEmbed(
                img_size=None, patch_size=patch_size, embed_dim=width, strict_img_size=False
            )
        cells = template_size // patch_size
        self.template_box = TemplateBox(width, cells) if template_box else None
        self.correlation = (
            Correlation(self.patch_embed.channels, width, template_size, search_size, every)
            if correlation
            else None
        )
        # Rows 0 .. L_x-1 belong to the search region; all templates share the other L_z rows.
        rows = self.search_tokens + self.template_tokens
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, width))
        self.type_embed = nn.Parameter(torch.zeros(1, 2, width)) if type_embedding else None
        rates = (drop_path * i / max(1, depth - 1) for i in range(depth))
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in rates)
        self.norm = LayerNorm(width)
        self._initialise(tied_query_key, grid_positions)

    def _initialise(self, tied_query_key: bool, grid_positions: bool) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if grid_positions:
            sides = [math.isqrt(tokens) for tokens in (self.search_tokens, self.template_tokens)]
            tables = torch.cat([grid_table(side, self.width) for side in sides])
            self.pos_embed = nn.Parameter(tables[None])
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if tied_query_key:
            for block in self.blocks:
                query, key, _ = block.attn.qkv.weight.data.chunk(3)
                # Wide enough for like tokens to stand out in the softmax from the first step.
                nn.init.normal_(query, std=1.5 / self.width**0.5)
                key.copy_(query)

    def load_pretrained(self, path: Path | str) -> None:
        """See `JointEncoder`, `load_pretrained_encoder` and `load_lite`."""
        if isinstance(self.patch_embed, LiteStem):
            load_lite(self.patch_embed, path)
            return
        sides = math.isqrt(self.search_tokens), math.isqrt(self.template_tokens)
        load_pretrained_encoder(self, path, *sides)

    def embed_templates(self, images: Tensor, boxes: Tensor | None = None) -> TemplateFeatures:
        """See `JointEncoder`.

        Raises:
            ValueError: the network needs the boxes, and there are none.
        """
        if self.template_box is None:
            boxes = None
        elif boxes is None:
            raise ValueError("this network needs template_boxes: MODEL.TEMPLATE_BOX is on")
        keys = covered = None
        if self.correlation is None:
            tokens = self.patch_embed(images)
        else:
            features = self.patch_embed.features(images)
            tokens = self.patch_embed.tokens(features)
            share = None if boxes is None else covered_share(boxes, self.template_cells)
            keys, covered = self.correlation.template_keys(self.patch_embed.fine(features), share)
        tokens = tokens + self.pos_embed[:, self.search_tokens :]
        if self.type_embed is not None:
            tokens = tokens + self.type_embed[:, 1]
        if self.template_box is not None:
            tokens = tokens + self.template_box(boxes)
        if self.causal:
            tokens = template_context(self.blocks, tokens, 0)
        return TemplateFeatures(tokens, boxes, keys, covered)

    def embed_search(
        self, images: Tensor, templates: TemplateFeatures, key_bias: Tensor | None = None
    ) -> Tensor:
        """See `JointEncoder`."""
        if self.correlation is None:
            tokens = self.patch_embed(images)
        else:
            features = self.patch_embed.features(images)
            tokens = self.patch_embed.tokens(features)
            templates = templates.averaged(key_bias)
            if templates.keys is None or templates.covered is None:
                raise ValueError("these templates were embedded by a network without correlation")
            keys, covered = templates.keys[:, 0], templates.covered[:, 0]
            tokens = tokens + self.correlation(keys, covered, self.patch_embed.fine(features))
        tokens = tokens + self.pos_embed[:, : self.search_tokens]
        return tokens if self.type_embed is None else tokens + self.type_embed[:, 0]

    def forward(
        self,
        search: Tensor,
        templates: Tensor,
        key_bias: Tensor | None = None,
        search_only: bool = False,
    ) -> Tensor:
        """See `JointEncoder`."""
        if key_bias is not None:
            key_bias = bias_of_keys(key_bias, self.search_tokens, self.template_tokens)
        if self.causal:
            again = self.use_checkpoint and self.training
            return self.norm(attend_to_templates(self.blocks, search, templates, key_bias, again))
        x = torch.cat([search, templates.flatten(1, 2)], dim=1)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            if self.use_checkpoint and self.training:
                x = checkpoint(block, x, key_bias, use_reentrant=False)
            else:
                rows = self.search_tokens if search_only and i == last else None
                x = block(x, key_bias, rows)
        x = self.norm(x)
        return x[:, : self.search_tokens] if search_only else x


class Encoder(nn.Module):
    """Holds the transformer under the name `body`, as released state dicts spell it."""

    def __init__(self, body: JointEncoder) -> None:
        super().__init__()
        self.body = body

    def forward(
        self, templates: Tensor, search: Tensor, template_boxes: Tensor | None = None
    ) -> Tensor:
        """Encode T templates and a search region per sample.

        Args:
            templates: `(B, T, 3, S_z, S_z)` normalised images.
            search: `(B, 3, S_x, S_x)` normalised images.
            template_boxes: `(B, T, 4)` xywh normalised to the templates; used only by a network
                that was built to.

        Returns:
            `(B, L_x + T * L_z, C)` tokens, those of the search region first.
        """
        boxes = None if template_boxes is None else template_boxes.flatten(0, 1)
        features = self.body.embed_templates(templates.flatten(0, 1), boxes)
        features = features.unflatten(search.shape[0])
        return self.body(self.body.embed_search(search, features, None), features.tokens)
