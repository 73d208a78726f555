"""The mask-only Alpha-Refine network: a reference is pooled once, then frames are compared.

Only a mask comes out; there is no head for boxes or corners, and nothing is fed back to a box
tracker. Members are named as in the released weights.

Source: Yan et al., Alpha-Refine: boosting tracking performance by precise bounding box
estimation, CVPR 2021, in the form used for the VOT2020 challenge.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet50

from lib.masks.alpha_refine.decoder import LEVELS, MaskDecoder


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


def prroi_pool(features: Tensor, boxes: Tensor, bins: int, scale: float) -> Tensor:
    """Pool one box per image.

    Sample `(i, j)` of the features sits at the coordinate `(i, j)`, without half a pixel; outside
    the map the samples are zeros.

    Args:
        features: `(B, C, H, W)`.
        boxes: `(B, 4)` xyxy in input pixels.
        bins: bins along each side.
        scale: feature cells per input pixel.

    Returns:
        `(B, C, bins, bins)`; zeros where a box has no area. Differentiable in both arguments.
    """
    height, width = features.shape[-2:]
    # Narrow bins are small differences of large numbers. Apple's devices have no float64.
    exact = torch.float32 if features.device.type == "mps" else torch.float64
    edges = boxes.to(exact) * scale
    rows = _weights(edges[:, 1], edges[:, 3], bins, height).to(features.dtype)
    columns = _weights(edges[:, 0], edges[:, 2], bins, width).to(features.dtype)
    return torch.einsum("bki,bcij,blj->bckl", rows, features, columns)


def _weights(start: Tensor, end: Tensor, bins: int, size: int) -> Tensor:
    """Mean of each sample's hat function over each bin.

    Args:
        start: `(B,)` where the first bin begins, in cells.
        end: `(B,)` where the last bin ends.
        bins: how many bins lie between.
        size: samples along this axis.

    Returns:
        `(B, bins, size)`; zeros where `end <= start`.
    """
    step = (end - start) / bins
    numbers = torch.arange(bins + 1, dtype=start.dtype, device=start.device)
    edges = start[:, None] + step[:, None] * numbers
    samples = torch.arange(size, dtype=start.dtype, device=start.device)
    below = _hat_integral(edges[:, :, None] - samples)
    valid = step > 0
    # A second `where`, so that the gradient of an empty box is zero and not undefined.
    divisor = torch.where(valid, step, torch.ones_like(step))
    mean = (below[:, 1:] - below[:, :-1]) / divisor[:, None, None]
    return torch.where(valid[:, None, None], mean, torch.zeros_like(mean))


def _hat_integral(z: Tensor) -> Tensor:
    """Integral of `max(0, 1 - |z|)` from minus infinity to z."""
    z = z.clamp(-1, 1)
    return 0.5 + z - z * z.abs() / 2


# Level that references and frames are compared at, and input pixels per cell of it.
_LEVEL, _STRIDE = "layer4", 16
# Input pixels per bin of the reference: the crop is twice the target's box.
_PIXELS_PER_BIN = 32


class AlphaRefine(nn.Module):
    """The network; all its methods take batches, on any device.

    Args:
        pool_size: bins along a side of the reference; the released network has 12.

    Attributes:
        side: pixels along a side of its inputs and of the mask.
    """

    def __init__(self, pool_size: int = 12) -> None:
        super().__init__()
        self.pool_size = pool_size
        self.side = _PIXELS_PER_BIN * pool_size
        # Its last layer is never used, but the weights have it.
        self.feature_extractor = resnet50(weights=None)
        self.neck = Neck(pool_size * pool_size)
        self.refiner = MaskDecoder(pool_size * pool_size)

    def features(self, images: Tensor, last: str = "layer5") -> dict[str, Tensor]:
        """What the backbone sees, up to a level.

        Args:
            images: `(B, 3, S, S)`, normalised.
            last: name of the last level that is needed, `layer1` to `layer5`.

        Returns:
            level -> `(B, C, S / stride, S / stride)`, strides 4, 4, 8, 16, 32. The levels count
            from the stem, so `layer2` is the result of the backbone's member `layer1`.
        """
        net = self.feature_extractor
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        found = {"layer1": x}
        for number, stage in enumerate((net.layer1, net.layer2, net.layer3, net.layer4), 2):
            if last in found:
                break
            x = found[f"layer{number}"] = stage(x)
        return found

    def reference(self, images: Tensor, boxes: Tensor) -> Tensor:
        """What is remembered of the targets.

        Args:
            images: `(B, 3, S, S)` crops around the targets, normalised.
            boxes: `(B, 4)` xyxy of the targets, in pixels of the crops.

        Returns:
            `(B, 1024, p, p)`.
        """
        features = self.features(images, last=_LEVEL)[_LEVEL]
        return prroi_pool(features, boxes, self.pool_size, 1 / _STRIDE)

    def forward(self, images: Tensor, kernel: Tensor) -> Tensor:
        """The masks in crops of later frames.

        Args:
            images: `(B, 3, S, S)`, normalised.
            kernel: `(B, 1024, p, p)`, what `reference` gave.

        Returns:
            Logits `(B, 1, S, S)`.
        """
        features = self.features(images)
        scores = self.neck(features[_LEVEL], kernel)
        return self.refiner({name: features[name] for name in LEVELS}, scores, self.side)
