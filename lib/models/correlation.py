"""How every place of the search region correlates with the template, as an input to its tokens.

A departure from SeqTrack for training from scratch (MODEL.CORRELATION): attention finds out by
itself that the tokens of template and search region are to be compared, but it takes millions
of samples to do so. Source of the idea: fully-convolutional Siamese networks (SiamFC, 2016).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.stem import STRIDE

# Widths and heights, relative to the template's, at which the whole target is looked for.
_RATIOS = (0.8, 1.0, 1.25)
REACH = 4  # cells from the middle of the target


def whole_kernels(side: int) -> Tensor:
    """Where the cells of a template lie about the centre of a target of another shape.

    Convolving the maps of the single cells with these adds them up, each shifted to the centre:
    the correlation with the whole template, stretched to that shape.

    Args:
        side: cells G along a side of the template.

    Returns:
        `(9, G * G, 9, 9)`: shapes, cells, and places of +-4 cells about the centre.
    """
    # On the CPU whatever the default, as `lib.models.positions.grid_table`.
    offset = torch.arange(side, device="cpu") - (side - 1) / 2
    places = torch.arange(-REACH, REACH + 1, device="cpu")
    # A cell that falls between two places is shared between them.
    along = [(1 - (r * offset[:, None] - places).abs()).clamp_min(0) for r in _RATIOS]
    shapes = [y[:, None, :, None] * x[None, :, None, :] for y in along for x in along]
    return torch.stack(shapes).flatten(1, 2)


class Correlation(nn.Module):
    """Search tokens' share of the correlation with the templates.

    Args:
        channels: channels F of the stem's features.
        width: channels C of a token.
        template_size: side of a template crop in pixels.
    """

    def __init__(self, channels: int, width: int, template_size: int) -> None:
        super().__init__()
        kernels = whole_kernels(template_size // STRIDE)
        self.cells = kernels.shape[1]
        self.register_buffer("kernels", kernels, persistent=False)
        self.refine = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.match = nn.Conv2d(channels, channels, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(self.cells + channels + len(kernels), width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
        )

    def _match(self, features: Tensor) -> Tensor:
        """`(B, F, H, W)` to vectors of length 1, `(B, F, H * W)`."""
        return F.normalize(self.match(features + self.refine(features)).flatten(2), dim=1)

    def _covered(self, share: Tensor | None) -> Tensor | float:
        """Cells that the target covers, the mean over the templates, `(B, 1, 1, 1)`."""
        if share is None:
            return float(self.cells)
        return share.sum(dim=2).mean(dim=1).clamp_min(1.0)[:, None, None, None]

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
        maps = maps.unflatten(2, search.shape[2:])
        stretched = F.conv2d(maps, self.kernels, padding=REACH) / self._covered(share)
        # The target as one vector, compared channel by channel.
        whole = F.normalize(keys.mean(dim=(1, 3)), dim=1)
        alike = (places * whole[:, :, None] * 8.0).unflatten(2, search.shape[2:])
        mixed = self.mix(torch.cat([maps, alike, stretched], dim=1))
        return mixed.flatten(2).transpose(1, 2)
