"""The recipe of seqtrack_plus: causal templates, embeddings of type and box, low-rank additions."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.config.schema import Config
from lib.models.blocks import Block
from lib.models.lora import merged
from lib.models.seqtrack import build_encoder, build_seqtrack
from lib.models.weights import PUBLISHED_CONFIGS
from lib.profile.work import embedding_macs, encoder_macs
from lib.tracker.build import build_tracker
from lib.tracker.engine.build import build_engine
from lib.tracker.settings import as_published
from lib.tracker.spec import TrackerSpec
from lib.train.optim import parameter_groups
from lib.utils.checkpoint import load_tensors
from lib.utils.errors import ConfigError
from tests.helpers.rehearsal import Pretended, crops_of
from tests.helpers.tiny import draw_sequence
from tests.helpers.training_runs import FINAL, folder_of, one_thread, trained
from tests.helpers.training_setup import losses, make_batch, make_objective, training_config
from tests.tracker.test_engines import ALL_EXTRAS, answer, check_same, network_of

PLUS = ("seqtrack_plus_b224", "seqtrack_plus_l378")


def toy(train=None, encoder=None, **model):
    """seqtrack_plus_b224 with a small network: search regions of 4 x 4 tokens, templates 2 x 2."""
    content = load_config(PLUS[0]).model_dump(by_alias=True)
    content["MODEL"] |= {"HIDDEN_DIM": 32, "BINS": 64, **model}
    content["MODEL"]["ENCODER"] |= {"PRETRAIN_TYPE": "scratch", "WIDTH": 48, "DEPTH": 3, "HEADS": 4}
    content["MODEL"]["ENCODER"] |= encoder or {}
    content["MODEL"]["DECODER"] |= {"NHEADS": 4, "DIM_FEEDFORWARD": 32, "DROPOUT": 0.0}
    content["DATA"]["SEARCH"]["SIZE"] = content["TEST"]["SEARCH_SIZE"] = 56
    content["DATA"]["TEMPLATE"]["SIZE"] = content["TEST"]["TEMPLATE_SIZE"] = 28
    small = {"LORA_RANK": 4, "EPOCH": 2, "BATCH_SIZE": 2, "NUM_WORKER": 0, "PRECISION": "fp32"}
    content["TRAIN"] |= {**small, **(train or {})}
    content["TRAIN"]["SCHEDULER"]["WARMUP_STEPS"] = 2
    content["DATA"]["TRAIN"]["SAMPLE_PER_EPOCH"] = 4
    return Config.model_validate(content).named("toy")


def additions(cfg, seed=5):
    objective = make_objective(cfg, seed)
    objective.add_low_rank(cfg.train.lora_rank, seed)
    return objective


def all_in_one_pass(body, search, templates, boxes):
    """What `body` is to compute, spelt as one pass of timm's own blocks with a mask.

    Args:
        search: `(B, 3, S_x, S_x)`.
        templates: `(B, D, 3, S_z, S_z)`.
        boxes: `(B, D, 4)`.
    """
    batch, count = templates.shape[:2]
    prefix = body.prefix.expand(batch, -1, -1)
    rows = body.pos_embed.split([16, 4], dim=1)
    parts = [torch.cat([prefix, _patches(body, search) + rows[0] + body.type_embed[:, 0]], dim=1)]
    for i in range(count):
        z = _patches(body, templates[:, i]) + rows[1] + body.type_embed[:, 1]
        parts.append(torch.cat([prefix, z + body.template_box(boxes[:, i])], dim=1))
    number, before = torch.tensor([0] * 21 + [1] * 9 + [2] * 9)[: 21 + 9 * count], 5
    own = number[:, None] == number[None]
    patch = torch.arange(9).repeat(count) >= before
    seen = torch.cat([torch.zeros(21, dtype=torch.bool), patch])
    mask = own | ((number == 0)[:, None] & seen[None])
    x = torch.cat(parts, dim=1)
    for block in body.blocks:
        x = block(x, attn_mask=mask)
    return body.norm(x[:, before:21])


def _patches(body, images):
    return body.patch_embed(images).flatten(1, 2)


@pytest.mark.parametrize("count", [1, 2])
def test_cached_templates_are_those_of_one_masked_pass(count):
    body = network_of(toy()).encoder.body
    torch.manual_seed(1)
    search, templates = torch.randn(3, 3, 56, 56), torch.randn(3, count, 3, 28, 28)
    boxes = torch.rand(3, count, 4) * 0.4 + 0.1
    expected = all_in_one_pass(body, search, templates, boxes)
    features = body.embed_templates(templates.flatten(0, 1), boxes.flatten(0, 1)).unflatten(3)
    found = body(body.embed_search(search, features), features.tokens)
    assert (found - expected).abs().max() < 1e-5
    other = body.embed_templates(templates.flatten(0, 1).flip(0), boxes.flatten(0, 1)).unflatten(3)
    assert (body(body.embed_search(search, other), other.tokens) - found).abs().max() > 1e-3


@pytest.mark.parametrize("key_bias", [None, torch.tensor([[0.7, 0.0]] * 3)])
def test_rows_that_fill_up_are_seen_by_nobody(key_bias):
    body = network_of(toy()).encoder.body
    torch.manual_seed(1)
    search, templates = torch.randn(3, 3, 56, 56), torch.randn(6, 3, 28, 28)
    features = body.embed_templates(templates, torch.rand(6, 4) * 0.4 + 0.1).unflatten(3)
    search = body.embed_search(search, features)
    expected = body(search, features.tokens, key_bias)
    body.row_group = 8  # of 21 tokens
    assert (body(search, features.tokens, key_bias) - expected).abs().max() < 1e-5


def test_training_computes_what_tracking_does():
    """`forward` of whole images, and a step with templates that were kept, of the same crops."""
    cfg = toy()
    network = network_of(cfg)
    fast, slow = (build_engine(one, network, cfg) for one in ("torch", "reference"))
    for pattern in ((0, 0), (0, 1)):
        check_same(answer(fast, cfg, pattern, batch=2), answer(slow, cfg, pattern, batch=2))


def test_what_is_added_starts_as_nothing_and_then_counts():
    cfgs = toy(), toy(encoder={"TYPE_EMBEDDING": False}, TEMPLATE_BOX=False)
    rich, poor = (build_encoder(cfg).eval() for cfg in cfgs)
    rich.load_state_dict(poor.state_dict(), strict=False)
    images, boxes = torch.randn(2, 3, 28, 28), torch.rand(2, 4) * 0.4 + 0.1
    with torch.no_grad():
        first = rich.embed_templates(images, boxes).tokens
        assert torch.equal(first, poor.embed_templates(images).tokens)
        torch.nn.init.normal_(rich.template_box.proj.weight)
        second = rich.embed_templates(images, boxes).tokens
        assert (second - first).abs().max() > 1e-2
        torch.nn.init.normal_(rich.type_embed)
        assert (rich.embed_templates(images, boxes).tokens - second).abs().max() > 1e-2
    with pytest.raises(ValueError, match=r"MODEL\.TEMPLATE_BOX is on"):
        rich.embed_templates(images)


def test_only_additions_and_what_is_new_train_in_the_encoder():
    cfg = toy({"LR": 1e-3, "WEIGHT_DECAY": 0.1})
    objective = additions(cfg).train()
    losses(objective, make_batch(cfg))["total"].backward()
    body = objective.network.encoder.body
    training = {name for name, p in body.named_parameters() if p.requires_grad}
    new = {"type_embed", "template_box.proj.weight", "template_box.proj.bias"}
    per_block = {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}
    low = {
        f"blocks.{i}.{name}.parametrizations.weight.0.{part}"
        for i in range(3)
        for name in per_block
        for part in "ab"
    }
    assert training == new | low
    assert all(p.grad is not None for p in body.parameters() if p.requires_grad)
    rates = {}
    for group in parameter_groups(objective, cfg, 3):
        for parameter in group["params"]:
            rates[id(parameter)] = (group["lr"], group["weight_decay"])
    additions_of = [block.attn.qkv.parametrizations.weight[0].a for block in body.blocks]
    expected = [(1e-3 * 0.9 ** (3 - i), 0.1) for i in range(3)]
    assert [rates[id(p)] for p in additions_of] == [pytest.approx(x) for x in expected]
    assert rates[id(body.type_embed)] == pytest.approx((1e-3, 0.0))
    assert rates[id(body.template_box.proj.weight)] == pytest.approx((1e-3, 0.1))


def test_it_trains_resumes_to_the_bit_merges_and_tracks(tmp_path):
    cfg = toy({"LR": 1e-2})
    whole = trained(tmp_path / "whole", cfg, model=additions(cfg))
    first, last = "SEQTRACK_ep0001.pth.tar", FINAL
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / first).write_bytes((folder_of(whole) / first).read_bytes())
    again = trained(parts, cfg, model=additions(cfg))
    one, other = (load_tensors(folder_of(run) / last)["net"] for run in (whole, again))
    plain = make_objective(cfg, 5).network.state_dict()
    assert one.keys() == plain.keys() and all(torch.equal(one[k], other[k]) for k in one)
    moved = {k for k in one if not torch.equal(one[k], plain[k])}
    assert "encoder.body.blocks.0.mlp.fc2.weight" in moved
    assert "encoder.body.blocks.0.norm1.weight" not in moved
    network = whole.state.model.network.eval()
    batch = make_batch(cfg)
    with torch.no_grad(), one_thread():
        arguments = [
            x.permute(0, 1, 4, 2, 3) / 255 for x in (batch.templates, batch.search[:, None])
        ]
        tokens = torch.randint(0, 64, (4, 5))
        inputs = (arguments[0], arguments[1][:, 0], tokens, batch.template_boxes)
        gap = (merged(network)(*inputs) - network(*inputs)).abs().max()
    assert gap < 1e-5
    spec = TrackerSpec("seqtrack", "x", cfg, checkpoint=parts / last)
    with pytest.raises(ConfigError, match="gated needs a calibration of the weights"):
        build_tracker(spec)
    tracker = build_tracker(dataclasses.replace(spec, config=as_published(cfg)))
    frames, boxes = draw_sequence(8)
    tracker.initialize(frames[0], {"init_bbox": boxes[0]})
    assert np.isfinite([tracker.track(frame)["target_bbox"] for frame in frames[1:]]).all()


def test_recomputing_changes_no_gradient():
    gradients = []
    for again in (False, True):
        cfg = toy(encoder={"USE_CHECKPOINT": again})
        objective = make_objective(cfg).train()
        losses(objective, make_batch(cfg))["total"].backward()
        gradients.append([p.grad for p in objective.network.parameters() if p.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_would_run_it(precision):
    cfg = toy()
    engine = Pretended(cfg, precision)
    boxes = [(0.25, 0.25, 0.5, 0.5)] * 4
    a, b, c, d = engine.templates(crops_of(4, cfg.test.template_size), boxes)
    for rows in ([[a, a]], [[a, b], [c, d], [c, c]]):
        found = engine.generate(rows, crops_of(len(rows), cfg.test.search_size))
        assert found.boxes.shape == (len(rows), 4)


@pytest.mark.slow
def test_the_exported_network_says_the_same(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path))
    cfg = toy(encoder={"DEPTH": 2})
    network = network_of(cfg)
    exported, plain = (build_engine(one, network, cfg) for one in ("onnx", "torch"))
    for pattern in ((0, 0), (0, 1)):
        check_same(answer(exported, cfg, pattern, batch=2), answer(plain, cfg, pattern, batch=2))


def test_multiplications_of_a_kept_template_are_not_counted_again():
    """By hand: 5 class and register tokens, 16 of the search region, 4 of a template, 3 blocks."""
    cfg = toy()
    network = build_seqtrack(cfg).eval().requires_grad_(False)
    counted = encoder_macs(network, 2, pruned=True)
    # Nobody reads what the last block would make of the class and register tokens.
    assert counted.linear_conv == (3 * (5 + 16) * 12 - 5 * 9) * 48**2
    assert counted.attention == (3 * (5 + 16) - 5) * 2 * (5 + 16 + 8) * 48
    gap = [embedding_macs(network, cfg, 1, cached) for cached in (False, True)]
    # The last block of a template makes queries, keys and values only.
    blocks, embedding = 9 * (2 * 12 + 3) * 48**2, 4 * 48 * 3 * 14**2 + 4 * 3 * 48
    assert gap[0].linear_conv - gap[1].linear_conv == blocks + embedding
    assert gap[0].attention == 2 * 2 * 9 * 9 * 48


@pytest.mark.parametrize(
    "make", [pytest.param(toy, id="timm"), pytest.param(lambda **x: own({}, **x), id="our own")]
)
def test_what_cannot_be_had_is_refused(make):
    with pytest.raises(ValueError, match=r"FEATURE_TYPE: must be x with CAUSAL_TEMPLATES"):
        make(FEATURE_TYPE="xz")


def test_other_blocks_are_refused():
    cfg = toy(encoder={"TYPE": "timm/eva02_small_patch14_224"})
    with pytest.raises(ConfigError, match=r"CAUSAL_TEMPLATES cannot be had with timm/eva02_small"):
        build_encoder(cfg)


# --- Our own encoder ----------------------------------------------------------------------------


def own(train=None, encoder=None, **model):
    """16 search and 4 template tokens, with the options and all that a small model may have."""
    options = {"TYPE_EMBEDDING": True, "CAUSAL_TEMPLATES": True, **(encoder or {})}
    train = {"EPOCH": 2, "BATCH_SIZE": 2, "NUM_WORKER": 0, **(train or {})}
    extras = {**ALL_EXTRAS, **model, "ENCODER": {**ALL_EXTRAS["ENCODER"], **options}}
    content = training_config(train, **extras).model_dump(by_alias=True)
    content["DATA"]["TRAIN"]["SAMPLE_PER_EPOCH"] = 4
    return Config.model_validate(content).named("own")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("block", [{}, {"layer_scale": 0.1, "qk_norm": True}], ids=["", "scaled"])
def test_our_blocks_read_kept_templates_as_in_one_masked_pass(block, count):
    body = network_of(own()).encoder.body
    torch.manual_seed(1)
    body.blocks[1] = Block(body.width, 4, **block).eval().requires_grad_(False)
    search, templates = torch.randn(3, 3, 64, 64), torch.randn(3 * count, 3, 32, 32)
    boxes = torch.rand(3 * count, 4) * 0.4 + 0.1
    body.causal = False
    embedded = body.embed_templates(templates, boxes).unflatten(3)
    x = torch.cat([body.embed_search(search, embedded), embedded.tokens.flatten(1, 2)], dim=1)
    number = torch.tensor([0] * 16 + [1] * 4 + [2] * 4)[: 16 + 4 * count]
    seen = (number[:, None] == number) | (number[:, None] == 0)
    mask = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)
    for one in body.blocks:
        x = one(x, mask)
    body.causal = True
    kept = body.embed_templates(templates, boxes).unflatten(3)
    found = body(body.embed_search(search, kept), kept.tokens)
    assert (found - body.norm(x[:, :16])).abs().max() < 1e-5


@pytest.mark.parametrize("pattern", [(0, 0), (0, 1)])
def test_our_encoder_tracks_as_it_is_trained(pattern):
    cfg = own()
    network = network_of(cfg)
    fast, slow = (build_engine(one, network, cfg) for one in ("torch", "reference"))
    check_same(answer(fast, cfg, pattern, batch=2), answer(slow, cfg, pattern, batch=2))


def test_the_types_of_our_encoder_start_as_nothing_and_then_count():
    """The option off is the network of before: same names, same tokens."""
    torch.manual_seed(0)
    poor = build_encoder(own(encoder={"TYPE_EMBEDDING": False, "CAUSAL_TEMPLATES": False})).eval()
    torch.manual_seed(0)
    rich = build_encoder(own(encoder={"CAUSAL_TEMPLATES": False})).eval()
    assert rich.state_dict().keys() - poor.state_dict().keys() == {"type_embed"}
    z, x, boxes = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64), torch.rand(2, 4) * 0.4 + 0.1

    def tokens(body):
        features = body.embed_templates(z, boxes)
        return features.tokens, body.embed_search(x, features.unflatten(2))

    with torch.no_grad():
        before = tokens(poor)
        assert all(map(torch.equal, tokens(rich), before))
        rich.type_embed.copy_(torch.tensor([1.0, 2.0])[None, :, None])
        moved = [one - other for one, other in zip(tokens(rich), before, strict=True)]
    for change, expected in zip(moved, (2.0, 1.0), strict=True):
        torch.testing.assert_close(change, torch.full_like(change, expected))


def test_our_encoder_trains_resumes_to_the_bit_and_tracks(tmp_path):
    cfg = own({"LR": 1e-2}, {"DROP_PATH": 0.1})
    whole = trained(tmp_path / "whole", cfg)
    first = "SEQTRACK_ep0001.pth.tar"
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / first).write_bytes((folder_of(whole) / first).read_bytes())
    again = trained(parts, cfg)
    one, other = (load_tensors(folder_of(run) / FINAL)["net"] for run in (whole, again))
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    assert one["encoder.body.type_embed"].abs().min() > 0
    tracker = build_tracker(TrackerSpec("seqtrack", "x", cfg, checkpoint=parts / FINAL))
    frames, boxes = draw_sequence(8)
    tracker.initialize(frames[0], {"init_bbox": boxes[0]})
    assert np.isfinite([tracker.track(frame)["target_bbox"] for frame in frames[1:]]).all()


def test_recomputing_changes_no_gradient_of_our_encoder():
    gradients = []
    for again in (False, True):
        cfg = own(encoder={"USE_CHECKPOINT": again})
        objective = make_objective(cfg).train()
        losses(objective, make_batch(cfg))["total"].backward()
        gradients.append([p.grad for p in objective.network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_would_run_our_encoder(precision):
    cfg = own()
    engine = Pretended(cfg, precision)
    a, b = engine.templates(crops_of(2, cfg.test.template_size), [(0.25, 0.25, 0.5, 0.5)] * 2)
    for rows in ([[a, a]], [[a, b], [b, b]]):
        found = engine.generate(rows, crops_of(len(rows), cfg.test.search_size))
        assert found.boxes.shape == (len(rows), 4)


@pytest.mark.slow
def test_our_exported_encoder_says_the_same(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path))
    cfg = own(encoder={"DEPTH": 1}, DECODER={"DEC_LAYERS": 1})
    network = network_of(cfg)
    exported, plain = (build_engine(one, network, cfg) for one in ("onnx", "torch"))
    for pattern in ((0, 0), (0, 1)):
        check_same(answer(exported, cfg, pattern, batch=2), answer(plain, cfg, pattern, batch=2))


# --- The configurations -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED_CONFIGS)
def test_the_published_networks_have_none_of_it(name):
    model = load_config(name).model
    assert not (model.encoder.type_embedding or model.encoder.causal_templates)
    assert not model.template_box


def test_the_configuration_is_a_whole_network_of_its_size():
    cfg = load_config(PLUS[0], training=True)
    with torch.device("meta"):
        body = build_seqtrack(cfg).encoder.body
    assert (body.width, len(body.blocks), *body.sides) == (768, 12, 16, 8)
    assert body.causal and body.type_embed.shape == (1, 2, 768)


def test_the_two_differ_in_size_only():
    small, large = (copy.deepcopy(load_config(name).model_dump()) for name in PLUS)
    for one in (small, large):
        one["model"]["encoder"].pop("type")
        one["train"].pop("layer_decay")
        for part in ("search", "template"):
            one["data"][part].pop("size")
            one["test"].pop(f"{part}_size")
    assert small == large
