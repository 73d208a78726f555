"""The encoder: a plain vision transformer over search region and templates together.

Blocks and patch embedding are timm's, which carry the parameter names of MAE and of the
released weights. All images are cut into patches by one shared convolution; the tokens of the
search region come first, then those of template 1 .. T; every token attends to all. A stem and
two inputs that SeqTrack does not have can be switched on for training from scratch.
Source: SeqTrack (CVPR 2023), section 3.2.
"""

import functools
import itertools
import math

import torch
from timm.layers import DropPath, PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lib.models.correlation import Correlation
from lib.models.positions import grid_table
from lib.models.stem import STRIDE, ConvStem
from lib.models.template_box import TemplateBox, covered_share
from lib.utils.errors import ConfigError

# The epsilon of MAE's encoder.
LayerNorm = functools.partial(nn.LayerNorm, eps=1e-6)


# What a block consists of: modules by name, exactly of these types, with exactly these weights.
_BLOCK_LAYERS = {
    "norm1": nn.LayerNorm,
    "attn.qkv": nn.Linear,
    "attn.proj": nn.Linear,
    "norm2": nn.LayerNorm,
    "mlp.fc1": nn.Linear,
    "mlp.act": nn.GELU,
    "mlp.fc2": nn.Linear,
}
# They do nothing in evaluation mode.
_NOTHING = (nn.Identity, nn.Dropout, DropPath)


def check_block(block: nn.Module) -> None:
    """Refuse a block that is more or something else than those of `VisionTransformer`.

    Engines write a block out as attention and a multilayer perceptron. They would leave out a
    layer that they do not know (LayerScale, norms of queries and keys), and track with another
    network than the one that was trained.

    Raises:
        ConfigError: naming the layer.
    """
    if type(block) is not Block:
        raise _unknown(
            f"a block of the encoder is a {type(block).__name__}, not a {Block.__name__}"
        )
    known = {f"{name}.{part}" for name in _BLOCK_LAYERS for part in ("weight", "bias")}
    for name, module in block.named_modules():
        if next(module.children(), None) is not None or isinstance(module, _NOTHING):
            continue
        if type(module) is not _BLOCK_LAYERS.get(name):
            raise _unknown(f"a block of the encoder has the layer {name} ({module})")
        if isinstance(module, nn.GELU) and module.approximate != "none":
            raise _unknown(f"a block of the encoder has the activation {module}")
    own = itertools.chain(block.named_parameters(), block.named_buffers())
    for name in (name for name, _ in own if name not in known):
        raise _unknown(f"a block of the encoder has the weight {name}")


def _unknown(what: str) -> ConfigError:
    return ConfigError(
        f"{what}, which the engines would leave out; teach lib/models/fast_encoder.py, export.py "
        "and reference.py to compute it, or build the encoder without it"
    )


class VisionTransformer(nn.Module):
    """Joint encoder of one search region and T templates.

    Args:
        search_size: side of the search crop in pixels.
        template_size: side of the template crops in pixels.
        patch_size: side of a patch in pixels.
        width: channels C of a token.
        depth: number of transformer blocks.
        heads: attention heads per block.
        drop_path: stochastic depth rate of the last block, linear from 0 at the first.
        use_checkpoint: recompute every block in the backward pass to save memory.
        stem: `patch` or `conv`, see `lib.models.stem`.
        tied_query_key: start with equal query and key weights.
        grid_positions: start the positions as large sinusoids of place instead of small noise.
        template_box: hear where the target is in the templates, see `lib.models.template_box`.
        correlation: add correlation features to the search tokens, see `lib.models.correlation`.
    """

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
    ) -> None:
        super().__init__()
        self.width = width
        self.use_checkpoint = use_checkpoint
        self.search_tokens = (search_size // patch_size) ** 2
        self.template_tokens = (template_size // patch_size) ** 2
        self.template_cells = template_size // STRIDE
        if stem == "conv":
            self.patch_embed = ConvStem(width)
        else:
            self.patch_embed = PatchEmbed(
                img_size=None, patch_size=patch_size, embed_dim=width, strict_img_size=False
            )
        cells = template_size // patch_size
        self.template_box = TemplateBox(width, cells) if template_box else None
        self.correlation = (
            Correlation(self.patch_embed.channels, width, template_size) if correlation else None
        )
        # Rows 0 .. L_x-1 belong to the search region; all templates share the other L_z rows.
        rows = self.search_tokens + self.template_tokens
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, width))
        self.blocks = nn.ModuleList(
            Block(
                dim=width,
                num_heads=heads,
                mlp_ratio=4,
                qkv_bias=True,
                drop_path=drop_path * i / max(1, depth - 1),
                norm_layer=LayerNorm,
            )
            for i in range(depth)
        )
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

    def embed(
        self, templates: Tensor, search: Tensor, template_boxes: Tensor | None = None
    ) -> Tensor:
        """Patch tokens with positions.

        Args:
            templates: `(B, T, 3, S_z, S_z)` normalised images.
            search: `(B, 3, S_x, S_x)` normalised images.
            template_boxes: `(B, T, 4)` xywh normalised to the templates; heard only by a network
                that was built to.

        Returns:
            `(B, L_x + T * L_z, C)`.
        """
        batch, count = templates.shape[:2]
        images = templates.flatten(0, 1)
        if self.correlation is None:
            x, z = self.patch_embed(search), self.patch_embed(images)
        else:
            place, target = self.patch_embed.features(search), self.patch_embed.features(images)
            share = None
            if self.template_box is not None and template_boxes is not None:
                share = covered_share(template_boxes, self.template_cells)
            x = self.patch_embed.tokens(place)
            x = x + self.correlation(target.unflatten(0, (batch, count)), place, share)
            z = self.patch_embed.tokens(target)
        x = x + self.pos_embed[:, : self.search_tokens]
        z = z + self.pos_embed[:, self.search_tokens :]
        z = z.reshape(batch, count * self.template_tokens, self.width)
        if self.template_box is not None:
            if template_boxes is None:
                raise ValueError("this network needs template_boxes: MODEL.TEMPLATE_BOX is on")
            z = z + self.template_box(template_boxes)
        return torch.cat([x, z], dim=1)

    def forward(
        self, templates: Tensor, search: Tensor, template_boxes: Tensor | None = None
    ) -> Tensor:
        """Encode templates `(B, T, 3, S_z, S_z)` and search `(B, 3, S_x, S_x)`.

        Returns:
            `(B, L_x + T * L_z, C)` tokens, those of the search region first.
        """
        tokens = self.embed(templates, search, template_boxes)
        for block in self.blocks:
            if self.use_checkpoint and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return self.norm(tokens)


class Encoder(nn.Module):
    """Holds the transformer under the name `body`, as released state dicts spell it."""

    def __init__(self, body: VisionTransformer) -> None:
        super().__init__()
        self.body = body

    def forward(
        self, templates: Tensor, search: Tensor, template_boxes: Tensor | None = None
    ) -> Tensor:
        """See `VisionTransformer.forward`."""
        return self.body(templates, search, template_boxes)


class MLP(nn.Module):
    """Linear layers with ReLU between them; the output head over the vocabulary.

    Args:
        dims: channels before, between and after the layers.
    """

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., dims[0])` to `(..., dims[-1])`."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
