"""lib/models/timm_encoder.py: plain ViTs of timm train, track, are batched and exported."""

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.config.schema import Config
from lib.models.pretrained import fetch_pretrained, find_pretrained
from lib.models.seqtrack import build_encoder, build_seqtrack
from lib.profile.work import encoder_macs
from lib.tracker.build import build_tracker, choose_threads, load_network
from lib.tracker.engine.build import build_engine
from lib.tracker.spec import TrackerSpec
from lib.train.loop import train_step
from lib.train.optim import build_optimizer, parameter_groups
from lib.train.precision import Precision
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError
from tests.helpers.rehearsal import Pretended, crops_of
from tests.helpers.tiny import draw_sequence
from tests.helpers.training_setup import losses, make_batch, make_objective
from tests.tracker.test_engines import answer, check_same, crops, network_of

EXAMPLE = "seqtrack_dinov2_reg"
CLIP = {
    "MEAN": (0.48145466, 0.4578275, 0.40821073),
    "STD": (0.26862954, 0.26130258, 0.27577711),
}
# One of each way of telling place and of each block.
NAMES = [
    pytest.param("vit_small_patch14_reg4_dinov2", id="registers, LayerScale"),
    pytest.param("vit_small_patch14_dinov2", id="the class token has a position"),
    pytest.param("vit_base_patch16_clip_224", id="norm before the blocks"),
    pytest.param("vit_base_patch16_siglip_224", id="no class token"),
    pytest.param("deit3_small_patch16_224", id="class token without position"),
    pytest.param("eva02_small_patch14_224", id="absolute and rotary, SwiGLU, norm of the mean"),
    pytest.param("vit_base_patch16_rope_224", id="rotary"),
    pytest.param("vit_base_patch16_rope_mixed_224", id="learnt rotary"),
    pytest.param("eva02_large_patch14_clip_224", id="norms within attention and MLP"),
]
# An export takes many seconds.
EXPORTED = (
    "vit_small_patch14_reg4_dinov2",
    "eva02_small_patch14_224",
    "vit_base_patch16_rope_mixed_224",
)


def config(name="vit_small_patch14_reg4_dinov2", train=None, **changes):
    """The example with a small network: search regions of 4 x 4 tokens, templates of 2 x 2."""
    patch = 14 if "patch14" in name else 16
    content = load_config(EXAMPLE).model_dump(by_alias=True)
    content["MODEL"] |= {"HIDDEN_DIM": 32, "BINS": 64, "FEATURE_TYPE": "x"}
    content["MODEL"]["ENCODER"] |= {"TYPE": f"timm/{name}", "PRETRAIN_TYPE": "scratch"}
    content["MODEL"]["ENCODER"] |= {"WIDTH": 48, "DEPTH": 2, "HEADS": 4}
    content["MODEL"]["DECODER"] |= {"NHEADS": 4, "DIM_FEEDFORWARD": 32, "DROPOUT": 0.0}
    content["DATA"]["SEARCH"]["SIZE"] = content["TEST"]["SEARCH_SIZE"] = 4 * patch
    content["DATA"]["TEMPLATE"]["SIZE"] = content["TEST"]["TEMPLATE_SIZE"] = 2 * patch
    content["TRAIN"] |= train or {}
    for section, values in changes.items():
        for key, value in values.items():
            old = content[section][key]
            content[section][key] = {**old, **value} if isinstance(old, dict) else value
    return Config.model_validate(content)


def noisy(module):
    """Every parameter counts, also one that starts as 0."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.25)


@pytest.fixture
def published(tmp_path):
    """Makes a file as timm publishes one: the network's own, and its parameters by name."""

    def make(cfg, classes=0):
        torch.manual_seed(3)
        model = build_encoder(cfg).make(num_classes=classes).eval().requires_grad_(False)
        noisy(model)
        path = tmp_path / "model.pth"
        save_checkpoint(path, dict(model.state_dict()))
        return model, path

    return make


@pytest.mark.parametrize("name", NAMES)
def test_the_search_region_alone_is_what_timm_makes_of_an_image(published, name):
    cfg = config(name)
    model, path = published(cfg, classes=10)
    encoder = build_encoder(cfg).eval().requires_grad_(False)
    encoder.load_pretrained(path)
    if not encoder.absolute:
        encoder.pos_embed.zero_()
    images = torch.randn(2, 3, cfg.data.search.size, cfg.data.search.size)
    nothing = torch.zeros(2, 0, encoder.template_tokens, encoder.width)
    features = model.forward_features(images)[:, model.num_prefix_tokens :]
    if isinstance(model.norm, torch.nn.Identity):
        features = model.fc_norm(features)
    own = encoder(encoder.embed_search(images, None), nothing)
    torch.testing.assert_close(own, features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_equal_templates_are_computed_once_and_targets_go_together(name):
    cfg = config(name)
    network = network_of(cfg)
    fast, slow = (build_engine(one, network, cfg) for one in ("torch", "reference"))
    for pattern in ((0, 0), (0, 1)):
        check_same(answer(fast, cfg, pattern, batch=2), answer(slow, cfg, pattern, batch=2))
    made = [fast.template(c, (0.2, 0.2, 0.5, 0.4)) for c in crops(3, cfg.test.template_size, 3)]
    rows = [[made[i] for i in row] for row in ((0, 1), (2, 2), (1, 0))]
    search = crops(3, cfg.test.search_size, 5)
    together = fast.generate(rows, search)
    for i, row in enumerate(rows):
        alone = fast.generate([row], search[i : i + 1])
        assert torch.equal(alone.tokens[0], together.tokens[i])
        torch.testing.assert_close(alone.boxes[0], together.boxes[i], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("feature_type", ["xz", "token"])
def test_the_decoder_may_read_all_tokens(feature_type):
    cfg = config(MODEL={"FEATURE_TYPE": feature_type, "CENTRE_HINT": feature_type == "xz"})
    network = network_of(cfg)
    fast, slow = (build_engine(one, network, cfg) for one in ("torch", "reference"))
    for pattern in ((0, 0), (0, 1)):
        check_same(answer(fast, cfg, pattern), answer(slow, cfg, pattern))


@pytest.mark.parametrize("name", NAMES)
def test_coarser_numbers_give_nearly_the_same(name):
    cfg = config(name)
    network = network_of(cfg)
    for parameter in network.parameters():
        parameter *= 0.5
    exact, coarse = (
        answer(build_engine("torch", network, cfg, p), cfg, (0, 0)) for p in ("fp32", "bf16")
    )
    gap = (exact.distributions - coarse.distributions).abs().max()
    assert 0 < gap < 0.1
    assert {p.dtype for p in network.parameters()} == {torch.float32}, "the network is changed"


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch14_reg4_dinov2",
        "eva02_large_patch14_clip_224",
        pytest.param("vit_base_patch16_rope_mixed_224", marks=pytest.mark.slow),
    ],
)
def test_a_gpu_would_run_it(name):
    cfg = config(name)
    engine = Pretended(cfg, "fp16")
    boxes = [(0.25, 0.25, 0.5, 0.5)] * 4
    a, b, c, d = engine.templates(crops_of(4, cfg.test.template_size), boxes)
    for rows in ([[a, a]], [[a, b], [c, d], [c, c]]):
        found = engine.generate(rows, crops_of(len(rows), cfg.test.search_size))
        assert found.boxes.shape == (len(rows), 4)


def test_twenty_steps_of_training():
    cfg = config(train={"LR": 3e-3, "ENCODER_MULTIPLIER": 1.0, "LAYER_DECAY": 0.8})
    objective, batch = make_objective(cfg).train(), make_batch(cfg)
    before = {name: p.clone() for name, p in objective.network.named_parameters()}
    first = losses(objective, batch)["total"].item()
    optimizer, precision = build_optimizer(objective, cfg), Precision("fp32", torch.device("cpu"))
    for _ in range(20):
        train_step(objective, optimizer, precision, [batch], 0.0, clip_norm=1.0)
    assert losses(objective, batch)["total"].item() < 0.9 * first
    after = dict(objective.network.named_parameters())
    assert not [name for name in after if torch.equal(after[name], before[name])]


def test_every_layer_has_its_rate_and_freezing_begins_at_the_images():
    cfg = config(train={"LAYER_DECAY": 0.5, "NO_DECAY": True, "FREEZE_BLOCKS": 1})
    objective = make_objective(cfg)
    starts = {".".join(name.split(".")[2:4]) for name in objective.frozen}
    assert starts == {"patch_embed.proj", "pos_embed", "prefix", "blocks.0"}
    objective.requires_grad_(True)
    rates = {}
    for group in parameter_groups(objective, cfg, 2):
        for parameter in group["params"]:
            rates[id(parameter)] = (group["lr"] / 1e-5, group["weight_decay"])
    body = objective.network.encoder.body
    expected = {
        body.norm.weight: (1, 0),
        body.blocks[1].attn.qkv.weight: (1 / 2, 1e-4),
        body.blocks[0].ls1.gamma: (1 / 4, 0),
        body.patch_embed.proj.weight: (1 / 8, 1e-4),
        body.prefix: (1 / 8, 0),
        body.pos_embed: (1 / 8, 0),
    }
    assert [rates[id(x)] for x in expected] == [pytest.approx(x) for x in expected.values()]


@pytest.mark.parametrize("name", ["eva02_small_patch14_224", "vit_base_patch16_rope_mixed_224"])
def test_recomputing_changes_no_gradient(name):
    gradients = []
    for again in (False, True):
        cfg = config(name, MODEL={"ENCODER": {"USE_CHECKPOINT": again}})
        objective = make_objective(cfg).train()
        losses(objective, make_batch(cfg))["total"].backward()
        gradients.append([p.grad for p in objective.network.encoder.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "eva02_small_patch14_224"])
def test_a_checkpoint_brings_all_weights(tmp_path, name):
    """A network that is built on the meta device has its buffers and tables as well."""
    cfg = config(name)
    network = network_of(cfg)
    path = tmp_path / "SEQTRACK.pth.tar"
    save_checkpoint(path, {"net": dict(network.state_dict())})
    loaded = load_network(cfg, path)
    own, other = (build_engine("torch", one, cfg) for one in (network, loaded))
    check_same(answer(own, cfg, (0, 1)), answer(other, cfg, (0, 1)))


def test_it_tracks():
    cfg = config()
    frames, boxes = draw_sequence(5)
    found = {}
    for name in ("torch", "reference"):
        spec = TrackerSpec("seqtrack", "x", cfg, engine=name)
        assert spec.settings["MODEL.ENCODER"].startswith("timm/vit_small_patch14_reg4_dinov2, ")
        tracker = build_tracker(spec)
        tracker.initialize(frames[0], {"init_bbox": boxes[0]})
        found[name] = [tracker.track(frame) for frame in frames[1:]]
    one, other = ([out["best_tokens"] for out in outs] for outs in found.values())
    assert one == other and np.isfinite([out["target_bbox"] for out in found["torch"]]).all()
    assert choose_threads(cfg) is None or choose_threads(cfg) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_the_exported_network_says_the_same(name, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path))
    cfg = config(name)
    network = network_of(cfg)
    exported, plain = (build_engine(one, network, cfg) for one in ("onnx", "torch"))
    for pattern in ((0, 0), (0, 1)):
        check_same(answer(exported, cfg, pattern, batch=2), answer(plain, cfg, pattern, batch=2))


def test_multiplications_are_those_of_the_same_blocks():
    """Tokens times weights, counted by hand: 5 prefix, 16 search and 2 x 4 template tokens."""
    network = build_seqtrack(config()).eval().requires_grad_(False)
    counted = encoder_macs(network, 2, pruned=True)
    assert counted.linear_conv == 2 * (5 + 16 + 8) * 12 * 48**2
    assert counted.attention == 2 * 2 * (5 + 16 + 8) ** 2 * 48


def test_positions_are_resampled_for_both_crops(published):
    cfg = config("vit_small_patch14_dinov2")
    model, path = published(cfg)
    encoder = build_encoder(cfg)
    before = encoder.pos_embed.clone()
    encoder.load_pretrained(path)
    torch.testing.assert_close(encoder.prefix, model.cls_token + model.pos_embed[:, :1])
    assert encoder.pos_embed.shape == (1, 16 + 4, 48) and not encoder.pos_embed.equal(before)
    # A table's mean outlives any resampling that keeps constants.
    model.pos_embed.copy_(torch.ones_like(model.pos_embed))
    save_checkpoint(path, dict(model.state_dict()))
    encoder.load_pretrained(path)
    torch.testing.assert_close(encoder.pos_embed, torch.ones(1, 20, 48))


def test_search_region_and_template_are_told_apart_where_positions_only_rotate():
    encoder = build_encoder(config("vit_base_patch16_rope_224"))
    search, template = encoder.pos_embed[0, 0], encoder.pos_embed[0, -1]
    assert encoder.pos_embed.shape == (1, 20, 48) and not search.equal(template)
    assert (encoder.pos_embed[0, :16] == search).all()


def test_a_file_of_another_network_is_refused(published, tmp_path):
    _, path = published(config(MODEL={"ENCODER": {"DEPTH": 1}}))
    with pytest.raises(CheckpointError, match=r"does not fit .* keys missing \(blocks\.1\."):
        build_encoder(config()).load_pretrained(path)


def test_where_weights_come_from(tmp_path, monkeypatch):
    name = "timm/vit_small_patch14_reg4_dinov2"
    address = "timm/vit_small_patch14_reg4_dinov2.lvd142m/resolve/main/model.safetensors"
    with pytest.raises(CheckpointError, match=rf"fetch \S+/{address} to .*dinov2\.safetensors"):
        find_pretrained("default", name, cache_folder=tmp_path)
    fetched = []

    def fetch(url, path, quiet):
        fetched.append(url)
        path.write_bytes(b"weights")

    monkeypatch.setattr("lib.models.pretrained.fetch", fetch)
    path = fetch_pretrained("default", name, cache_folder=tmp_path)
    assert path == tmp_path / "vit_small_patch14_reg4_dinov2.safetensors" and path.is_file()
    assert fetched[0].endswith(address) and fetch_pretrained("default", name, tmp_path) == path
    assert find_pretrained("default", name, cache_folder=tmp_path) == path
    with pytest.raises(CheckpointError, match="no pre-trained weights"):
        find_pretrained("default", "timm/vit_small_patch14_nothing", cache_folder=tmp_path)


def test_mean_and_deviation_are_those_of_the_weights():
    start = {"ENCODER": {"PRETRAIN_TYPE": "default"}}
    name = "vit_base_patch16_clip_224"
    with pytest.raises(ConfigError, match=r"DATA\.MEAN is \[0\.485.*write DATA\.MEAN: \[0\.4814"):
        build_encoder(config(name, MODEL=start))
    build_encoder(config(name, MODEL=start, DATA=CLIP))
    build_encoder(config(name))  # no weights, no values


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_smal_patch14_dinov2", "no such model; did you mean 'vit_small_patch14_dinov2'"),
        ("swin_tiny_patch4_window7_224", "only plain vision transformers can"),
        ("beit_base_patch16_224", "only plain vision transformers can"),
    ],
)
def test_other_names_are_refused(name, words):
    with pytest.raises(ConfigError, match=words):
        build_encoder(config(name))


def test_the_example_is_a_whole_network_of_its_size():
    cfg = load_config(EXAMPLE, training=True)
    with torch.device("meta"):
        network = build_seqtrack(cfg)
    body = network.encoder.body
    assert (body.width, len(body.blocks), body.search_tokens) == (384, 12, 18**2)
    assert (body.template_tokens, body.prefix.shape[1]) == (9**2, 5)
