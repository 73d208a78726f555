"""Where in a template the target is, as an input to the network.

A departure from SeqTrack (MODEL.TEMPLATE_BOX): a template is a square around the target, so the
shape of the target's box cannot be read off it unless the network learns what objects are.
"""

import torch
from torch import Tensor, nn


def covered_share(boxes: Tensor, cells: int) -> Tensor:
    """The share of every cell of a template that the target's box covers.

    Args:
        boxes: `(..., 4)` xywh normalised to the template crop.
        cells: cells along a side.

    Returns:
        `(..., cells * cells)` in [0, 1], row by row.
    """
    edges = torch.linspace(0, 1, cells + 1, device=boxes.device, dtype=boxes.dtype)
    low, high = boxes[..., :2, None], (boxes[..., :2] + boxes[..., 2:])[..., None]
    overlap = torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])
    along = (overlap * cells).clamp(0, 1)  # (..., 2, cells): x, then y
    return (along[..., 1, :, None] * along[..., 0, None, :]).flatten(-2)


def log_size(boxes: Tensor) -> Tensor:
    """Logarithm of width and height `(..., 2)` of xywh boxes `(..., 4)` normalised to the crop."""
    return boxes[..., 2:].clamp(1e-2, 2).log()


class TemplateBox(nn.Module):
    """What every template token hears of the box.

    Args:
        width: channels C of a token.
        cells: tokens along the side of a template.
    """

    def __init__(self, width: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.proj = nn.Linear(3, width)

    def forward(self, boxes: Tensor) -> Tensor:
        """`(B, T, 4)` xywh normalised to the template crops -> `(B, T * L_z, C)` to add."""
        share = covered_share(boxes, self.cells)[..., None]
        size = log_size(boxes)[:, :, None].expand(-1, -1, share.shape[2], -1)
        return self.proj(torch.cat([share, size], dim=-1)).flatten(1, 2)
