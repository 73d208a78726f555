"""Stem and correlation for tracking: the numbers of `lib.models.stem` and `.correlation`.

Batch norm and activations are part of the convolutions, and what a template brings to the
correlation is computed once. Everything but the means over the templates is as there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.correlation import REACH, Correlation
from lib.models.packed import PackedConv
from lib.models.stem import STRIDE, ConvStem

# Activations that may follow a convolution.
_ACTIVATIONS = {nn.ReLU: "relu", nn.GELU: "gelu"}


def _folded(layers: nn.Sequential, side: int) -> list[PackedConv]:
    """The convolutions of a sequence of them, batch norms and activations.

    Raises:
        ConfigError: the sequence has something else, or has it in another order.
    """
    found, parts = [], list(layers)
    while parts:
        conv = parts.pop(0)
        norm = parts.pop(0) if parts and type(parts[0]) is nn.BatchNorm2d else None
        known = parts and type(parts[0]) in _ACTIVATIONS
        after = _ACTIVATIONS[type(parts.pop(0))] if known else "none"
        found.append(PackedConv(conv, norm, after, side))
        side //= conv.stride[0]
    return found


class FastStem:
    """`ConvStem` for tracking.

    Args:
        stem: in evaluation mode.
        side: of the search crops in pixels.
    """

    def __init__(self, stem: ConvStem, side: int) -> None:
        self.layers = [
            conv for i, layer in enumerate(stem.layers) for conv in _folded(layer, side >> i)
        ]
        self.proj = PackedConv(stem.proj, None, "none", side // STRIDE)

    def features(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` normalised images to `(B, F, S / 8, S / 8)`."""
        for conv in self.layers:
            images = conv(images)
        return images

    def tokens(self, features: Tensor) -> Tensor:
        """`(B, F, S / 8, S / 8)` to `(B, (S / 16)^2, C)`, row by row."""
        return self.proj(features).flatten(2).transpose(1, 2)

    def __call__(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` to `(B, (S / 16)^2, C)`."""
        return self.tokens(self.features(images))


class FastCorrelation:
    """`Correlation` for tracking.

    Args:
        correlation: in evaluation mode.
        side: of the search crops in pixels.
    """

    def __init__(self, correlation: Correlation, side: int) -> None:
        side //= STRIDE
        self.cells, self.kernels = correlation.cells, correlation.kernels
        self.refine = _folded(correlation.refine, side)
        self.match = PackedConv(correlation.match, None, "none", side)
        self.mix = _folded(correlation.mix, side)

    def _match(self, features: Tensor) -> Tensor:
        """`(B, F, H, W)` to vectors of length 1, `(B, F, H * W)`."""
        first, second = self.refine
        return F.normalize(self.match(features + second(first(features))).flatten(2), dim=1)

    def template_keys(self, features: Tensor, share: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is kept of N templates.

        Args:
            features: `(N, F, G, G)`.
            share: `(N, G * G)` share of each cell that the box covers, or None.

        Returns:
            `(N, F, G * G)` keys, and how many cells the target covers, `(N,)`.
        """
        keys = self._match(features)
        if share is None:
            return keys, keys.new_full((len(keys),), float(self.cells))
        return keys * share[:, None], share.sum(dim=1)

    def __call__(self, keys: Tensor, covered: Tensor, search: Tensor) -> Tensor:
        """Correlate and mix.

        Args:
            keys: `(B, F, G * G)` means over each target's T templates.
            covered: `(B,)` likewise.
            search: `(B, F, H, W)` features of the search region.

        Returns:
            `(B, H * W / 4, C)` to add to the search tokens.
        """
        side = search.shape[2:]
        places = self._match(search)
        maps = (keys.transpose(1, 2) @ places * 8.0).unflatten(2, side)
        cells = covered.clamp_min(1.0)[:, None, None, None]
        stretched = F.conv2d(maps, self.kernels, padding=REACH) / cells
        whole = F.normalize(keys.mean(dim=2), dim=1)
        alike = (places * whole[:, :, None] * 8.0).unflatten(2, side)
        mixed = torch.cat([maps, alike, stretched], dim=1)
        for conv in self.mix:
            mixed = conv(mixed)
        return mixed.flatten(2).transpose(1, 2)
