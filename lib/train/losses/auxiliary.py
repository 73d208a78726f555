"""Auxiliary losses on the encoder's search tokens, for training only.

A tracker never sees these heads. They teach the encoder at once what the decoder's tokens teach it
only after the decoder has learnt to attend: where the target is (docs/tiny.md has their worth).
A loss that is a module, like these, is one of the objective's `heads`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.config.schema import Config
from lib.models.extras import covered_share
from lib.models.seqtrack import SeqTrack
from lib.models.tokens import cut_to_crop
from lib.train.losses.tokens import Loss, Outputs


def centre_target(boxes: Tensor, side: int) -> Tensor:
    """The share `(B, side * side)` of every search token in the centre of xywh boxes `(B, 4)`.

    It is shared among the four tokens whose centres are nearest, bilinearly.
    """
    low, high = cut_to_crop(boxes)
    # Position in units of tokens, 0 in the centre of the first one.
    centre = ((low + high) / 2 * side - 0.5).clamp(0, side - 1)
    tokens = torch.arange(side, device=boxes.device)
    share = (1 - (tokens - centre[..., None]).abs()).clamp_min(0)  # (B, 2, side): x, then y
    return (share[:, 1, :, None] * share[:, 0, None, :]).flatten(1)


def centre_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Cross-entropy of a map `(B, L_x)` of where the centre of xywh boxes `(B, 4)` is.

    Source: the classification head of OSTrack (ECCV 2022), in the plainest form.
    """
    return F.cross_entropy(logits.float(), centre_target(boxes, math.isqrt(logits.shape[1])))


class CentreHead(nn.Module):
    """Which search token holds the centre, for a network that has no map of it itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # No bias: softmax over the tokens does not see what is added to all of them.
        self.proj = nn.Linear(width, 1, bias=False)

    def forward(self, outputs: Outputs) -> Tensor:
        return centre_loss(self.proj(outputs.search_features).squeeze(-1), outputs.boxes)


class DenseHead(nn.Module):
    """How far the four sides are from every search token inside the box.

    Distances left, top, right, bottom from the token's centre, in units of the crop's side: their
    absolute errors are summed. Tokens count by the share of them that the box covers, so that a
    box smaller than a token still counts; every sample counts the same.
    Source: the regression branch of FCOS (ICCV 2019).
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
        centres = torch.stack([x.flatten(), y.flatten()], dim=1)
        return torch.cat([centres - low[:, None], high[:, None] - centres], dim=-1)

    def forward(self, outputs: Outputs) -> Tensor:
        target = self.target(outputs.boxes)
        error = (self.proj(outputs.search_features).float() - target).abs().sum(dim=-1)
        share = covered_share(outputs.boxes, self.side)
        # A box without area covers nothing: its loss is 0, not 0 / 0.
        per_sample = (error * share).sum(dim=1) / share.sum(dim=1).clamp_min(1e-6)
        return per_sample.mean()


def _centre(network: SeqTrack, cfg: Config) -> Loss:
    if network.centre_hint is None:
        return CentreHead(network.encoder.body.width)
    # The network has a map of the centre itself: that one is trained.
    return lambda outputs: centre_loss(
        outputs.network.centre_hint.map(outputs.memory),  # type: ignore[union-attr]
        outputs.boxes,
    )


LOSSES: dict[str, Callable[[SeqTrack, Config], Loss]] = {
    "dense": lambda network, cfg: DenseHead(
        network.encoder.body.width, network.encoder.body.search_tokens
    ),
    "centre": _centre,
}
