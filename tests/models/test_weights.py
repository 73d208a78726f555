"""Finding a checkpoint, recognising the network in it, and loading it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lib.config.loader import load_config
from lib.config.schema import PUBLISHED_CONFIGS
from lib.masks.alpha_refine.weights import load_alpha_refine
from lib.models.pretrained import load_pretrained_encoder
from lib.models.seqtrack import build_seqtrack
from lib.models.signature import NetworkSignature, recognise
from lib.models.weights import find_checkpoint, load_weights
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError

KIT = Path(__file__).parents[1] / "kits" / "parity"


def kit_state(size, **changed):
    """A state dict of the recorded shapes whose tensors take no room, not even in a file."""
    recorded = json.loads((KIT / f"state_dict_{size}.json").read_text())["state_dict"]
    shapes = {key: shape for key, shape, _ in recorded} | changed
    return {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}


def meta_model(config_name, *overrides):
    with torch.device("meta"):
        return build_seqtrack(load_config(config_name, overrides))


def write(path, state, **fields):
    save_checkpoint(path, {"net": state, **fields})
    return path


def mismatch(model, path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


# --- finding ------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / "save" / "seqtrack_b256", tmp_path / "repository" / "seqtrack_b256"]
    for folder in made:
        folder.mkdir(parents=True)
    return made


def test_explicit_file_wins(folders, tmp_path):
    (folders[0] / "SEQTRACK.pth.tar").touch()
    (tmp_path / "mine.pth").touch()
    assert find_checkpoint("seqtrack_b256", folders, tmp_path / "mine.pth").name == "mine.pth"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(
            ["SEQTRACK.pth.tar", "SEQTRACK_ep0500.pth.tar"], [], (0, "SEQTRACK.pth.tar"), id="final"
        ),
        pytest.param(
            ["SEQTRACK.safetensors", "SEQTRACK_ep0500.pth.tar"],
            [],
            (0, "SEQTRACK.safetensors"),
            id="safetensors before epochs",
        ),
        pytest.param(
            ["SEQTRACK_ep0490.pth.tar", "SEQTRACK_ep0500.pth.tar", "SEQTRACK_ep0009.pth.tar"],
            [],
            (0, "SEQTRACK_ep0500.pth.tar"),
            id="newest epoch",
        ),
        pytest.param(
            ["SEQTRACK_ep9999.pth.tar", "SEQTRACK_ep10000.pth.tar"],
            [],
            (0, "SEQTRACK_ep10000.pth.tar"),
            id="by number, not by letters",
        ),
        pytest.param(
            ["SEQTRACK_ep0001.pth.tar"],
            ["SEQTRACK.pth.tar"],
            (0, "SEQTRACK_ep0001.pth.tar"),
            id="folder by folder",
        ),
        pytest.param(
            ["SEQTRACK_ep0001.tmp", "SEQTRACK_epXX.pth.tar"],
            ["SEQTRACK_ep0002.pth.tar"],
            (1, "SEQTRACK_ep0002.pth.tar"),
            id="half-written and odd names do not count",
        ),
    ],
)
def test_order(folders, first, second, expected):
    for folder, names in zip(folders, (first, second), strict=True):
        for name in names:
            (folder / name).touch()
    assert find_checkpoint("seqtrack_b256", folders) == folders[expected[0]] / expected[1]


def test_nothing_found_lists_every_path_and_the_way_out(folders):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("seqtrack_b256", [*folders, folders[0] / "missing"])
    message = str(caught.value)
    for folder in (*folders, folders[0] / "missing"):
        for name in ("SEQTRACK.pth.tar", "SEQTRACK.safetensors", "SEQTRACK_ep*.pth.tar"):
            assert str(folder / name) in message
    assert "python scripts/download_checkpoints.py seqtrack_b256" in message
    assert "--checkpoint FILE" in message and "\n" not in message


def test_no_download_is_offered_for_own_configs(folders):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("mine", folders)
    assert "scripts/" not in str(caught.value) and "train mine" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("SEQTRAK.pth.tar", "did you mean 'SEQTRACK.pth.tar'?", id="typo"),
        pytest.param("zzz", "no such file", id="nothing like it"),
        pytest.param("nowhere/a.pth", "its folder", id="folder missing"),
        pytest.param(".", "is a folder; name a file in it: SEQTRACK.pth.tar", id="folder"),
    ],
)
def test_explicit_file_missing(folders, name, words):
    (folders[0] / "SEQTRACK.pth.tar").touch()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("seqtrack_b256", folders, folders[0] / name)
    assert words in str(caught.value)


# --- recognising and loading --------------------------------------------------------------


@pytest.mark.parametrize("size", ["b256", "b384", "l256", "l384"])
def test_recognise(size):
    assert recognise(kit_state(size)) == f"seqtrack_{size}"


def test_recognise_small_and_foreign():
    assert recognise(kit_state("small")) is None
    assert recognise({"a": torch.ones(1)}) is None
    assert (
        "bins, 2 decoder layers of width 32" in NetworkSignature.of(kit_state("small")).describe()
    )


@pytest.mark.parametrize("config_name", PUBLISHED_CONFIGS)
def test_load_published(tmp_path, config_name):
    """Every published network takes a file of its recorded keys and shapes, and says so."""
    size = config_name.split("_")[1]
    path = write(tmp_path / "a.pth.tar", kit_state(size), epoch=500, net_type="SEQTRACK")
    model = meta_model(config_name)
    info = load_weights(model, path)
    assert (info.epoch, info.net_type, info.path) == (500, "SEQTRACK", path)
    assert not any(value.is_meta for value in model.state_dict().values())


@pytest.mark.parametrize("size", ["b384", "l256", "l384"])
def test_file_of_another_config(tmp_path, size):
    path = write(tmp_path / "a.pth.tar", kit_state(size))
    message = mismatch(meta_model("seqtrack_b256"), path)
    assert f"looks like seqtrack_{size} (or seqtrack_{size}_got: the same network)" in message


def test_values_arrive(tmp_path):
    model = torch.nn.Linear(2, 3)
    state = {"weight": torch.randn(3, 2), "bias": torch.randn(3)}
    path = tmp_path / "a.safetensors"
    save_file(state, path, {"epoch": "4"})
    assert load_weights(model, path).epoch == 4
    assert model.weight.equal(state["weight"]) and model.weight.requires_grad


def test_keys_and_shapes_are_named(tmp_path):
    state = {"weight": torch.ones(5, 2), **{f"x{i}": torch.ones(1) for i in range(5)}}
    path = write(tmp_path / "a.pth", state)
    message = mismatch(torch.nn.Linear(2, 3), path)
    assert "1 key missing (bias)" in message
    assert "5 unexpected keys (x0, x1, x2, …)" in message
    assert "weight (5, 2) in the file, (3, 2) in the model" in message
    assert "does not look like a SeqTrack network" in message


def test_not_strict_tolerates_keys_but_not_shapes(tmp_path):
    model = torch.nn.Linear(2, 3)
    before = model.bias.clone()
    load_weights(model, write(tmp_path / "a.pth", {"weight": torch.ones(3, 2)}), strict=False)
    assert model.weight.eq(1).all() and model.bias.equal(before)
    path = write(tmp_path / "b.pth", {"weight": torch.ones(2, 2)})
    with pytest.raises(CheckpointError, match="another shape"):
        load_weights(model, path, strict=False)


def test_nothing_is_changed_when_something_does_not_fit(tmp_path):
    model = torch.nn.Linear(2, 3)
    before = model.weight.clone()
    mismatch(model, write(tmp_path / "a.pth", {"weight": torch.ones(3, 2)}))
    assert model.weight.equal(before)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param(["MODEL.BINS=1000"], "MODEL.BINS from 4000 to 1000", id="bins"),
        pytest.param(
            ["MODEL.FEATURE_TYPE=xz"],
            "MODEL.FEATURE_TYPE from x to xz with 768 tokens",
            id="feature type",
        ),
        pytest.param(["MODEL.FEATURE_TYPE=token"], "from x to token", id="mean token"),
        pytest.param(["MODEL.DECODER.DEC_LAYERS=6"], "DEC_LAYERS from 2 to 6", id="layers"),
        pytest.param(
            ["DATA.SEARCH.SIZE=320", "TEST.SEARCH_SIZE=320"],
            "SIZE keys from 256 px to 656 positions",
            id="crop sizes that differ",
        ),
    ],
)
def test_file_of_a_variant(tmp_path, overrides, words):
    """What to change in the configuration, when the file is of no published one."""
    other = meta_model("seqtrack_b256", *overrides).state_dict()
    state = {key: torch.zeros(1).expand(value.shape) for key, value in other.items()}
    assert words in mismatch(meta_model("seqtrack_b256"), write(tmp_path / "a.pth", state))


def test_template_count_of_a_variant(tmp_path):
    other = meta_model("seqtrack_b256", "MODEL.FEATURE_TYPE=xz", "DATA.TEMPLATE.NUMBER=3")
    state = {k: torch.zeros(1).expand(v.shape) for k, v in other.state_dict().items()}
    model = meta_model("seqtrack_b256", "MODEL.FEATURE_TYPE=xz")
    message = mismatch(model, write(tmp_path / "a.pth", state))
    assert "from xz with 768 tokens to xz with 1024 tokens" in message


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(lambda path: load_weights(nn.Linear(2, 2), path), id="tracker, --init-from"),
        pytest.param(lambda path: load_pretrained_encoder(nn.Module(), path, 1, 1), id="encoder"),
        pytest.param(load_alpha_refine, id="mask network"),
    ],
)
def test_no_reader_takes_weights_that_are_not_finite(tmp_path, load):
    state = {"weight": torch.full((2, 2), float("nan")), "bias": torch.zeros(2)}
    save_checkpoint(tmp_path / "a.pth", {"net": state})
    with pytest.raises(CheckpointError, match=r"a\.pth, .* weight has 4 of 4 values .* not finite"):
        load(tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_weights_of_a_wrapped_network_arrive(tmp_path, prefix):
    network = nn.Linear(2, 2)
    state = {prefix + key: torch.full_like(value, 3) for key, value in network.state_dict().items()}
    save_checkpoint(tmp_path / "a.pth", {"net": state})
    load_weights(network, tmp_path / "a.pth")
    assert network.weight.tolist() == [[3, 3], [3, 3]]
