"""The encoder: a plain vision transformer over search region and templates together.

Blocks and patch embedding are timm's, which carry the parameter names of MAE and of the
released weights. All images are cut into patches by one shared convolution; the tokens of the
search region come first, then those of template 1 .. T; every token attends to every other.
Source: SeqTrack (CVPR 2023), section 3.2.
"""

import functools
import itertools

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

# The epsilon of MAE's encoder.
LayerNorm = functools.partial(nn.LayerNorm, eps=1e-6)


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
    ) -> None:
        super().__init__()
        self.width = width
        self.use_checkpoint = use_checkpoint
        self.search_tokens = (search_size // patch_size) ** 2
        self.template_tokens = (template_size // patch_size) ** 2
        self.patch_embed = PatchEmbed(
            img_size=None, patch_size=patch_size, embed_dim=width, strict_img_size=False
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
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed(self, templates: Tensor, search: Tensor) -> Tensor:
        """Patch tokens with positions.

        Args:
            templates: `(B, T, 3, S_z, S_z)` normalised images.
            search: `(B, 3, S_x, S_x)` normalised images.

        Returns:
            `(B, L_x + T * L_z, C)`.
        """
        batch, count = templates.shape[:2]
        x = self.patch_embed(search) + self.pos_embed[:, : self.search_tokens]
        z = self.patch_embed(templates.flatten(0, 1)) + self.pos_embed[:, self.search_tokens :]
        return torch.cat([x, z.reshape(batch, count * self.template_tokens, self.width)], dim=1)

    def forward(self, templates: Tensor, search: Tensor) -> Tensor:
        """Encode templates `(B, T, 3, S_z, S_z)` and search `(B, 3, S_x, S_x)`.

        Returns:
            `(B, L_x + T * L_z, C)` tokens, those of the search region first.
        """
        tokens = self.embed(templates, search)
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

    def forward(self, templates: Tensor, search: Tensor) -> Tensor:
        """See `VisionTransformer.forward`."""
        return self.body(templates, search)


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
