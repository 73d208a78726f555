"""Where the reference appears in the frame: correlation, then two kinds of attention."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Neck(nn.Module):
    """Compares every location of the frame with every cell of the reference.

    Args:
        channels: cells of the reference, p * p.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = NonLocal(channels)

    def forward(self, features: Tensor, kernel: Tensor) -> Tensor:
        """Scores of each location.

        Args:
            features: `(B, C, H, W)` of the frame.
            kernel: `(B, C, p, p)` of the reference.

        Returns:
            `(B, p * p, H, W)`.
        """
        scores = pixel_correlation(features, kernel)
        return self.spatial_attention(self.channel_attention(scores))


def pixel_correlation(features: Tensor, kernel: Tensor) -> Tensor:
    """Inner products of all locations `(B, C, H, W)` with all cells `(B, C, p, p)`, row by row.

    Returns:
        `(B, p * p, H, W)`, not normalised.
    """
    products = torch.bmm(kernel.flatten(2).transpose(1, 2), features.flatten(2))
    return products.unflatten(2, features.shape[-2:])


class ChannelAttention(nn.Module):
    """Scales each channel by a gate that sees the mean of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 4, 1)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))


class NonLocal(nn.Module):
    """Adds to each location what other, pooled locations say that resemble it.

    Source: Wang et al., Non-local neural networks, CVPR 2018 (embedded Gaussian, sub-sampled).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.g = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same shape."""
        query, key, value = (
            layer(x).flatten(2).transpose(1, 2) for layer in (self.theta, self.phi, self.g)
        )
        # No 1 / sqrt(d): the weights were trained without.
        mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.W(mixed.transpose(1, 2).unflatten(2, x.shape[-2:]))
