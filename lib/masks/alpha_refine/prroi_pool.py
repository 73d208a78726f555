"""Precise RoI pooling in closed form: two small matrix products and no compiled operator.

A bin's value is the integral over the bin of the bilinear interpolant of the feature map, divided
by the bin's area. The interpolant is a sum of products of hat functions, one per axis, hence the
integral is a product too: weights of the rows times features times weights of the columns.

Source: Jiang et al., Acquisition of localization confidence for accurate object detection,
ECCV 2018.
"""

import torch
from torch import Tensor


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
