"""MODEL.HISTORY: the tokens of boxes before, as a prefix of the decoder."""

import numpy as np
import pytest
import torch

from lib.models.seqtrack import build_seqtrack, build_tokenizer
from lib.models.tokens import BoxTokenizer
from tests.helpers.tiny import tiny_config

NAN = float("nan")


def test_tokens_of_boxes_before():
    tokenizer = BoxTokenizer(101)
    boxes = torch.tensor([[[NAN] * 4, [0.25, 0.5, 0.5, 0.25], [2.0, -1.0, 0.5, 0.5]]])
    absent, inside, outside = tokenizer.history(boxes).view(3, 4).tolist()
    assert absent == [tokenizer.end] * 4
    assert inside == [50, 62, 50, 25]
    assert outside == [100, 0, 0, 0], "what is outside lies on the border, without a size"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    cfg = tiny_config(MODEL={"HISTORY": 2, "DECODER": {"DROPOUT": 0.0}})
    return build_seqtrack(cfg).eval(), build_tokenizer(cfg)


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    memory = torch.randn(3, 16, 32, generator=generator)
    boxes = torch.rand(3, 2, 4, generator=generator) / 2
    boxes[0, 0] = NAN
    return memory, boxes


@torch.no_grad()
def test_teacher_forcing_reads_what_tracking_reads(network):
    net, tokenizer = network
    memory, boxes = inputs()
    past = tokenizer.history(boxes)
    said = net.generate_from_memory(memory, tokenizer, history=past)
    start = torch.full((3, 1), tokenizer.start)
    logits = net.logits(memory, torch.cat([start, said.tokens], dim=1), history=past)
    assert logits.shape[1] == 5
    forced = logits[:, :4].softmax(-1)[..., : tokenizer.bins]
    torch.testing.assert_close(forced, said.distributions)


@torch.no_grad()
def test_the_past_counts_and_no_past_is_an_unknown_one(network):
    net, tokenizer = network
    memory, boxes = inputs()
    unknown = tokenizer.history(torch.full_like(boxes, NAN))
    answers = [
        net.generate_from_memory(memory, tokenizer, history=past).distributions
        for past in (None, unknown, tokenizer.history(boxes))
    ]
    assert torch.equal(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2], atol=1e-6)


def test_off_changes_no_parameter():
    plain, off = (build_seqtrack(tiny_config(MODEL=model)) for model in ({}, {"HISTORY": 0}))
    shapes = [{k: v.shape for k, v in one.state_dict().items()} for one in (plain, off)]
    assert shapes[0] == shapes[1]
    assert np.prod(shapes[0]["decoder.embedding.position_embeddings.weight"]) == 5 * 32
