"""lib/train/losses/tokens.py: every loss against its definition, in every format of the tokens."""

import math

import pytest
import torch

from lib.models.tokens import SEQ_FORMATS, BoxTokenizer
from lib.train.losses.tokens import (
    coordinate_distance,
    expected_coordinates,
    size_distance,
    soft_targets,
    teacher_forced_iou,
    token_cross_entropy,
)

BINS = 100
BOXES = torch.tensor([[0.2, 0.3, 0.4, 0.2], [0.55, 0.1, 0.3, 0.5], [-0.1, 0.4, 0.3, 0.9]])


def words_of(boxes, seq_format="xywh"):
    return BoxTokenizer(BINS, seq_format).encode(boxes)[1]


def saying(tokens):
    """Logits `(B, 5, bins + 2)` that say these tokens `(B, 4)` and then END."""
    logits = torch.zeros(len(tokens), 5, BINS + 2)
    ended = torch.cat([tokens, torch.full((len(tokens), 1), BINS)], dim=1)
    return logits.scatter(2, ended[..., None], 30.0)


def test_hard_cross_entropy_is_that_of_torch():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 5, BINS + 2, generator=generator) * 3
    words = words_of(BOXES)
    weights = torch.ones(BINS + 2)
    weights[BINS:] = 0.01
    want = torch.nn.CrossEntropyLoss(weight=weights)(logits.flatten(0, 1), words.flatten())
    assert token_cross_entropy(logits, words, 0.01).item() == pytest.approx(want.item(), rel=1e-6)
    other = token_cross_entropy(logits, words, 1.0)
    assert other.item() != pytest.approx(want.item(), rel=1e-3)


@pytest.mark.parametrize("seq_format", SEQ_FORMATS)
def test_coordinates_are_tokens_before_truncation(seq_format):
    boxes = torch.rand(500, 4, generator=torch.Generator().manual_seed(2)) * 1.6
    boxes[:, :2] -= 0.3
    true = BoxTokenizer(BINS, seq_format).coordinates(boxes)
    words = words_of(boxes, seq_format)
    assert torch.equal((true * (BINS - 1)).long(), words[:, :4])
    assert true.amin() >= 0 and true.amax() <= 1


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0])
def test_mean_of_soft_targets_is_the_true_coordinate(sigma):
    true = torch.linspace(0.35, 0.65, 40).reshape(10, 4)
    soft = soft_targets(true, BINS, torch.tensor(sigma))
    assert torch.allclose(soft.sum(-1), torch.ones(10, 4))
    assert torch.allclose(expected_of(soft), true, atol=1e-4)
    # Half a bin is 0.005: the truncated token as a target would miss that.
    truncated = (true * (BINS - 1)).long() / (BINS - 1)
    assert (truncated - true).mean().abs() > 0.003


def expected_of(soft):
    """`expected_coordinates` of a network that says exactly this."""
    logits = torch.full((len(soft), 5, BINS + 2), -4.0)
    logits[:, :4, :BINS] = soft.clamp_min(1e-30).log()
    return expected_coordinates(logits)


def test_soft_targets_become_the_nearest_bin():
    true = torch.tensor([[0.0, 0.104, 0.107, 1.0]])
    soft = soft_targets(true, BINS, torch.tensor(0.0))
    assert soft.argmax(-1).tolist() == [[0, 10, 11, BINS - 1]]
    assert torch.allclose(soft.amax(-1), torch.ones(1, 4), atol=1e-6)


def test_soft_cross_entropy():
    words, true = words_of(BOXES), BoxTokenizer(BINS).coordinates(BOXES)
    soft = soft_targets(true, BINS, torch.tensor(2.0))
    logits = saying(words[:, :4])
    logits[:, :4, :BINS] = soft.clamp_min(1e-12).log()
    logits[:, :4, BINS:] = -30
    best = token_cross_entropy(logits, words, 0.5, soft)
    entropy = -(soft * soft.clamp_min(1e-12).log()).sum(-1)
    # END is said for sure, so its part of the weighted mean is nothing.
    assert best.item() == pytest.approx(4 * entropy.mean().item() / 4.5, rel=1e-4)
    assert token_cross_entropy(saying(words[:, :4]), words, 0.5, soft) > best
    logits[:, 4] = 0
    assert token_cross_entropy(logits, words, 0.5, soft).item() == pytest.approx(
        best.item() + 0.5 * math.log(BINS + 2) / 4.5, rel=1e-4
    )


def test_special_words_do_not_count_in_the_mean():
    logits = saying(torch.tensor([[10, 20, 30, 40]]))
    want = torch.tensor([[10, 20, 30, 40]]) / (BINS - 1)
    logits[:, :4, BINS:] = 50
    assert torch.allclose(expected_coordinates(logits), want, atol=1e-5)


def test_coordinate_distance():
    expected = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5]])
    true = torch.tensor([[0.2, 0.2, 0.1, 0.4], [0.5, 0.5, 0.5, 0.1]])
    assert coordinate_distance(expected, true).item() == pytest.approx((0.3 + 0.4) / 2)


@pytest.mark.parametrize("seq_format", SEQ_FORMATS)
def test_size_distance(seq_format):
    tokenizer = BoxTokenizer(BINS, seq_format)
    true = BoxTokenizer(BINS, seq_format).coordinates(torch.tensor([[0.2, 0.2, 0.4, 0.1]]))
    said = BoxTokenizer(BINS, seq_format).coordinates(torch.tensor([[0.5, 0.1, 0.2, 0.3]]))
    want = math.log(0.4 / 0.2) + math.log(0.3 / 0.1)
    assert size_distance(said, true, tokenizer).item() == pytest.approx(want, rel=1e-4)
    outside = torch.tensor([[1.5, 1.5, 0.2, 0.2]])
    nothing = BoxTokenizer(BINS, seq_format).coordinates(outside).requires_grad_()
    distance = size_distance(nothing, true, tokenizer)
    distance.backward()
    assert distance.item() == pytest.approx(math.log(0.4 * 99) + math.log(0.1 * 99), rel=1e-4)
    assert nothing.grad.isfinite().all()


@pytest.mark.parametrize("seq_format", SEQ_FORMATS)
def test_teacher_forced_iou(seq_format):
    tokenizer = BoxTokenizer(BINS, seq_format)
    words = words_of(BOXES, seq_format)
    assert teacher_forced_iou(saying(words[:, :4]), words, tokenizer).item() == pytest.approx(1)
    true = torch.tensor([[0.2, 0.2, 0.4, 0.4]])
    moved = torch.tensor([[0.4, 0.2, 0.4, 0.4]])
    iou = teacher_forced_iou(
        saying(words_of(moved, seq_format)[:, :4]), words_of(true, seq_format), tokenizer
    )
    assert iou.item() == pytest.approx(1 / 3, abs=0.03)  # tokens are whole bins


def test_a_box_that_is_inside_out_has_no_overlap():
    tokenizer = BoxTokenizer(BINS, "corner")
    words = words_of(torch.tensor([[0.2, 0.2, 0.4, 0.4]]), "corner")
    said = words[:, [2, 3, 0, 1]]
    assert teacher_forced_iou(saying(said), words, tokenizer).item() == 0


def test_two_boxes_without_area_have_no_overlap_but_a_number():
    words = words_of(torch.tensor([[1.5, 1.5, 0.2, 0.2]]))
    assert teacher_forced_iou(saying(words[:, :4]), words, BoxTokenizer(BINS)).item() == 0


@pytest.mark.parametrize("number_format", [torch.bfloat16, torch.float16])
def test_losses_of_short_numbers_are_computed_in_long_ones(number_format):
    logits = torch.randn(3, 5, BINS + 2, generator=torch.Generator().manual_seed(3))
    short = logits.to(number_format)
    words = words_of(BOXES)
    for loss in (
        lambda x: token_cross_entropy(x, words, 0.01),
        lambda x: expected_coordinates(x).sum(),
    ):
        assert loss(short).dtype == torch.float32
        assert loss(short).item() == pytest.approx(loss(short.float()).item(), rel=1e-6)
