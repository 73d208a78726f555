"""One optimizer step: groups, rates, precision, average; and that it can be repeated."""

import itertools
import math
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lib.config.schema import Config
from lib.train.ema import Ema
from lib.train.loop import StepResult, train_step
from lib.train.optim import (
    base_rates,
    build_optimizer,
    group_names,
    learning_rate_factor,
    restore_optimizer,
    set_learning_rate,
)
from lib.train.precision import NonFiniteLoss, Precision
from lib.utils.errors import EXIT_NON_FINITE, CheckpointError
from tests.helpers.training_setup import make_batch, make_objective, training_config

CPU = torch.device("cpu")


@dataclass
class Stepper:
    """What `train_step` works with."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision
    clip_norm: float
    ema: Ema | None

    def step(self, parts: list, progress: float, note: object = None) -> StepResult:
        return train_step(
            self.module,
            self.optimizer,
            self.precision,
            parts,
            progress,
            clip_norm=self.clip_norm,
            ema=self.ema,
            note=note,
        )


def make_stepper(cfg: Config, seed: int = 0, ema: bool = False) -> Stepper:
    objective = make_objective(cfg, seed)
    average = Ema(objective.network, 0.9) if ema else None
    precision = Precision(cfg.train.precision, CPU)
    limit = cfg.train.grad_clip_norm
    return Stepper(objective, build_optimizer(objective, cfg), precision, limit, average)


def weights_of(stepper: Stepper) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in stepper.module.state_dict().items()}


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# --- groups and learning rates


def test_groups_hold_what_trains():
    cfg = training_config({"FREEZE_BLOCKS": 1, "CENTRE_WEIGHT": 1.0, "LR": 1e-3})
    objective = make_objective(cfg)
    rest, encoder = group_names(objective)
    assert (rest[0], rest[-1]) == ("pos_embed", "heads.centre.proj.weight")
    assert encoder and all(
        name.startswith(("encoder.body.blocks.1", "encoder.body.norm")) for name in encoder
    )
    groups = build_optimizer(objective, cfg).param_groups
    assert [len(group["params"]) for group in groups] == [len(rest), len(encoder)]
    assert [group["lr"] for group in groups] == [1e-3, 1e-3 * 0.1]
    trains = {id(p) for p in objective.parameters() if p.requires_grad}
    assert {id(p) for group in groups for p in group["params"]} == trains


def test_a_frozen_encoder_leaves_an_empty_group():
    cfg = training_config({"FREEZE_ENCODER": True})
    stepper = make_stepper(cfg)
    assert [len(g["params"]) > 0 for g in stepper.optimizer.param_groups] == [True, False]
    before = weights_of(stepper)
    stepper.step([make_batch(cfg)], 0.0)
    moved = {
        key
        for key, value in stepper.module.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert moved and not any("encoder" in key for key in moved)


def test_layers_and_norms_may_have_groups_of_their_own():
    cfg = training_config({"LR": 1e-3, "LAYER_DECAY": 0.5, "NO_DECAY": True, "CENTRE_WEIGHT": 1.0})
    objective = make_objective(cfg)
    optimizer = build_optimizer(objective, cfg)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    named = [*objective.network.named_parameters(), *objective.heads.named_parameters()]
    assert len(of) == len(named)
    facts = {name: (of[id(p)]["lr"], of[id(p)]["weight_decay"]) for name, p in named}
    assert cfg.train.weight_decay == 1e-4 and len(objective.network.encoder.body.blocks) == 2
    for name, lr, decay in [
        ("bottleneck.weight", 1e-3, 1e-4),
        ("bottleneck.bias", 1e-3, 0),
        ("pos_embed", 1e-3, 0),
        ("decoder.embedding.word_embeddings.weight", 1e-3, 1e-4),
        ("encoder.body.norm.weight", 1e-4, 0),
        ("encoder.body.blocks.1.attn.qkv.weight", 1e-4 / 2, 1e-4),
        ("encoder.body.blocks.0.norm1.bias", 1e-4 / 4, 0),
        ("encoder.body.patch_embed.proj.weight", 1e-4 / 8, 1e-4),
        ("encoder.body.pos_embed", 1e-4 / 8, 0),
    ]:
        assert facts[name] == (pytest.approx(lr), decay), name
    rates = set_learning_rate(optimizer, cfg, epoch=401, step=0, progress=0.8)
    assert rates == pytest.approx([group["initial_lr"] * 0.1 for group in optimizer.param_groups])


def test_step_schedule_with_warm_up():
    cfg = training_config({"LR_DROP_EPOCH": 4, "SCHEDULER": {"WARMUP_STEPS": 10}})
    factor = [learning_rate_factor(cfg, 1 + step // 10, step, step / 100) for step in range(100)]
    assert factor[:11] == pytest.approx([0.1 * (i + 1) for i in range(10)] + [1.0])
    assert [factor[i] for i in (39, 40, 79, 80)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_cosine_schedule():
    scheduler = {"TYPE": "cosine", "FINAL_SHARE": 0.1, "WARMUP_STEPS": 5}
    cfg = training_config({"SCHEDULER": scheduler})
    factor = [learning_rate_factor(cfg, 1, step, step / 1000) for step in range(1000)]
    assert factor[0] == pytest.approx(0.2, rel=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(factor[4:]))
    assert factor[500] == pytest.approx(0.55) and factor[-1] == pytest.approx(0.1, rel=1e-3)
    # Epochs beyond the plan keep the last rate.
    assert learning_rate_factor(cfg, 1, 2000, 2.0) == pytest.approx(0.1)


def test_set_learning_rate_scales_both_groups():
    cfg = training_config({"LR_DROP_EPOCH": 1})
    optimizer = make_stepper(cfg).optimizer
    assert set_learning_rate(optimizer, cfg, epoch=2, step=7, progress=0.7) == pytest.approx(
        [1e-5, 1e-6]
    )
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-5, 1e-6])
    assert base_rates(cfg) == pytest.approx((1e-4, 1e-5))


# --- one step


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_clipping_is_right_in_every_precision(precision):
    cfg = training_config({"PRECISION": precision, "GRAD_CLIP_NORM": 0.05})
    stepper = make_stepper(cfg)
    batch = make_batch(cfg)
    exact = make_stepper(training_config({"GRAD_CLIP_NORM": 0.0}))
    want = exact.step([batch], 0.0).grad_norm.item()
    assert want > 0.5  # far above the limit
    assert grad_norm_of(exact) == pytest.approx(want, rel=1e-5)  # 0 clips nothing
    result = stepper.step([batch], 0.0)
    assert result.applied and result.grad_norm.item() == pytest.approx(want, rel=0.05)
    assert grad_norm_of(stepper) == pytest.approx(0.05, rel=1e-3)
    assert all(p.dtype == torch.float32 for p in stepper.module.parameters())


def grad_norm_of(stepper: Stepper) -> float:
    grads = [p.grad.flatten() for p in stepper.module.parameters() if p.grad is not None]
    return torch.cat(grads).norm().item()


def test_gradients_of_an_earlier_step_do_not_linger():
    cfg = training_config({"LR": 1e-12, "WEIGHT_DECAY": 0.0})
    stepper, batch = make_stepper(cfg), make_batch(cfg)
    norms = [stepper.step([batch], 0.0).grad_norm.item() for _ in range(2)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_accumulated_parts_equal_the_whole_batch():
    cfg = training_config({"CENTRE_WEIGHT": 0.3, "DENSE_WEIGHT": 0.5, "L1_WEIGHT": 1.0})
    whole, parts = make_batch(cfg, size=6), [make_batch(cfg, size=6) for _ in range(3)]
    for i, part in enumerate(parts):
        for name, value in vars(whole).items():
            setattr(part, name, value[2 * i : 2 * i + 2])
    one, three = make_stepper(cfg), make_stepper(cfg)
    for _ in range(2):
        a, b = one.step([whole], 0.0), three.step(parts, 0.0)
        assert a.grad_norm.item() == pytest.approx(b.grad_norm.item(), rel=1e-4)
        for name, term in a.terms.items():
            assert term.item() == pytest.approx(b.terms[name].item(), rel=1e-4), name
    for (key, a), b in zip(weights_of(one).items(), weights_of(three).values(), strict=True):
        assert torch.allclose(a, b, atol=2e-6), key


class Counting(nn.Module):
    """Like DistributedDataParallel: says whether gradients are exchanged."""

    def __init__(self, module):
        super().__init__()
        self.module, self.exchanges, self.calls = module, True, []

    def forward(self, *inputs):
        self.calls.append(self.exchanges)
        return self.module(*inputs)

    @contextmanager
    def no_sync(self):
        self.exchanges = False
        yield
        self.exchanges = True


def test_gradients_are_exchanged_once_per_step():
    cfg = training_config()
    stepper = make_stepper(cfg)
    stepper.module = Counting(stepper.module)
    stepper.step([make_batch(cfg, seed=i) for i in range(3)], 0.0)
    assert stepper.module.calls == [False, False, True]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_loss_that_is_not_finite_stops_before_anything_changes(precision):
    cfg = training_config({"PRECISION": precision})
    stepper, batch = make_stepper(cfg, ema=True), make_batch(cfg)
    stepper.step([batch], 0.0)
    before, updates = weights_of(stepper), stepper.ema.updates
    moments = str(stepper.optimizer.state_dict())
    batch.boxes[1, 2] = math.nan
    with pytest.raises(NonFiniteLoss, match=r"total nan.*gradient norm") as caught:
        stepper.step([batch], 0.0)
    assert caught.value.exit_code == EXIT_NON_FINITE
    assert same(weights_of(stepper), before) and stepper.ema.updates == updates
    assert str(stepper.optimizer.state_dict()) == moments


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_bad_numbers_that_are_read_later_change_no_weight(precision, where):
    """As on a GPU: the optimizer skips the step by itself, and the next step raises."""
    cfg = training_config({"PRECISION": precision})
    stepper, batch = make_stepper(cfg), make_batch(cfg)
    stepper.precision.late = True
    assert stepper.step([batch], 0.0, note="good").applied
    before, moments = weights_of(stepper), str(stepper.optimizer.state_dict())
    if where == "loss":
        batch.boxes[1, 2] = math.nan
        stepper.step([batch], 0.0, note="bad")
    else:
        hook = spoil(stepper, math.inf)
        stepper.step([batch], 0.0, note="bad")
        hook.remove()
    with pytest.raises(NonFiniteLoss, match="numbers are not finite") as caught:
        stepper.step([make_batch(cfg)], 0.0, note="next")
    assert caught.value.note == "bad" and caught.value.exit_code == EXIT_NON_FINITE
    assert same(weights_of(stepper), before)
    assert str(stepper.optimizer.state_dict()) == moments


@pytest.mark.parametrize("ask", ["settle", "state_dict"])
def test_last_step_is_checked_before_it_is_saved(ask):
    cfg = training_config()
    stepper, batch = make_stepper(cfg), make_batch(cfg)
    stepper.precision.late = True
    batch.boxes[0, 0] = math.nan
    stepper.step([batch], 0.0)
    with pytest.raises(NonFiniteLoss):
        getattr(stepper.precision, ask)()
    stepper.precision.settle()  # once is enough


def test_reading_later_changes_nothing():
    cfg = training_config()
    steppers = [make_stepper(cfg, ema=True) for _ in range(2)]
    steppers[1].precision.late = True
    for stepper in steppers:
        for seed in range(3):
            stepper.step([make_batch(cfg, seed=seed)], 0.0)
        stepper.precision.settle()
    assert same(*map(weights_of, steppers))
    assert same(*(stepper.ema.weights() for stepper in steppers))


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_tf32_is_on_in_forward_and_backward_alone(precision):
    cfg = training_config({"PRECISION": precision})
    stepper, seen = make_stepper(cfg), []
    note = lambda *_: seen.append(torch.backends.cuda.matmul.allow_tf32)  # noqa: E731
    stepper.module.register_forward_hook(note)
    stepper.module.network.bottleneck.bias.register_hook(note)
    before = torch.backends.cuda.matmul.allow_tf32
    stepper.step([make_batch(cfg)], 0.0)
    assert seen == [precision == "tf32"] * 2 and not before
    assert torch.backends.cuda.matmul.allow_tf32 == before


class Waits(TorchFunctionMode):
    """Notes what would make this process wait for a GPU: values read, and constants sent."""

    NAMES = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "tensor")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in (*self.NAMES, "as_tensor"):
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_a_step_waits_for_the_step_before_alone():
    extras = {"TEMPLATE_BOX": True, "CORRELATION": True, "CENTRE_HINT": True}
    losses = {"SOFT_SIGMA": [3.0, 1.0], "L1_WEIGHT": 5.0, "SIZE_WEIGHT": 1.0, "DENSE_WEIGHT": 0.5}
    cfg = training_config(losses, **extras, ENCODER={"STEM": "conv"})
    stepper, batch = make_stepper(cfg, ema=True), make_batch(cfg)
    stepper.precision.late = True
    with Waits() as waits:
        stepper.step([batch], 0.0)
        assert waits.seen == []
        stepper.step([batch], 0.5)
        assert waits.seen == ["tolist"]


def spoil(stepper: Stepper, value: float):
    """Make one gradient non-finite, as an overflow in the backward pass does."""
    bias = stepper.module.network.bottleneck.bias
    return bias.register_hook(lambda grad: torch.full_like(grad, value))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gradient_that_is_not_finite_stops_too(precision):
    cfg = training_config({"PRECISION": precision})
    stepper = make_stepper(cfg)
    spoil(stepper, math.inf)
    before = weights_of(stepper)
    with pytest.raises(NonFiniteLoss, match="gradient norm inf"):
        stepper.step([make_batch(cfg)], 0.0)
    assert same(weights_of(stepper), before)


def test_an_overflow_of_fp16_skips_the_step():
    cfg = training_config({"PRECISION": "fp16"})
    stepper, batch = make_stepper(cfg, ema=True), make_batch(cfg)
    before, scale = weights_of(stepper), stepper.precision.scaler.get_scale()
    hook = spoil(stepper, math.inf)
    assert not stepper.step([batch], 0.0).applied
    assert same(weights_of(stepper), before)
    assert (stepper.precision.skipped, stepper.ema.updates) == (1, 0)
    assert stepper.precision.scaler.get_scale() == scale / 2
    hook.remove()
    assert stepper.step([batch], 0.0).applied
    assert not same(weights_of(stepper), before) and stepper.ema.updates == 1


def test_fp16_does_not_skip_for_ever():
    cfg = training_config({"PRECISION": "fp16"})
    stepper, batch = make_stepper(cfg), make_batch(cfg, size=1)
    spoil(stepper, math.nan)
    with pytest.raises(NonFiniteLoss):
        for _ in range(60):
            stepper.step([batch], 0.0)
    assert 20 < stepper.precision.skipped < 60


# --- continuing


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_continuing_is_exact(precision, tmp_path):
    cfg = training_config({"PRECISION": precision, "CENTRE_WEIGHT": 0.3})
    batches = [make_batch(cfg, seed=i) for i in range(4)]
    straight = make_stepper(cfg, ema=True)
    for batch in batches:
        straight.step([batch], 0.0)
    first = make_stepper(cfg, ema=True)
    for batch in batches[:2]:
        first.step([batch], 0.0)
    saved = {
        "module": first.module.state_dict(),
        "optimizer": first.optimizer.state_dict(),
        "stepper": first.precision.state_dict(),
        "ema": first.ema.state_dict(),
    }
    torch.save(saved, tmp_path / "saved.pt")
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    second = make_stepper(cfg, seed=5, ema=True)
    second.module.load_state_dict(saved["module"])
    restore_optimizer(second.optimizer, saved["optimizer"])
    second.precision.load_state_dict(saved["stepper"])
    second.ema.load_state_dict(saved["ema"])
    for batch in batches[2:]:
        second.step([batch], 0.0)
    assert same(weights_of(second), weights_of(straight))
    assert same(second.ema.weights(), straight.ema.weights())
    assert second.precision.state_dict() == straight.precision.state_dict()


def test_a_saved_optimizer_brings_moments_but_no_settings():
    old = make_stepper(training_config())
    old.step([make_batch(training_config())], 0.0)
    cfg = training_config({"LR": 1e-2, "WEIGHT_DECAY": 0.5})
    new = make_stepper(cfg)
    saved = old.optimizer.state_dict()
    # Reference checkpoints know fewer settings; those without moments hold no state.
    saved["param_groups"] = [{"params": g["params"], "lr": g["lr"]} for g in saved["param_groups"]]
    restore_optimizer(new.optimizer, saved)
    assert [group["lr"] for group in new.optimizer.param_groups] == pytest.approx([1e-2, 1e-3])
    assert new.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert torch.equal(
        new.optimizer.state_dict()["state"][3]["exp_avg"], saved["state"][3]["exp_avg"]
    )
    restore_optimizer(new.optimizer, {**saved, "state": {}})
    assert not new.optimizer.state_dict()["state"]
    new.step([make_batch(cfg)], 0.0)


@pytest.mark.parametrize(
    ("model", "train", "message"),
    [
        pytest.param({"HIDDEN_DIM": 16}, {}, "has shape", id="another width"),
        pytest.param({}, {"CENTRE_WEIGHT": 1.0}, "groups of", id="another head"),
        pytest.param({}, {"FREEZE_BLOCKS": 1}, "groups of", id="frozen"),
    ],
)
def test_the_optimizer_of_another_training_is_refused(model, train, message):
    cfg = training_config()
    old = make_stepper(cfg)
    old.step([make_batch(cfg)], 0.0)
    new = make_stepper(training_config(train, **model))
    with pytest.raises(CheckpointError, match=message):
        restore_optimizer(new.optimizer, old.optimizer.state_dict())


# --- the moving average


class Small(nn.Module):
    """One weight, one running statistic, one counter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("mean", torch.tensor([0.0]))
        self.register_buffer("count", torch.tensor(0))


def set_to(network: Small, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)
        network.mean.fill_(value)
        network.count.add_(1)


def test_the_average_follows_its_definition():
    network = Small()
    ema = Ema(network, decay=0.2)
    want = network.weight.detach().clone()
    for n, value in enumerate([10.0, -4.0, 3.0, 8.0]):
        set_to(network, value)
        ema.update()
        decay = min(0.2, (1 + n) / (10 + n))
        want = decay * want + (1 - decay) * value
    weights = ema.weights()
    assert torch.allclose(weights["weight"], want)
    assert weights["count"].item() == 4 and weights["mean"].item() == pytest.approx(
        want[0].item(), abs=0.1
    )
    assert network.weight.tolist() == [8.0, 8.0]


def test_swapped_weights_come_back():
    network = Small()
    ema = Ema(network, decay=0.9)
    set_to(network, 5.0)
    ema.update()
    live, average = network.weight.detach().clone(), ema.weights()["weight"].clone()
    address = network.weight.data_ptr()
    with pytest.raises(RuntimeError), ema.swapped():
        assert torch.equal(network.weight, average)
        raise RuntimeError
    assert torch.equal(network.weight, live) and network.weight.data_ptr() == address
    assert torch.equal(ema.weights()["weight"], average)


def test_the_average_of_another_network_is_refused():
    ema = Ema(Small(), 0.9)
    state = ema.state_dict()
    state["weights"]["weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError):
        Ema(Small(), 0.9).load_state_dict(state)
