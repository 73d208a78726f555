"""What the network's words are compared with.

    logits (B, 5, bins + 2), word i + 1 given the words before
    words  (B, 5)            four coordinate tokens and END
    coordinates (B, 4)       the same box without rounding, in the order of the format

Everything is computed in float32, whatever the network computes in.
Sources: SeqTrack (CVPR 2023), section 3.3, for the cross-entropy; the others are named with
their key in `lib/config/schema/training.py`.
"""

import torch
from torch import Tensor

from lib.models.tokens import BoxTokenizer

# Narrower than this, a Gaussian over whole bins is the nearest bin; 0 would divide by zero.
_NARROWEST = 0.05


def soft_targets(true: Tensor, bins: int, sigma: Tensor) -> Tensor:
    """A Gaussian over the coordinate bins about each true coordinate.

    Its middle is `v * (bins - 1)`, not the token of v: a token is truncated, on average half a
    bin too low, so reading hard tokens back as `token / (bins - 1)` is biased by half a bin. The
    mean of a network that learns these targets is v itself (but for coordinates within a few
    sigma of the border, where the Gaussian is cut off and scaled to sum to 1), and its likeliest
    bin is the nearest one. For the same reason it becomes the nearest bin, not the truncated one,
    as sigma falls to 0.

    Args:
        true: `(B, 4)` coordinates in [0, 1].
        bins: number of coordinate bins.
        sigma: standard deviation in bins, a scalar tensor.

    Returns:
        `(B, 4, bins)` probabilities.
    """
    places = torch.arange(bins, device=true.device)
    distance = (places - (true * (bins - 1))[..., None]) / sigma.clamp_min(_NARROWEST)
    return (-0.5 * distance.square()).softmax(dim=-1)


def token_cross_entropy(
    logits: Tensor, words: Tensor, special_weight: float, soft: Tensor | None = None
) -> Tensor:
    """Weighted mean cross-entropy over all words, as `torch.nn.CrossEntropyLoss(weight)`.

    Args:
        logits: `(B, 5, bins + 2)`.
        words: `(B, 5)` the right words.
        special_weight: weight of END and START; that of coordinate tokens is 1.
        soft: `(B, 4, bins)` probabilities to learn instead of the four coordinate words.
    """
    log_likelihood = logits.float().log_softmax(dim=-1)
    bins = logits.shape[-1] - 2
    loss = -log_likelihood.gather(-1, words[..., None]).squeeze(-1)
    if soft is not None:
        softly = -(soft * log_likelihood[:, :4, :bins]).sum(dim=-1)
        loss = torch.cat([softly, loss[:, 4:]], dim=1)
    weights = torch.where(words < bins, 1.0, special_weight)
    return (loss * weights).sum() / weights.sum()


def expected_coordinates(logits: Tensor) -> Tensor:
    """The mean coordinate that the network says, `(B, 4)` in [0, 1].

    The mean over the coordinate bins alone, bin i standing for `i / (bins - 1)`.
    Source: integral regression (Sun et al., 2018).

    Args:
        logits: `(B, 5, bins + 2)` or more than the first four words of it.
    """
    bins = logits.shape[-1] - 2
    share = logits[:, :4, :bins].float().softmax(dim=-1)
    # Not a matrix product: autocast would round it.
    return (share * torch.linspace(0, 1, bins, device=logits.device)).sum(dim=-1)


def coordinate_distance(expected: Tensor, true: Tensor) -> Tensor:
    """|expected - true| of coordinates `(B, 4)`: summed over the four, mean over the batch."""
    return (expected - true).abs().sum(dim=1).mean()


def size_distance(expected: Tensor, true: Tensor, tokenizer: BoxTokenizer) -> Tensor:
    """|log expected size - log true size|: width plus height, mean over the batch.

    Sizes count as at least one bin: what is smaller cannot be said, and has no logarithm.

    Args:
        expected: `(B, 4)` coordinates in the tokenizer's order.
        true: the same of the true box.
        tokenizer: knows which coordinates make up the size.
    """
    scale = tokenizer.bins - 1
    sizes = [tokenizer.decode(x * scale)[:, 2:].clamp_min(1 / scale) for x in (expected, true)]
    return (sizes[0].log() - sizes[1].log()).abs().sum(dim=1).mean()


def teacher_forced_iou(logits: Tensor, words: Tensor, tokenizer: BoxTokenizer) -> Tensor:
    """Mean IoU of the likeliest coordinate tokens, each given the true ones before it.

    Both boxes are read from tokens. A box that is inside out has no area.

    Args:
        logits: `(B, 5, bins + 2)`.
        words: `(B, 5)` the right words.
        tokenizer: reads tokens as boxes.
    """
    said = tokenizer.decode(logits[:, :4, : tokenizer.bins].argmax(dim=-1))
    true = tokenizer.decode(words[:, :4])
    low = torch.maximum(said[:, :2] - said[:, 2:] / 2, true[:, :2] - true[:, 2:] / 2)
    high = torch.minimum(said[:, :2] + said[:, 2:] / 2, true[:, :2] + true[:, 2:] / 2)
    shared = (high - low).clamp_min(0).prod(dim=1)
    areas = said[:, 2:].clamp_min(0).prod(dim=1) + true[:, 2:].prod(dim=1)
    return (shared / (areas - shared).clamp_min(torch.finfo(shared.dtype).eps)).mean()
