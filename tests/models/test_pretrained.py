"""Starting the encoder from MAE: finding the file, resampling positions, strict loading."""

import os
from pathlib import Path

import pytest
import torch

from lib.models.encoder import VisionTransformer
from lib.models.positions import resample_positions
from lib.models.pretrained import (
    default_cache_folder,
    fetch_pretrained,
    find_pretrained,
    load_pretrained_encoder,
)
from lib.models.weights import load_weights
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, SeqTrackError

KIT = Path(__file__).parents[1] / "kits" / "parity"


def encoder(search=64, template=32, **options):
    sizes = {"search_size": search, "template_size": template}
    return VisionTransformer(**sizes, patch_size=16, width=24, depth=2, heads=2, **options)


def image_encoder_state(side, head=False, seed=0):
    """What MAE publishes: a class token, a position table with its row, no head."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {key: value.shape for key, value in encoder().state_dict().items()}
    shapes |= {"cls_token": (1, 1, 24), "pos_embed": (1, 1 + side * side, 24)}
    if head:
        shapes |= {"head.weight": (10, 24), "head.bias": (10,)}
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.mark.parametrize("timm", [False, True], ids=["mae", "default"])
def test_load_pretrained(tmp_path, timm):
    state = image_encoder_state(side=14, head=timm)
    path = tmp_path / "a.pth"
    save_checkpoint(path, state if timm else {"model": state})
    model = encoder()
    load_pretrained_encoder(model, path, 4, 2)
    own = model.state_dict()
    for key in own.keys() - {"pos_embed"}:
        assert own[key].equal(state[key]), key
    expected = resample_positions(state["pos_embed"], 4, 2)
    assert own["pos_embed"].equal(expected)


def test_a_type_embedding_is_in_no_file_and_stays(tmp_path):
    save_checkpoint(tmp_path / "a.pth", {"model": image_encoder_state(side=4)})
    model = encoder(type_embedding=True)
    load_pretrained_encoder(model, tmp_path / "a.pth", 4, 2)
    assert not model.type_embed.any() and model.norm.weight.std() > 0.1


def test_image_encoder_as_a_checkpoint(tmp_path):
    """The two kinds of file mixed up: loading says what the file is."""
    save_checkpoint(tmp_path / "mae.pth", {"model": image_encoder_state(side=4)})
    with pytest.raises(CheckpointError, match="pre-trained image encoder"):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "mae.pth")


def test_checkpoint_as_an_image_encoder():
    with pytest.raises(CheckpointError, match="not a plain ViT encoder"):
        load_pretrained_encoder(encoder(), KIT / "checkpoint_small.pth.tar", 4, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"norm.weight": None}, r"1 key missing \(norm\.weight\)", id="missing"),
        pytest.param(
            {"mask_token": (1, 1, 24)}, r"unexpected key \(mask_token\)", id="MAE's decoder"
        ),
        pytest.param(
            {"norm.bias": (25,)}, r"norm\.bias \(25,\) in the file, \(24,\) in", id="width"
        ),
        pytest.param({"pos_embed": None}, "not a plain ViT", id="no positions"),
        pytest.param({"pos_embed": (1, 13, 24)}, "a class row and a square", id="no square"),
    ],
)
def test_pretrained_of_another_encoder(tmp_path, change, words):
    state = image_encoder_state(side=4)
    for key, shape in change.items():
        state.pop(key, None)
        if shape is not None:
            state[key] = torch.zeros(shape)
    save_checkpoint(tmp_path / "a.pth", {"model": state})
    with pytest.raises(CheckpointError, match=words):
        load_pretrained_encoder(encoder(), tmp_path / "a.pth", 4, 2)


@pytest.mark.parametrize("as_folder", [False, True], ids=["file", "folder"])
def test_find_pretrained_explicit(tmp_path, as_folder):
    path = tmp_path / "mae_pretrain_vit_base.pth"
    path.touch()
    explicit = tmp_path if as_folder else path
    assert find_pretrained("mae", "vit_base_patch16", explicit) == path


def test_find_pretrained_in_the_cache(tmp_path, monkeypatch):
    (tmp_path / "mae_pretrain_vit_large.pth").touch()
    monkeypatch.setenv("SEQTRACK_PRETRAINED", str(tmp_path))
    found = find_pretrained("mae", "vit_large_patch16")
    assert found == tmp_path / "mae_pretrain_vit_large.pth"


def test_cache_is_torchs_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("SEQTRACK_PRETRAINED", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("kind", "model", "words"),
    [
        ("mae", "vit_base_patch16", "fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth"),
        ("mae", "vit_huge_patch14", "mae_pretrain_vit_huge.pth"),
        ("default", "vit_base_patch16", "jx_vit_base_p16_384-83fb41ba.pth"),
        ("default", "vit_large_patch16", "default for vit_base_patch16"),
        ("mae", "custom", "PRETRAIN_TYPE to scratch"),
    ],
)
def test_pretrained_missing_says_what_to_fetch(tmp_path, kind, model, words):
    with pytest.raises(CheckpointError) as caught:
        find_pretrained(kind, model, cache_folder=tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_pipe_where_the_file_goes_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "mae_pretrain_vit_base.pth")
    with pytest.raises(SeqTrackError, match="is a named pipe and is never replaced"):
        fetch_pretrained("mae", "vit_base_patch16", tmp_path)
