"""Optimizer steps with clipping, parameter groups and learning rates equal the reference's."""

import json
import math

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.train.loop import train_step
from lib.train.optim import (
    base_rates,
    build_optimizer,
    group_names,
    learning_rate_factor,
    set_learning_rate,
)
from lib.train.precision import Precision

from .conftest import config_named, kit_cases, kit_files, recipe
from .test_training import batch_of, filled_objective

BATCH = 3  # of the first case of training_small.json, whose network and boxes these are
KEY_BIASES = ("in_proj_bias", "qkv.bias")  # of which the second third belongs to the keys


@pytest.mark.parametrize("file", kit_files("optimizer_*.npz"))
def test_optimizer(file):
    case, name = recipe.load_case(str(file)), file.stem.split("_")[1]
    cfg, seed = config_named(name), int(case["seed"])
    objective = filled_objective(cfg, name, seed)
    optimizer = build_optimizer(objective, cfg)
    check_groups(case, objective, optimizer)

    boxes = torch.from_numpy(recipe.boxes(BATCH, seed)).float()
    batch = batch_of(cfg.data.search.size, seed, BATCH, 2, boxes)
    precision, limit = Precision(cfg.train.precision, torch.device("cpu")), cfg.train.grad_clip_norm
    network = objective.network
    start = {k: p.detach().clone() for k, p in network.named_parameters()}
    assert list(start) == list(case["keys"])
    check_norms(case, network, start, 0)
    for step in range(int(case["steps"])):
        set_learning_rate(optimizer, cfg, epoch=1, step=step, progress=step / 100)
        result = train_step(objective, optimizer, precision, [batch], 0.0, clip_norm=limit)
        assert result.terms["total"].item() == pytest.approx(case["loss"][step], rel=1e-4)
        assert result.grad_norm.item() == pytest.approx(case["clip_total_norm"][step], rel=2e-3)
        check_norms(case, network, start, step + 1)
        check_key_biases(objective)
    with torch.no_grad():
        after = objective(batch, 0.0)["total"]
    assert after.item() == pytest.approx(case["loss"][-1], rel=1e-4)
    check_final(case, network)


def check_groups(case, objective, optimizer):
    wanted = [case["group0_keys"], case["group1_keys"]]
    parameters = dict(objective.network.named_parameters())
    for i, names in enumerate(group_names(objective)):
        group = optimizer.param_groups[i]
        assert names == list(wanted[i])
        assert [id(parameters[k]) for k in names] == [id(p) for p in group["params"]]
        assert group["lr"] == pytest.approx(case["group_lr"][i], rel=1e-12)
        assert group["weight_decay"] == case["group_wd"][i]
        assert (*group["betas"], group["eps"]) == (*case["betas"], case["eps"])


def check_norms(case, network, start, step):
    for i, (key, p) in enumerate(network.named_parameters()):
        norm, chance = case[f"norm_{step}"][i], by_chance(case, key, p, step)
        assert p.norm().item() == pytest.approx(norm, rel=1e-5, abs=chance), key
        if step:
            moved = (p - start[key]).double().norm().item()
            far = case[f"delta_norm_{step}"][i]
            assert moved == pytest.approx(far, rel=1e-2, abs=chance), key


def by_chance(case, key, p, step):
    """How far the key biases of an attention may be from the reference's after some steps.

    They shift all scores of a query alike. Their gradient is nothing but rounding, and Adam makes
    a whole step of it: up to the learning rate, either way, in each element and each step.
    """
    if not key.endswith(KEY_BIASES):
        return 0.0
    rate = case["group_lr"][list(case["group1_keys"]).count(key)]
    return 2 * rate * step * math.sqrt(p.numel() / 3)


def check_key_biases(objective):
    """What `by_chance` says of their gradient, in the step that was just made."""
    for key, p in objective.network.named_parameters():
        if key.endswith(KEY_BIASES):
            query, keys, value = (part.norm() for part in p.grad.chunk(3))
            assert keys < 1e-4 * min(query, value), key


def check_final(case, network):
    compared = 0
    for key, p in network.named_parameters():
        if f"final:{key}" not in case:
            continue
        compared += 1
        final = torch.from_numpy(case[f"final:{key}"])
        distance = (p.detach() - final).abs()
        assert distance.norm().item() <= 1e-5 * final.norm().item(), key
        # Adam's first steps have the gradient's sign, whatever its size: where the gradient is
        # nothing but rounding, they may go either way.
        assert (distance > 1e-6).float().mean().item() < 0.01, key
    assert compared == sum(key.startswith("final:") for key in case) > 0


@pytest.mark.parametrize("case", kit_cases("lr_schedule*.json"))
def test_lr_schedule(case):
    _, case = case
    changes = {"TRAIN.LR_DROP_EPOCH": case["drop_epoch"], "TRAIN.EPOCH": case["total"]}
    cfg = load_config("seqtrack_b256", [f"{k}={json.dumps(v)}" for k, v in changes.items()])
    for epoch, want in zip(case["epochs"], case["lr_used"], strict=True):
        factor = learning_rate_factor(cfg, epoch, step=0, progress=0.0)
        np.testing.assert_allclose([r * factor for r in base_rates(cfg)], want, rtol=1e-12)
