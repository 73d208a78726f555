"""Auxiliary losses on the encoder's search tokens, for training only.

A tracker never sees these heads. They tell the encoder at once what the decoder's words tell it
only after the decoder has learnt to attend: where the target is (docs/tiny.md has their worth).
Their weights are in TRAIN; each is a linear map with a loss of its own.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.template_box import covered_share
from lib.models.tokens import cut_to_crop


def centre_target(boxes: Tensor, side: int) -> Tensor:
    """The share `(B, side * side)` of every search token in the centre of xywh boxes `(B, 4)`.

    It is shared among the four tokens whose centres are nearest, bilinearly.
    """
    low, high = cut_to_crop(boxes)
    # Position in units of tokens, 0 in the centre of the first one.
    place = ((low + high) / 2 * side - 0.5).clamp(0, side - 1)
    tokens = torch.arange(side, device=boxes.device)
    share = (1 - (tokens - place[..., None]).abs()).clamp_min(0)  # (B, 2, side): x, then y
    return (share[:, 1, :, None] * share[:, 0, None, :]).flatten(1)


def centre_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Cross-entropy of a map `(B, L_x)` of where the centre of xywh boxes `(B, 4)` is.

    Source: the classification head of OSTrack (ECCV 2022), in the plainest form.
    """
    return F.cross_entropy(logits.float(), centre_target(boxes, math.isqrt(logits.shape[1])))


class CentreHead(nn.Module):
    """Which search token holds the centre, for a network that has no map of it itself.

    Args:
        width: channels C of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # No bias: softmax over the tokens does not see what is added to all of them.
        self.proj = nn.Linear(width, 1, bias=False)

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Loss of search features `(B, L_x, C)` and xywh boxes `(B, 4)` in the crop."""
        return centre_loss(self.proj(features).squeeze(-1), boxes)


class DenseHead(nn.Module):
    """How far the four sides are from every search token inside the box.

    Distances left, top, right, bottom from the token's centre, in units of the crop's side: their
    absolute errors are summed. Tokens count by the share of them that the box covers, so that a
    box smaller than a token still has a voice; every sample counts the same.
    Source: the regression branch of FCOS (ICCV 2019).

    Args:
        width: channels C of a token.
        search_tokens: L_x, a square number.
    """

    def __init__(self, width: int, search_tokens: int) -> None:
        super().__init__()
        self.side = math.isqrt(search_tokens)
        self.proj = nn.Linear(width, 4)

    def target(self, boxes: Tensor) -> Tensor:
        """Distances l, t, r, b `(B, L_x, 4)` of xywh boxes `(B, 4)`; negative outside of them."""
        low, high = cut_to_crop(boxes)
        middle = (torch.arange(self.side, device=boxes.device) + 0.5) / self.side
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        places = torch.stack([x.flatten(), y.flatten()], dim=1)
        return torch.cat([places - low[:, None], high[:, None] - places], dim=-1)

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Loss of search features `(B, L_x, C)` and xywh boxes `(B, 4)` in the crop."""
        error = (self.proj(features).float() - self.target(boxes)).abs().sum(dim=-1)
        share = covered_share(boxes, self.side)
        # A box without area covers nothing: its loss is 0, not 0 / 0.
        per_sample = (error * share).sum(dim=1) / share.sum(dim=1).clamp_min(1e-6)
        return per_sample.mean()
