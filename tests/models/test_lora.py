"""Low-rank additions: what gets one, and that a merged network is the same one, plain."""

import copy

import pytest
import torch
from torch.nn.utils import parametrize

from lib.models.lora import add_low_rank, merged
from lib.utils.errors import ConfigError
from tests.helpers.training_setup import losses, make_batch, make_objective, training_config
from tests.models.test_timm_encoder import config as timm_config

FROZEN = {"FREEZE_ENCODER": True, "FREEZE_DECODER": True, "LORA_RANK": 2}


def with_additions(cfg, seed=0):
    """An objective whose additions are no longer zero."""
    objective = make_objective(cfg).train()
    objective.add_low_rank(cfg.train.lora_rank, seed)
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if name.endswith(".b"):
                parameter.normal_(std=0.05)
    return objective


@pytest.mark.parametrize(
    "cfg",
    [
        pytest.param(training_config(FROZEN), id="our encoder"),
        pytest.param(timm_config(train=FROZEN), id="DINOv2 of timm"),
        pytest.param(timm_config("eva02_small_patch14_224", FROZEN), id="matrices used directly"),
    ],
)
def test_merged_equals_unmerged(cfg):
    plain, objective = make_objective(cfg), with_additions(cfg)
    batch = make_batch(cfg)
    images = objective.normalise(batch.templates), objective.normalise(batch.search)
    tokens, _ = objective.tokenizer.encode(batch.boxes)
    network = objective.network.eval()
    one = merged(network)
    with torch.no_grad():
        found, expected = (net(*images, tokens) for net in (one, network))
        before = plain.network.eval()(*images, tokens)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert (expected - before).abs().max() > 1e-3
    names = plain.network.state_dict()
    assert {k: x.shape for k, x in one.state_dict().items()} == {
        k: x.shape for k, x in names.items()
    }
    assert not any(map(parametrize.is_parametrized, one.modules()))


def test_only_additions_train_and_all_of_them():
    cfg = training_config({**FROZEN, "LR": 1e-2, "ENCODER_MULTIPLIER": 1.0})
    objective, batch = with_additions(cfg), make_batch(cfg)
    losses(objective, batch)["total"].backward()
    training = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert training and all(name.endswith((".0.a", ".0.b")) for name in training)
    moved = {n for n, p in objective.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == training
    assert any("decoder" in name and "in_proj_weight" in name for name in training)
    assert any("blocks.0.attn.qkv" in name for name in training)


def test_what_trains_gets_no_addition():
    cfg = training_config({"FREEZE_ENCODER": True, "LORA_RANK": 2})
    objective = with_additions(cfg)
    names = {name for name, _ in objective.network.named_parameters() if name.endswith(".0.a")}
    assert names and all(name.startswith("encoder.") for name in names)
    assert objective.network.vocab_embed.layers[0].weight.requires_grad


def test_a_network_without_additions_is_its_own_merge():
    network = make_objective(training_config()).network
    assert merged(network) is network
    frozen = copy.deepcopy(network).requires_grad_(False)
    assert add_low_rank(frozen, rank=10_000) == 0


def test_nothing_frozen_is_refused():
    objective = make_objective(training_config())
    with pytest.raises(ConfigError, match="LORA_RANK 4 adds nothing"):
        objective.add_low_rank(4, seed=0)
