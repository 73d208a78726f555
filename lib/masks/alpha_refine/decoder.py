"""From scores and features to a mask, coarse levels first.

Each level joins its features with the scores (TSE), refines them (RRB1), lets the coarser
result choose channels (CAB) and refines the sum (RRB2). Names of members are those of the
released weights.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Width of everything in the decoder but its inputs.
WIDTH = 64
# Level -> channels of its features, in the order of work. `layer<n>` is ResNet's n-th result,
# the stem's being the first.
LEVELS: Mapping[str, int] = {"layer5": 2048, "layer4": 1024, "layer3": 512, "layer2": 256}


class MaskDecoder(nn.Module):
    """Logits of the mask from the features of four levels and the scores.

    Args:
        score_channels: channels of the scores.
        levels: name -> channels of the features, coarse levels first.
    """

    def __init__(self, score_channels: int, levels: Mapping[str, int] = LEVELS) -> None:
        super().__init__()
        self.TSE = nn.ModuleDict({n: JoinScores(c, score_channels) for n, c in levels.items()})
        self.RRB1 = nn.ModuleDict({name: Residual() for name in levels})
        self.CAB = nn.ModuleDict({name: ChannelChoice() for name in levels})
        self.RRB2 = nn.ModuleDict({name: Residual() for name in levels})
        self.project = MaskHead()

    def forward(self, features: Mapping[str, Tensor], scores: Tensor, side: int) -> Tensor:
        """The mask's logits.

        Args:
            features: level -> `(B, C, h, w)`.
            scores: `(B, score_channels, H, W)`.
            side: pixels along a side of the mask.

        Returns:
            `(B, 1, side, side)`.
        """
        coarser = None
        for name, join in self.TSE.items():
            joined, reduced = join(features[name], scores)
            if coarser is None:
                coarser = _mean(reduced)
            refined = self.RRB1[name](joined)
            coarser = self.RRB2[name](self.CAB[name](refined, coarser))
        return self.project(coarser, side)


class JoinScores(nn.Module):
    """Fewer channels, then the scores beside them."""

    def __init__(self, channels: int, score_channels: int) -> None:
        super().__init__()
        both = WIDTH + score_channels
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1)
        )
        self.transform = nn.Sequential(
            nn.Conv2d(both, both, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(both, both, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(both, WIDTH, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, features: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(B, C, h, w)` with and without the scores, both `(B, WIDTH, h, w)`."""
        reduced = self.reduce(features)
        resized = _resize(scores, reduced.shape[-2:])
        return self.transform(torch.cat([reduced, resized], dim=1)), reduced


class Residual(nn.Module):
    """A 1x1 convolution and a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(WIDTH, WIDTH, 1)
        self.bblock = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, WIDTH, h, w)` -> the same shape."""
        x = self.conv1x1(x)
        return F.relu(x + self.bblock(x))


class ChannelChoice(nn.Module):
    """The coarser result chooses channels of the finer one, and is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.convreluconv = nn.Sequential(
            nn.Conv2d(2 * WIDTH, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1)
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """`(B, WIDTH, h, w)` and a smaller `(B, WIDTH, h', w')` -> the size of the first."""
        means = torch.cat([_mean(fine), _mean(coarse)], dim=1)
        gate = torch.sigmoid(self.convreluconv(means))
        return fine * gate + _resize(coarse, fine.shape[-2:])


class MaskHead(nn.Module):
    """Twice the side, fewer channels, twice the side again, one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(WIDTH // 2, 1, 3, padding=1)

    def forward(self, x: Tensor, side: int) -> Tensor:
        """`(B, WIDTH, h, w)` -> logits `(B, 1, side, side)`."""
        x = F.relu(self.conv1(_double(x)))
        return self.conv2(_resize(_double(x), (side, side)))


def _mean(x: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, C, 1, 1)`."""
    return x.mean(dim=(2, 3), keepdim=True)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == torch.Size(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
