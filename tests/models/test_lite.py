"""lib/models/lite.py: the stem is EfficientNet-Lite0; a file of something else is refused."""

import numpy as np
import pytest
import timm
import torch

from lib.models.lite import LiteStem, load_lite
from lib.models.packed import prepare
from lib.models.seqtrack import build_seqtrack
from lib.tracker.engine.build import build_engine
from lib.utils.errors import CheckpointError
from tests.helpers.tiny import tiny_config

EDGE = 8  # cells of stride 8 next to the border, where timm pads elsewhere


def published():
    """timm's network with numbers that no layer leaves as they are."""
    torch.manual_seed(3)
    network = timm.create_model("tf_efficientnet_lite0").eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(std=0.2)
    return network


def lukemelas_names(state):
    """The names of the package that has the weights: blocks numbered through."""
    names, number = {}, -1
    last = None
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "blocks":
            if (parts[1], parts[2]) != last:
                last, number = (parts[1], parts[2]), number + 1
            separable = parts[1] == "0"
            inner = {
                "conv_pw": "_project_conv" if separable else "_expand_conv",
                "conv_dw": "_depthwise_conv",
                "conv_pwl": "_project_conv",
                "bn1": "_bn1" if separable else "_bn0",
                "bn2": "_bn2" if separable else "_bn1",
                "bn3": "_bn2",
            }
            names[f"_blocks.{number}.{inner[parts[3]]}.{parts[4]}"] = value
        elif parts[0] in ("conv_stem", "bn1"):
            names[{"conv_stem": "_conv_stem", "bn1": "_bn0"}[parts[0]] + f".{parts[1]}"] = value
    return names


@pytest.mark.parametrize("renamed", [False, True], ids=["timm", "package"])
def test_features_are_those_of_the_published_network(tmp_path, renamed):
    network, stem = published(), LiteStem(32).eval()
    state = network.state_dict()
    torch.save(lukemelas_names(state) if renamed else state, tmp_path / "lite.pth")
    load_lite(stem, tmp_path / "lite.pth")
    pixels = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    mean = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
    std = torch.tensor((0.229, 0.224, 0.225))[:, None, None]
    with torch.no_grad():
        near = stem.early(stem.first((pixels - mean) / std))
        # timm pads after the image at every reduction: it looks 1 + 2 + 4 pixels further.
        shifted = torch.roll(pixels, (7, 7), (2, 3))
        expected = network.blocks[:3](network.bn1(network.conv_stem((shifted - 0.5) / 0.5)))
    inner = np.s_[:, :, EDGE:-EDGE, EDGE:-EDGE]
    torch.testing.assert_close(near[inner], expected[inner], rtol=1e-3, atol=1e-3)
    assert near[inner].std() > 0.1


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="is no EfficientNet-Lite0"):
        load_lite(LiteStem(32), tmp_path / "other.pth")


def test_engines_agree():
    on = {"TEMPLATE_BOX": True, "CORRELATION": True, "CENTRE_HINT": True}
    cfg = tiny_config(MODEL={**on, "ENCODER": {"STEM": "lite"}})
    torch.manual_seed(4)
    network = build_seqtrack(cfg).eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    sides = (cfg.test.template_size, cfg.test.search_size)
    template, search = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in sides)
    said = []
    for name in ("reference", "torch"):
        engine = build_engine(name, network, cfg)
        kept = engine.template(template, (0.25, 0.25, 0.5, 0.5))
        said.append(engine.generate([[kept] * cfg.test.num_templates], [search]))
    assert torch.equal(said[0].tokens, said[1].tokens)
    torch.testing.assert_close(said[0].boxes, said[1].boxes, rtol=1e-4, atol=1e-6)


def test_a_batch_in_parts_gives_the_same(monkeypatch):
    """What tracks on a CPU sends a large batch through the stem by and by."""
    cfg = tiny_config(MODEL={"ENCODER": {"STEM": "lite"}})
    torch.manual_seed(5)
    stem = prepare(build_seqtrack(cfg).eval(), cfg).encoder.body.patch_embed
    assert stem.at_once is not None
    images = torch.randn(2 * stem.at_once + 3, 3, 64, 64)
    passed = []
    monkeypatch.setattr(stem.first, "forward", counted(stem.first.forward, passed))
    with torch.inference_mode():
        parts = stem.features(images)
        monkeypatch.setattr(stem, "at_once", None)
        whole = stem.features(images)
    most = len(images) // 2
    assert max(passed[:-1]) < most and sum(passed[:-1]) == passed[-1] == len(images)
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def counted(forward, sizes):
    def noting(images):
        sizes.append(len(images))
        return forward(images)

    return noting
