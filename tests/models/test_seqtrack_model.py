"""lib/models: cached generation, variants of the network, and what building must not do."""

import socket

import pytest
import torch

from lib.config.loader import load_config
from lib.models.decoder import Decoder
from lib.models.seqtrack import build_seqtrack, build_tokenizer
from tests.helpers.tiny import tiny_config


def inputs(cfg, batch=2, count=2):
    generator = torch.Generator().manual_seed(3)
    side, small = cfg.data.search.size, cfg.data.template.size
    search = torch.randn(batch, 3, side, side, generator=generator)
    return torch.randn(batch, count, 3, small, small, generator=generator), search


@pytest.mark.parametrize("pre_norm", [False, True])
@torch.inference_mode()
def test_cached_steps_equal_the_growing_sentence(pre_norm):
    torch.manual_seed(0)
    decoder = Decoder(
        vocabulary_size=20, length=5, dim=16, heads=4, ffn=32, layers=3, dropout=0.1,
        pre_norm=pre_norm,
    ).eval()  # fmt: skip
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    start = decoder.start(torch.randn(2, 7, 16), torch.randn(1, 7, 16))
    tokens = torch.randint(0, 20, (2, 5))
    whole, _ = decoder.step(tokens, start)
    cache, steps = start, []
    for i in range(5):
        step, cache = decoder.step(tokens[:, i : i + 1], cache)
        steps.append(step)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("feature_type", ["x", "xz", "token"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_generate_says_what_forward_would(feature_type, count, pre_norm):
    """Greedy decoding by the full forward pass gives the tokens that `generate` gives."""
    torch.manual_seed(1)
    cfg = tiny_config(
        MODEL={"FEATURE_TYPE": feature_type, "DECODER": {"PRE_NORM": pre_norm}},
        DATA={"TEMPLATE": {"NUMBER": count}},
    )
    network, tokenizer = build_seqtrack(cfg).eval(), build_tokenizer(cfg)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    templates, search = inputs(cfg, count=count)
    with torch.inference_mode():
        said = network.generate(templates, search, tokenizer)
        words = torch.full((2, 1), tokenizer.start)
        for _ in range(4):
            logits = network(templates, search, words)[:, -1]
            chosen = logits.softmax(-1)[:, : tokenizer.bins].argmax(-1, keepdim=True)
            words = torch.cat([words, chosen], dim=1)
    assert torch.equal(said.tokens, words[:, 1:])
    assert said.distributions.shape == (2, 4, tokenizer.bins)


def test_a_sample_does_not_depend_on_its_batch():
    torch.manual_seed(2)
    cfg = tiny_config()
    network, tokenizer = build_seqtrack(cfg).eval(), build_tokenizer(cfg)
    templates, search = inputs(cfg, batch=3)
    with torch.inference_mode():
        together = network.generate(templates, search, tokenizer, tokenizer.window())
        alone = network.generate(templates[1:2], search[1:2], tokenizer, tokenizer.window())
    assert torch.equal(together.tokens[1:2], alone.tokens)
    torch.testing.assert_close(together.confidence[1:2], alone.confidence)


def test_building_touches_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("building a model must not open a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    cfg = load_config("seqtrack_b256")
    assert cfg.model.encoder.pretrain_type == "mae"
    with torch.device("meta"):
        build_seqtrack(cfg)


def test_huge_encoder_has_the_geometry_of_vit_h():
    sides = {"SIZE": 224}
    cfg = tiny_config(
        MODEL={"ENCODER": {"TYPE": "vit_huge_patch14", "WIDTH": None, "DEPTH": None,
                           "HEADS": None, "PATCH_SIZE": None}},
        DATA={"SEARCH": sides, "TEMPLATE": sides},
        TEST={"SEARCH_SIZE": 224, "TEMPLATE_SIZE": 224},
    )  # fmt: skip
    with torch.device("meta"):
        body = build_seqtrack(cfg).encoder.body
    assert body.pos_embed.shape == (1, 512, 1280)
    assert (len(body.blocks), body.blocks[0].attn.num_heads) == (32, 16)


def test_training_reaches_every_parameter():
    """One backward pass gives every tensor a gradient; checkpointed blocks give the same ones."""
    gradients = []
    for use_checkpoint in (False, True):
        torch.manual_seed(4)
        cfg = tiny_config(
            MODEL={"ENCODER": {"USE_CHECKPOINT": use_checkpoint}, "DECODER": {"DROPOUT": 0.0}}
        )
        network = build_seqtrack(cfg).train()
        tokens = torch.tensor([[65, 1, 2, 3, 4], [65, 9, 8, 7, 6]])
        network(*inputs(cfg), tokens).square().mean().backward()
        assert all(p.grad is not None for p in network.parameters())
        gradients.append([p.grad for p in network.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)
