"""What is learned from a teacher: its distributions of the tokens, and its features.

Sources: Hinton et al., Distilling the knowledge in a neural network, 2015 (soft targets at a
temperature); FitNets, Romero et al., ICLR 2015 (features through a layer of their own).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack
from lib.train.losses.tokens import Loss, Outputs
from lib.train.teacher import Lesson, Teacher


def resampled(shares: Tensor, bins: int) -> Tensor:
    """Distributions `(B, 4, K)` over the bins of one vocabulary as `(B, 4, bins)` over another's.

    Both divide [0, 1] evenly, from 0 in the first bin to 1 in the last one: the density between
    bins is linear, and the result sums to 1.
    """
    if shares.shape[-1] == bins:
        return shares
    # Fewer bins: each takes what lies nearest to it, so that no narrow peak falls between two.
    places = torch.linspace(0, bins - 1, shares.shape[-1], device=shares.device)
    if shares.shape[-1] > bins:
        low = places.floor().clamp_max(bins - 2)
        part = (places - low).expand_as(shares)
        index = low.long().expand_as(shares)
        found = shares.new_zeros(*shares.shape[:-1], bins)
        found = found.scatter_add(-1, index, shares * (1 - part))
        return found.scatter_add(-1, index + 1, shares * part)
    found = F.interpolate(shares, bins, mode="linear", align_corners=True)
    return found / found.sum(dim=-1, keepdim=True)


def token_divergence(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Cross-entropy with the teacher's distributions less their entropy, times temperature squared,
    which keeps the size of the gradient: Hinton et al., section 2. Mean over tokens and samples.

    Args:
        logits: `(B, 4, bins)` of the student's coordinate tokens.
        taught: `(B, 4, K)` of the teacher's.
        temperature: divides both.
    """
    bins = logits.shape[-1]
    target = resampled((taught / temperature).softmax(dim=-1), bins)
    own = (logits.float() / temperature).log_softmax(dim=-1)
    divergence = F.kl_div(own, target, reduction="none").sum(dim=-1)
    return temperature**2 * divergence.mean()


class FeatureHead(nn.Module):
    """Mean square distance to the teacher's search features, each token normalised.

    Args:
        width: channels of the student's tokens.
        taught: channels of the teacher's.
    """

    def __init__(self, width: int, taught: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, taught)

    def forward(self, outputs: Outputs) -> Tensor:
        own = self.proj(outputs.search_features).float()
        target = on_grid(_lesson(outputs).features, own.shape[1])
        return F.mse_loss(own, F.layer_norm(target, target.shape[-1:]))


def on_grid(features: Tensor, tokens: int) -> Tensor:
    """Tokens `(B, L, C)` of a square grid as those of another one, `(B, tokens, C)`, bilinearly."""
    if features.shape[1] == tokens:
        return features
    side, wanted = math.isqrt(features.shape[1]), math.isqrt(tokens)
    grid = features.transpose(1, 2).unflatten(2, (side, side))
    grid = F.interpolate(grid, (wanted, wanted), mode="bilinear", antialias=True)
    return grid.flatten(2).transpose(1, 2)


def _lesson(outputs: Outputs) -> Lesson:
    if outputs.lesson is None:
        raise ValueError("there is no teacher")
    return outputs.lesson


def _tokens(network: SeqTrack, cfg: Config, teacher: Teacher) -> Loss:
    temperature, bins = cfg.train.teacher.temperature, cfg.model.bins
    return lambda o: token_divergence(o.logits[:, :4, :bins], _lesson(o).logits, temperature)


def _features(network: SeqTrack, cfg: Config, teacher: Teacher) -> Loss:
    return FeatureHead(network.encoder.body.width, teacher.network.encoder.body.width)


# Name -> key of its weight in TRAIN.TEACHER, and what makes the loss.
LOSSES: dict[str, tuple[str, Callable[[SeqTrack, Config, Teacher], Loss]]] = {
    "teacher_tokens": ("token_weight", _tokens),
    "teacher_features": ("feature_weight", _features),
}
