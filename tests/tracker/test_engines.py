"""lib/tracker/engine/api*.py: every engine says what the published method says."""

import dataclasses

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.config.paths import repository_root
from lib.models.blocks import Block
from lib.models.packed import PackedLinear, _packed
from lib.models.pixels import normalise
from lib.models.seqtrack import build_seqtrack, build_tokenizer
from lib.tracker.agreement import Agreement, box_distance
from lib.tracker.build import build_tracker, load_network
from lib.tracker.engine.api import EngineOutput, Template, UniqueTemplates
from lib.tracker.engine.build import build_engine
from lib.tracker.engine.graph import Recorded
from lib.tracker.engine.names import ENGINE_NAMES, PRECISIONS, check_engine
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError
from tests.helpers.tiny import draw_sequence, tiny_config

SHIPPED = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"
# An export takes many seconds.
SLOW_ONNX = pytest.param("onnx", marks=pytest.mark.slow)
ALL_EXTRAS = {
    "TEMPLATE_BOX": True,
    "CORRELATION": True,
    "CENTRE_HINT": True,
    "ENCODER": {"STEM": "conv"},
}


def network_of(cfg):
    """A network whose answers depend on everything that it is given."""
    torch.manual_seed(4)
    network = build_seqtrack(cfg).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2.0)
    return network


def crops(count, side, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def answer(engine, cfg, pattern, batch=1):
    """What the engine says when each target's templates are these of its own three."""
    engine.keep_distributions = True
    count = len(pattern)
    assert count == cfg.test.num_templates
    pictures = crops(3 * batch, cfg.test.template_size, 1).reshape(
        batch, 3, cfg.test.template_size, cfg.test.template_size, 3
    )
    rows = []
    for own in pictures:
        made = [engine.template(p, (0.2, 0.3, 0.3 + 0.1 * i, 0.4)) for i, p in enumerate(own)]
        rows.append([made[i] for i in pattern])
    return engine.generate(rows, crops(batch, cfg.test.search_size, 2))


def as_tensors(said):
    """The output of an engine, which may be arrays, as tensors."""
    parts = (None if part is None else torch.as_tensor(part) for part in vars(said).values())
    return EngineOutput(*parts)


def check_same(one, other):
    one, other = as_tensors(one), as_tensors(other)
    assert torch.equal(one.tokens, other.tokens)
    close = {"rtol": 1e-4, "atol": 1e-7}
    torch.testing.assert_close(one.distributions.double(), other.distributions.double(), **close)
    torch.testing.assert_close(one.confidence, other.confidence, **close)
    torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-4, atol=1e-6)
    assert (one.tokens.dtype, one.confidence.dtype) == (torch.int64, torch.float64)
    assert one.boxes.dtype == torch.float32


def check_together(name):
    """Some with equal templates and some with others, in one call, in their own order."""
    cfg = tiny_config(MODEL=ALL_EXTRAS, TEST={"NUM_TEMPLATES": 3}, DATA={"TEMPLATE": {"NUMBER": 3}})
    engine = build_engine(name, network_of(cfg), cfg)
    made = [engine.template(c, (0.2, 0.2, 0.5, 0.4)) for c in crops(4, 32, 3)]
    rows = [[made[i] for i in row] for row in ((0, 1, 2), (3, 3, 3), (1, 1, 2), (2, 2, 2))]
    search = crops(4, 64, 5)
    together = engine.generate(rows, search)
    for i, row in enumerate(rows):
        alone = engine.generate([row], search[i : i + 1])
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])
        torch.testing.assert_close(alone.boxes[0], together.boxes[i], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param((0,), id="one"),
        pytest.param((0, 0), id="twice the same"),
        pytest.param((0, 1), id="two"),
        pytest.param((0, 0, 0), id="three times the same"),
        pytest.param((0, 0, 1), id="two of three the same"),
        pytest.param((0, 1, 0), id="the first and the last the same"),
        pytest.param((0, 1, 2), id="three"),
    ],
)
@pytest.mark.parametrize("feature_type", ["x", "xz", "token"])
def test_equal_templates_are_computed_once_and_count_as_often(feature_type, pattern):
    count = len(pattern)
    cfg = tiny_config(
        MODEL={"FEATURE_TYPE": feature_type},
        DATA={"TEMPLATE": {"NUMBER": count}},
        TEST={"NUM_TEMPLATES": count},
    )
    network = network_of(cfg)
    fast, slow = (build_engine(name, network, cfg) for name in ("torch", "reference"))
    check_same(answer(fast, cfg, pattern), answer(slow, cfg, pattern))


@pytest.mark.parametrize("pattern", [(0, 0), (0, 1)])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"MODEL": ALL_EXTRAS}, id="all departures"),
        pytest.param({"MODEL": {"CORRELATION": True, "ENCODER": {"STEM": "conv"}}}, id="no box"),
        pytest.param({"MODEL": {"TEMPLATE_BOX": True}}, id="box"),
        pytest.param({"MODEL": {"DECODER": {"PRE_NORM": True}}}, id="pre-norm"),
        pytest.param({"MODEL": {"HIDDEN_DIM": 48}}, id="no bottleneck"),
        pytest.param({"TEST": {"DECODING": "expectation"}}, id="expectation"),
        pytest.param({"TEST": {"WINDOW": False}}, id="no window"),
        pytest.param({"DATA": {"SEQ_FORMAT": "corner"}}, id="corner"),
    ],
)
def test_every_variant_says_what_the_reference_says(changes, pattern):
    cfg = tiny_config(**changes)
    network = network_of(cfg)
    fast, slow = (build_engine(name, network, cfg) for name in ("torch", "reference"))
    check_same(answer(fast, cfg, pattern), answer(slow, cfg, pattern))


def test_the_network_itself_says_the_same():
    """Training's path and tracking's are two; this one is checked by the training's tests."""
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg)
    engine = build_engine("torch", network, cfg)
    said = answer(engine, cfg, (0, 1))
    templates = [engine.template(c, (0, 0, 1, 1)) for c in crops(3, 32, 1)[:2]]
    # The boxes are those of `answer`.
    boxes = torch.tensor([[[0.2, 0.3, 0.3, 0.4], [0.2, 0.3, 0.4, 0.4]]])
    images = torch.stack([torch.from_numpy(t.crop) for t in templates])[None]
    search = torch.from_numpy(crops(1, 64, 2))
    tokenizer = build_tokenizer(cfg)
    with torch.inference_mode():
        own = network.generate(
            normalise(images), normalise(search), tokenizer, tokenizer.window(), boxes
        )  # fmt: skip
    assert torch.equal(own.tokens, said.tokens)
    torch.testing.assert_close(own.distributions, said.distributions, rtol=1e-4, atol=1e-7)


@pytest.fixture
def may_export(tmp_path, monkeypatch):
    """Exported networks go to a folder of the test."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path / "onnx"))


@pytest.mark.parametrize("name", ["torch", SLOW_ONNX, "reference"])
def test_pixels_are_normalised_as_the_configuration_says(may_export, name):
    """A network trained with another mean and deviation is tracked with these."""
    given = {"MEAN": (0.5, 0.4, 0.3), "STD": (0.5, 0.25, 0.125)}
    cfg = tiny_config(DATA=given)
    network = network_of(cfg)
    seen = answer(build_engine(name, network, cfg), cfg, (0, 1))
    usual = answer(build_engine(name, network, tiny_config()), cfg, (0, 1))
    assert not np.array_equal(seen.confidence, usual.confidence)
    images = (torch.from_numpy(crops(3, 32, 1)[:2]), torch.from_numpy(crops(1, 64, 2)))
    templates, search = (
        ((one.float() / 255 - torch.tensor(given["MEAN"])) / torch.tensor(given["STD"]))
        .movedim(-1, -3) for one in images
    )  # fmt: skip
    tokenizer = build_tokenizer(cfg)
    with torch.inference_mode():
        own = network.generate(templates[None], search, tokenizer, tokenizer.window())
    assert np.array_equal(own.tokens, seen.tokens)
    np.testing.assert_allclose(own.confidence, seen.confidence, rtol=1e-4, atol=1e-7)


def test_many_templates_are_taken_in_at_once():
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    engine = build_engine("torch", network_of(cfg), cfg)
    pictures, boxes = crops(3, 32, 1), [(0.1 * i, 0.2, 0.3, 0.4) for i in range(3)]
    for i, made in enumerate(engine.templates(pictures, boxes)):
        alone = engine.template(pictures[i], boxes[i])
        assert made.looks_like(alone)
        for own, other in zip(made.cached, alone.cached, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
            assert own.untyped_storage().nbytes() == own.numel() * own.element_size(), (
                "one that is kept keeps the others"
            )


@pytest.mark.parametrize("name", ["torch", SLOW_ONNX])
@pytest.mark.parametrize(
    "block",
    [
        pytest.param({"layer_scale": 0.1, "qk_norm": True}, id="LayerScale, norms"),
        pytest.param({"drop_path": 0.1}, id="nothing while tracking"),
        pytest.param({"act": torch.nn.SiLU()}, id="activation"),
        pytest.param({"act": torch.nn.GELU(approximate="tanh")}, id="another GELU"),
    ],
)
def test_other_blocks_track_as_they_are_trained(may_export, name, block):
    cfg = tiny_config()
    network = network_of(cfg)
    body, act = network.encoder.body, block.pop("act", torch.nn.GELU())
    body.blocks[1] = Block(body.width, 4, **block).eval().requires_grad_(False)
    body.blocks[1].mlp.act = act
    for parameter in body.blocks[1].parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    check_same(*(answer(build_engine(one, network, cfg), cfg, (0, 1))
                 for one in (name, "reference")))  # fmt: skip


def test_half_precision_casts_all_of_a_block():
    cfg = tiny_config()
    network = network_of(cfg)
    body = network.encoder.body
    body.blocks[1] = Block(body.width, 4, layer_scale=0.1, qk_norm=True).eval()
    engine = build_engine("torch", network.requires_grad_(False), cfg, "bf16")
    assert torch.isfinite(answer(engine, cfg, (0, 0)).confidence).all()
    kept = {parameter.dtype for parameter in network.parameters()}
    assert kept == {torch.float32}, "the network it is built from stays as it is"


@pytest.mark.parametrize("name", ["torch", SLOW_ONNX])
@pytest.mark.parametrize(
    ("place", "layer"),
    [
        pytest.param(2, torch.nn.SiLU(), id="activation"),
        pytest.param(0, torch.nn.Conv2d(24, 48, 3, 2, padding=1, groups=2), id="groups"),
    ],
)
def test_other_layers_of_a_stem_track_as_they_are_trained(may_export, name, place, layer):
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg)
    network.encoder.body.patch_embed.layers[1][place] = layer.requires_grad_(False)
    check_same(*(answer(build_engine(one, network, cfg), cfg, (0, 1))
                 for one in (name, "reference")))  # fmt: skip


def test_targets_of_all_kinds_go_together():
    check_together("torch")


def test_nothing_of_a_target_stays_in_the_engine():
    cfg = tiny_config()
    engine = build_engine("torch", network_of(cfg), cfg)
    a, b, c = (engine.template(x, (0, 0, 1, 1)) for x in crops(3, 32, 3))
    search = crops(1, 64, 5)
    fresh = engine.generate([[a, b]], search)
    for row in ([a, a], [b, a], [c, b], [a, c]):
        other = engine.generate([row], search)
        assert not torch.equal(other.confidence, fresh.confidence)
    assert torch.equal(engine.generate([[a, b]], search).confidence, fresh.confidence)


def test_coarser_numbers_give_nearly_the_same():
    """bf16 in the blocks: the distributions move, and not far."""
    cfg = tiny_config()
    network = network_of(cfg)
    exact, coarse = (answer(build_engine("torch", network, cfg, p), cfg, (0, 1))
                     for p in ("fp32", "bf16"))  # fmt: skip
    gap = (exact.distributions - coarse.distributions).abs().max()
    assert 0 < gap < 0.05


@pytest.mark.parametrize("gelu", [False, True])
def test_packed_weights_multiply_as_the_others(gelu):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(256, 512), torch.randn(2, 70, 256)
    large = PackedLinear(layer, rows=140, dtype=torch.float32)
    large.gelu = gelu
    expected = layer(x).detach()
    expected = torch.nn.functional.gelu(expected) if gelu else expected
    with torch.inference_mode():
        torch.testing.assert_close(large(x), expected, rtol=1e-4, atol=1e-4)
        # Any number of rows may come.
        torch.testing.assert_close(large(x[:1, :3]), expected[:1, :3], rtol=1e-4, atol=1e-4)


def test_small_products_are_left_as_they_are():
    assert _packed(torch.randn(64, 64), rows=80) is None


def test_distinct_templates_are_found_by_identity():
    a, b = (Template(np.zeros((2, 2, 3), np.uint8), (0.0, 0.0, 1.0, 1.0)) for _ in range(2))
    found = UniqueTemplates.of([a, b, a])
    assert (found.templates, found.index, found.counts) == ((a, b), (0, 1, 0), (2, 1))
    assert a.looks_like(b)
    assert not a.looks_like(dataclasses.replace(b, box=(0.0, 0.0, 1.0, 0.5)))
    assert not a.looks_like(dataclasses.replace(b, crop=np.ones((2, 2, 3), np.uint8)))


@pytest.mark.parametrize(
    ("name", "precision", "words"),
    [
        ("torhc", "fp32", "did you mean 'torch'.*torch, onnx, reference"),
        ("reference", "int8", "engine reference cannot compute in 'int8'.*fp32"),
    ],
)
def test_unknown_engines_are_refused(name, precision, words):
    with pytest.raises(ConfigError, match=words):
        check_engine(name, precision)


def test_every_engine_has_its_precisions():
    assert set(ENGINE_NAMES) == set(PRECISIONS)
    assert all(known[0] == "fp32" for known in PRECISIONS.values())


def test_trackers_run_on_the_engine_of_their_spec():
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    frames, boxes = draw_sequence(4)
    found = {}
    for name in ("torch", "reference"):
        tracker = build_tracker(TrackerSpec("seqtrack", "x", cfg, engine=name))
        assert tracker.engine.name == name
        tracker.initialize(frames[0], {"init_bbox": boxes[0]})
        found[name] = [tracker.track(frame)["best_tokens"] for frame in frames[1:]]
    assert found["torch"] == found["reference"]


def test_results_in_other_precisions_are_other_results():
    plain = TrackerSpec("seqtrack", "x", tiny_config())
    assert dataclasses.replace(plain, engine="reference").settings == plain.settings
    assert dataclasses.replace(plain, precision="bf16").settings != plain.settings


def squares(count, side, seed):
    """Crops `(side, side, 3)` of one bright square each, somewhere about the middle."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 90, (count, side, side, 3), dtype=np.uint8)
    for crop in found:
        w, h = rng.integers(side // 6, side // 3, 2)
        x, y = rng.integers(side // 4, side // 2, 2)
        crop[y : y + h, x : x + w] = rng.integers(120, 256, 3)
    return found


def say_on(device, cfg, precision, count):
    """What the usual engine says of `count` targets on a device, with the weights in the
    repository: all with equal templates, all with different ones, and some of each."""
    network = load_network(cfg, SHIPPED, device)
    engine = build_engine("torch", network, cfg, precision)
    engine.keep_distributions = True
    pictures = squares(2 * count, cfg.test.template_size, 1)
    made = engine.templates(pictures, [(0.25, 0.25, 0.5, 0.4)] * len(pictures))
    equal = [made[i : i + 1] * 2 for i in range(count)]
    different = [made[2 * i : 2 * i + 2] for i in range(count)]
    mixed = [(equal, different)[i % 2][i] for i in range(count)]
    search = squares(count, cfg.test.search_size, 2)
    # The last one once more: recorded by then.
    return [engine.generate(row, search) for row in (equal, different, mixed, mixed)]


def check_device(device, precision, count):
    cfg = load_config("seqtrack_tiny", ["TEST.NUM_TEMPLATES=2"])
    expected = say_on("cpu", cfg, "fp32", count)
    agreement = Agreement()
    for own, other in zip(expected, say_on(device, cfg, precision, count), strict=True):
        agreement.add(device, own, other)
        first, its = (said.distributions[:, 0].double() for said in (own, other))
        # Words are read on from words: after another one the rest answers another question.
        same = (own.tokens == other.tokens).all(dim=1)
        apart = box_distance(own.boxes[same], other.boxes[same], 1)
        if precision == "fp32":
            assert not agreement.wrong
            torch.testing.assert_close(first, its, rtol=1e-2, atol=1e-5)
            assert (apart < 1e-4).all()
        else:
            assert 0 < (first - its).abs().max() < 0.02
            assert same.double().mean() >= 0.5 and (apart < 5e-3).all()


def test_the_cpu_in_bf16_is_close_to_itself():
    """The yardstick of the test below, which needs a GPU, is one that can be met."""
    check_device("cpu", "bf16", 33)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 2, 3, 5, 33, 128])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_says_what_the_cpu_says(monkeypatch, precision, count):
    # As `build_tracker` does.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    check_device("cuda", precision, count)


@pytest.mark.gpu
def test_a_recorded_step_says_the_same():
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg).to("cuda")
    fast, slow = (build_engine(name, network, cfg) for name in ("torch", "reference"))
    assert isinstance(fast.step, Recorded)
    for pattern in ((0, 0), (0, 1), (0, 0)):
        check_same(answer(fast, cfg, pattern, batch=2), answer(slow, cfg, pattern, batch=2))
