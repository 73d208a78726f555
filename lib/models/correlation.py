"""How every place of the search region correlates with the template, as an input to its tokens.

A departure from SeqTrack for training from scratch (MODEL.CORRELATION): attention finds out by
itself that the tokens of template and search region are to be compared, but it takes millions
of samples to do so. Source of the idea: fully-convolutional Siamese networks (SiamFC, 2016).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.stem import STRIDE


class Correlation(nn.Module):
    """Search tokens' share of the correlation with the templates.

    Args:
        channels: channels F of the stem's features.
        width: channels C of a token.
        template_size: side of a template crop in pixels.
    """

    def __init__(self, channels: int, width: int, template_size: int) -> None:
        super().__init__()
        self.cells = (template_size // STRIDE) ** 2
        self.refine = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.match = nn.Conv2d(channels, channels, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(self.cells + channels, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
        )

    def _match(self, features: Tensor) -> Tensor:
        """`(B, F, H, W)` to vectors of length 1, `(B, F, H * W)`."""
        return F.normalize(self.match(features + self.refine(features)).flatten(2), dim=1)

    def forward(self, template: Tensor, search: Tensor, share: Tensor | None) -> Tensor:
        """Correlate and mix.

        Args:
            template: `(B, T, F, G, G)` features of the templates.
            search: `(B, F, H, W)` features of the search region.
            share: `(B, T, G * G)` share of each template cell that the target's box covers, or
                None where nobody knows the box.

        Returns:
            `(B, H * W / 4, C)` to add to the search tokens.
        """
        batch, count = template.shape[:2]
        keys = self._match(template.flatten(0, 1)).unflatten(0, (batch, count))
        if share is not None:
            keys = keys * share[:, :, None]
        places = self._match(search)
        # What cell i of the template says of every place, over all templates.
        maps = torch.einsum("btfi,bfp->bip", keys, places) * (8.0 / count)
        # The target as one vector, compared channel by channel.
        whole = F.normalize(keys.mean(dim=(1, 3)), dim=1)
        alike = places * whole[:, :, None] * 8.0
        mixed = self.mix(torch.cat([maps, alike], dim=1).unflatten(2, search.shape[2:]))
        return mixed.flatten(2).transpose(1, 2)
