"""Losses of the tokens that the decoder predicts, and what every loss of SeqTrack reads.

Everything is computed in float32, whatever the network computes in. To add a loss: a field
`NAME_weight` in the schema of TRAIN, a row in `LOSSES` here or in `auxiliary.py`, a test.
Sources: SeqTrack (CVPR 2023), section 3.3, for the cross-entropy; the others are named with
their key in `lib/config/schema/training.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack
from lib.models.tokens import BoxTokenizer
from lib.train.teacher import Lesson

# Narrower than this, a Gaussian over whole bins is the nearest bin; 0 would divide by zero.
_NARROWEST = 0.05


@dataclass
class Outputs:
    """What the network gives for a batch of B samples, teacher forced, and the truth."""

    network: SeqTrack  # it
    tokenizer: BoxTokenizer  # its vocabulary
    search_features: Tensor  # `(B, L_x, C)` of the encoder
    memory: Tensor  # `(B, M, D)`, what the decoder attends to
    logits: Tensor  # `(B, 5, bins + 2)`; token i + 1 given the tokens before
    tokens: Tensor  # `(B, 5)`, the true ones: four coordinates and END
    boxes: Tensor  # `(B, 4)` true xywh, normalised to the search crop; they may stick out
    coordinates: Tensor  # `(B, 4)`, the true box without rounding, in the order of the format
    progress: Tensor | float  # share of the training that is done, 0 to 1
    lesson: Lesson | None = None  # what a teacher says of the batch
    _expected: Tensor | None = None

    def expected(self) -> Tensor:
        """See `expected_coordinates`; computed once."""
        if self._expected is None:
            self._expected = expected_coordinates(self.logits)
        return self._expected


Loss = Callable[[Outputs], Tensor]


def soft_targets(true: Tensor, bins: int, sigma: Tensor) -> Tensor:
    """A Gaussian over the coordinate bins about each true coordinate, `(B, 4, bins)`.

    Its middle is `v * (bins - 1)`, not the token of v: a token is truncated, on average half a
    bin too low, so reading hard tokens back as `token / (bins - 1)` is biased by half a bin. The
    mean of a network that learns these targets is v itself (but for coordinates within a few
    sigma of the border, where the Gaussian is cut off and scaled to sum to 1), and its likeliest
    bin is the nearest one. For the same reason it becomes the nearest bin, not the truncated one,
    as sigma falls to 0.

    Args:
        true: `(B, 4)` coordinates in [0, 1].
        sigma: standard deviation in bins, a scalar.
    """
    bin_index = torch.arange(bins, device=true.device)
    distance = (bin_index - (true * (bins - 1))[..., None]) / sigma.clamp_min(_NARROWEST)
    return (-0.5 * distance.square()).softmax(dim=-1)


def token_cross_entropy(
    logits: Tensor, tokens: Tensor, special_weight: float, soft: Tensor | None = None
) -> Tensor:
    """Weighted mean cross-entropy over all tokens, as `torch.nn.CrossEntropyLoss(weight)`.

    Args:
        logits: see `Outputs`.
        tokens: see `Outputs`.
        special_weight: weight of END and START; that of coordinate tokens is 1.
        soft: `(B, 4, bins)` probabilities to learn instead of the four coordinate tokens.
    """
    log_likelihood = logits.float().log_softmax(dim=-1)
    bins = logits.shape[-1] - 2
    loss = -log_likelihood.gather(-1, tokens[..., None]).squeeze(-1)
    if soft is not None:
        soft_loss = -(soft * log_likelihood[:, :4, :bins]).sum(dim=-1)
        loss = torch.cat([soft_loss, loss[:, 4:]], dim=1)
    weights = torch.where(tokens < bins, 1.0, special_weight)
    return (loss * weights).sum() / weights.sum()


def expected_coordinates(logits: Tensor) -> Tensor:
    """The mean over the coordinate bins alone, `(B, 4)` in [0, 1]: bin i is `i / (bins - 1)`.

    Source: integral regression (Sun et al., 2018).
    """
    bins = logits.shape[-1] - 2
    share = logits[:, :4, :bins].float().softmax(dim=-1)
    # Not a matrix product: autocast would round it.
    return (share * torch.linspace(0, 1, bins, device=logits.device)).sum(dim=-1)


def coordinate_distance(expected: Tensor, true: Tensor) -> Tensor:
    """|expected - true| of coordinates `(B, 4)`: summed over the four, mean over the batch."""
    return (expected - true).abs().sum(dim=1).mean()


def size_distance(expected: Tensor, true: Tensor, tokenizer: BoxTokenizer) -> Tensor:
    """|log expected size - log true size| of coordinates `(B, 4)`: width plus height, mean.

    Sizes count as at least one bin: there is no token for less, and no logarithm.
    """
    scale = tokenizer.bins - 1
    sizes = [tokenizer.decode(x * scale)[:, 2:].clamp_min(1 / scale) for x in (expected, true)]
    return (sizes[0].log() - sizes[1].log()).abs().sum(dim=1).mean()


def teacher_forced_iou(logits: Tensor, tokens: Tensor, tokenizer: BoxTokenizer) -> Tensor:
    """Mean IoU of the likeliest coordinate tokens, each given the true ones before it.

    Both boxes are read from tokens. A box that is inside out has no area.
    """
    found = tokenizer.decode(logits[:, :4, : tokenizer.bins].argmax(dim=-1))
    true = tokenizer.decode(tokens[:, :4])
    low = torch.maximum(found[:, :2] - found[:, 2:] / 2, true[:, :2] - true[:, 2:] / 2)
    high = torch.minimum(found[:, :2] + found[:, 2:] / 2, true[:, :2] + true[:, 2:] / 2)
    shared = (high - low).clamp_min(0).prod(dim=1)
    areas = found[:, 2:].clamp_min(0).prod(dim=1) + true[:, 2:].prod(dim=1)
    return (shared / (areas - shared).clamp_min(torch.finfo(shared.dtype).eps)).mean()


def _cross_entropy(network: SeqTrack, cfg: Config) -> Loss:
    special_weight, (first, last) = cfg.train.special_weight, cfg.train.soft_sigma

    def loss(outputs: Outputs) -> Tensor:
        soft, true = None, outputs.coordinates
        if max(first, last) > 0:
            sigma = true.new_zeros(()) + first + (last - first) * outputs.progress
            soft = soft_targets(true, outputs.tokenizer.bins, sigma)
        return token_cross_entropy(outputs.logits, outputs.tokens, special_weight, soft)

    return loss


# Name -> what makes the loss for a network and a configuration.
LOSSES: dict[str, Callable[[SeqTrack, Config], Loss]] = {
    "ce": _cross_entropy,
    "l1": lambda network, cfg: lambda o: coordinate_distance(o.expected(), o.coordinates),
    "size": lambda network, cfg: lambda o: size_distance(o.expected(), o.coordinates, o.tokenizer),
}
