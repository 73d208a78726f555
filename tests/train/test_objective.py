"""lib/train/losses, optim.py: which losses are on, and who has a gradient."""

from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from lib.train.losses.auxiliary import DenseHead, centre_target
from lib.utils.errors import ConfigError
from tests.helpers.tiny import tiny_config
from tests.helpers.training_setup import losses, make_batch, make_objective, training_config

ALL_LOSSES = {
    "SOFT_SIGMA": [3.0, 1.0],
    "L1_WEIGHT": 5.0,
    "SIZE_WEIGHT": 1.0,
    "CENTRE_WEIGHT": 0.3,
    "DENSE_WEIGHT": 0.5,
}
DEPARTURES = {
    "TEMPLATE_BOX": True,
    "CORRELATION": True,
    "CENTRE_HINT": True,
    "ENCODER": {"STEM": "conv"},
}


def test_the_recipe_of_the_paper_is_cross_entropy_alone():
    cfg = tiny_config()
    objective = make_objective(cfg)
    terms = losses(objective, make_batch(cfg))
    assert set(terms) == {"total", "ce", "iou"}
    assert torch.equal(terms["total"].detach(), terms["ce"])
    assert not objective.heads and not objective.frozen
    assert [k for k, t in terms.items() if t.requires_grad] == ["total"]


def test_total_is_the_weighted_sum():
    cfg = training_config(ALL_LOSSES)
    terms = losses(make_objective(cfg), make_batch(cfg))
    weights = {"ce": 1.0, "l1": 5.0, "size": 1.0, "centre": 0.3, "dense": 0.5}
    assert set(terms) == {"total", "iou", *weights}
    want = sum(weight * terms[name].item() for name, weight in weights.items())
    assert terms["total"].item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("cfg", "frozen"),
    [
        pytest.param(training_config(), [], id="paper"),
        pytest.param(training_config(ALL_LOSSES), [], id="all losses"),
        pytest.param(training_config(ALL_LOSSES, **DEPARTURES), [], id="all losses and departures"),
        pytest.param(training_config({"CE_WEIGHT": 0, "SIZE_WEIGHT": 1}), [], id="size alone"),
        pytest.param(
            training_config(HIDDEN_DIM=48, FEATURE_TYPE="xz"),
            ["bottleneck.weight", "bottleneck.bias"],
            id="no bottleneck",
        ),
        pytest.param(training_config(FEATURE_TYPE="token"), [], id="one memory token"),
        pytest.param(training_config({"FREEZE_BLOCKS": 2}), None, id="frozen blocks"),
        pytest.param(training_config({"FREEZE_ENCODER": True}), None, id="frozen encoder"),
        pytest.param(training_config({"ENCODER_MULTIPLIER": 0}), None, id="encoder at rate 0"),
    ],
)
def test_everything_that_asks_for_a_gradient_gets_one(cfg, frozen):
    objective = make_objective(cfg)
    losses(objective, make_batch(cfg), 0.5)["total"].backward()
    without = [name for name, p in objective.named_parameters() if p.grad is None]
    assert without == [f"network.{name}" for name in objective.frozen]
    if frozen is not None:
        assert objective.frozen == frozen


def test_frozen_blocks():
    objective = make_objective(training_config({"FREEZE_BLOCKS": 1}))
    starts = {".".join(name.split(".")[:4]) for name in objective.frozen}
    assert starts == {
        "encoder.body.pos_embed",
        "encoder.body.patch_embed.proj",
        "encoder.body.blocks.0",
    }


def test_encoder_open():
    train = {
        "FREEZE_ENCODER": True,
        "ENCODER_OPEN": ["pos_embed", "encoder.body.norm.bias", "blocks.1."],
    }
    objective = make_objective(training_config(train))
    trains = [
        name.removeprefix("encoder.body.")
        for name, p in objective.network.named_parameters()
        if p.requires_grad and name.startswith("encoder")
    ]
    assert {"pos_embed", "norm.bias", "blocks.1.norm1.weight"} <= set(trains)
    assert all(n in ("pos_embed", "norm.bias") or n.startswith("blocks.1.") for n in trains)


@pytest.mark.parametrize(
    ("train", "moves"),
    [
        pytest.param({}, {0, 1, 2}, id="all trains"),
        pytest.param({"FREEZE_ENCODER": True}, set(), id="frozen encoder"),
        pytest.param({"FREEZE_BLOCKS": 1}, set(), id="frozen beginning"),
        pytest.param(
            {
                "FREEZE_ENCODER": True,
                "ENCODER_OPEN": ["pos_embed", "patch_embed.layers.1.1.weight"],
            },
            {1},
            id="one norm is open",
        ),
    ],
)
def test_running_statistics_stay_where_nothing_trains(train, moves):
    cfg = training_config(train, ENCODER={"STEM": "conv", "DROP_PATH": 0.5})
    objective, batch = make_objective(cfg), make_batch(cfg)
    objective.eval()
    objective.train()
    before = {k: v.clone() for k, v in objective.network.named_buffers()}
    losses(objective, batch)
    changed = {k for k, v in objective.network.named_buffers() if not torch.equal(v, before[k])}
    assert {int(name.split("layers.")[1][0]) for name in changed} == moves
    blocks = [block.training for block in objective.network.encoder.body.blocks]
    first = "FREEZE_BLOCKS" not in train and "FREEZE_ENCODER" not in train
    assert blocks == [first, "FREEZE_ENCODER" not in train]
    assert objective.network.decoder.training


@pytest.mark.parametrize(
    ("train", "message"),
    [
        pytest.param({"FREEZE_BLOCKS": 3}, "is 3: there are only 2 blocks", id="too many"),
        pytest.param({"ENCODER_OPEN": ["pos_embd"]}, "did you mean 'pos_embed'", id="exact"),
        pytest.param({"ENCODER_OPEN": ["blocks.1"]}, "only part of 12 names", id="part as exact"),
        pytest.param(
            {"ENCODER_OPEN": ["pos_embed", "pos_embed", "block.1"]},
            "did you mean 'blocks.1'",
            id="part",
        ),
        pytest.param(
            {"CE_WEIGHT": 0, "DENSE_WEIGHT": 1}, "CE_WEIGHT, TRAIN.L1_WEIGHT", id="no tokens"
        ),
    ],
)
def test_what_cannot_be_trained_is_said(train, message):
    cfg = training_config({"FREEZE_ENCODER": True, **train})
    with pytest.raises(ConfigError, match=message):
        make_objective(cfg)


def test_boxes_without_area_have_finite_losses_and_gradients():
    cfg = training_config(ALL_LOSSES)
    objective, batch = make_objective(cfg), make_batch(cfg)
    batch.boxes = torch.tensor([[1.5, 1.5, 0.2, 0.2], [-1, 0.2, 0.5, 0.5]] * 2)
    terms = losses(objective, batch)
    terms["total"].backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad.isfinite().all() for p in objective.parameters())


def test_soft_targets_narrow_with_the_training():
    cfg = training_config({"SOFT_SIGMA": [8.0, 0.0]})
    objective, batch = make_objective(cfg), make_batch(cfg)
    at = [losses(objective, batch, progress)["ce"].item() for progress in (0.0, 0.5, 1.0)]
    as_tensor = losses(objective, batch, torch.tensor(0.5))["ce"].item()
    assert as_tensor == pytest.approx(at[1], rel=1e-6)
    assert len(set(at)) == 3


def test_all_losses_fall():
    cfg = training_config(ALL_LOSSES)
    objective, batch = make_objective(cfg), make_batch(cfg)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    first = losses(objective, batch, 1.0)
    for _ in range(60):
        optimizer.zero_grad()
        losses(objective, batch, 1.0)["total"].backward()
        optimizer.step()
    last = losses(objective, batch, 1.0)
    for name in ("ce", "l1", "size", "centre", "dense"):
        assert last[name] < 0.7 * first[name], name
    assert last["iou"] > first["iou"]


def test_compiled_once_whatever_the_progress():
    cfg = training_config(ALL_LOSSES)
    counter = CompileCounter()
    objective, batch = make_objective(cfg), make_batch(cfg)
    compiled = torch.compile(objective, backend=counter, fullgraph=True)
    for progress in (0.0, 0.25, 0.5):
        losses(compiled, batch, torch.tensor(progress))["total"].backward()
    assert counter.frame_count == 1


def test_distributed_training_waits_for_nobody(one_process):
    """A second forward pass raises if a parameter had no gradient in the first."""
    cfg = training_config(ALL_LOSSES, HIDDEN_DIM=48)
    module = torch.nn.parallel.DistributedDataParallel(make_objective(cfg))
    for seed in range(2):
        losses(module, make_batch(cfg, seed=seed))["total"].backward()
    idle = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


def test_centre_target():
    on_a_token = torch.tensor([[0.525, 0.325, 0.2, 0.1]])  # centre .625, .375: column 2, row 1
    assert centre_target(on_a_token, 4)[0].argmax() == 1 * 4 + 2
    assert centre_target(on_a_token, 4).amax().item() == pytest.approx(1)
    between = centre_target(torch.tensor([[0.4, 0.4, 0.2, 0.2]]), 4)[0].reshape(4, 4)
    assert torch.allclose(between[1:3, 1:3], torch.full((2, 2), 0.25), atol=1e-6)
    boxes = torch.rand(50, 4, generator=torch.Generator().manual_seed(4)) * 2 - 0.5
    assert torch.allclose(centre_target(boxes, 4).sum(1), torch.ones(50), atol=1e-5)


def test_a_network_with_a_map_of_the_centre_trains_that_map():
    """No parameter stands in two places: an optimizer would take it twice."""
    cfg = training_config(ALL_LOSSES, **DEPARTURES)
    objective = make_objective(cfg)
    assert set(objective.heads) == {"dense"}
    (weight,) = objective.network.centre_hint.where.parameters()
    objective.weights = dict.fromkeys(objective.weights, 0.0) | {"centre": 1.0}
    losses(objective, make_batch(cfg))["total"].backward()
    assert weight.grad is not None and weight.grad.any()
    assert not objective.network.centre_hint.what.weight.grad.any()


def test_dense_target_and_loss():
    head = DenseHead(4, 16)
    boxes = torch.tensor([[0.25, 0.0, 0.5, 0.25]])  # covers columns 1, 2 of row 0
    target = head.target(boxes)
    assert torch.allclose(target[0, 1], torch.tensor([0.125, 0.125, 0.375, 0.125]))
    # Features that are the distances themselves where the box is, and wrong elsewhere.
    with torch.no_grad():
        head.proj.weight.copy_(torch.eye(4))
        head.proj.bias.zero_()
    features = torch.full((1, 16, 4), 7.0)
    features[0, 1:3] = target[0, 1:3]
    outputs = SimpleNamespace(search_features=features, boxes=boxes)
    assert head(outputs).item() == pytest.approx(0, abs=1e-6)
    features[0, 1, 0] += 0.5
    assert head(outputs).item() == pytest.approx(0.25)  # one of two tokens


def test_heads_are_no_part_of_what_is_published():
    cfg = training_config(ALL_LOSSES)
    objective = make_objective(cfg)
    plain = make_objective(tiny_config())
    assert list(objective.network.state_dict()) == list(plain.network.state_dict())
    assert list(objective.heads.state_dict()) == [
        "centre.proj.weight",
        "dense.proj.weight",
        "dense.proj.bias",
    ]
