"""The mask network's file, and masks in use: what it refuses, forgets, and does in batches."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config.paths import resolve_paths
from lib.masks.alpha_refine.geometry import Window, box_in_window
from lib.masks.alpha_refine.network import AlphaRefine, prroi_pool
from lib.masks.alpha_refine.stage import AlphaRefiner, find_weights
from lib.masks.alpha_refine.weights import load_alpha_refine
from lib.masks.base import REFINERS, build_refiner, fit_mask, mask_bounds
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, DataError
from tests.helpers.checkpoint_files import ZIP_AND_OLD
from tests.helpers.download_setup import publish
from tests.helpers.mask_setup import NAME, TREE, mask_state, write_mask_weights


@pytest.fixture(scope="module")
def network():
    """A small network with seeded weights; its inputs have 64 pixels a side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return AlphaRefine(pool_size=2).eval().requires_grad_(False)


@pytest.fixture
def image():
    return np.random.default_rng(5).integers(0, 256, (60, 80, 3), dtype=np.uint8)


# --- the file -----------------------------------------------------------------------------


@ZIP_AND_OLD
def test_file_of_the_original_trainer(tmp_path, as_zip):
    """Foreign classes inside, both formats; every key, and the size out of the file."""
    network = load_alpha_refine(write_mask_weights(tmp_path / NAME, mask_state(0.5), as_zip))
    state = network.state_dict()
    assert list(state) == list(mask_state())
    assert state["neck.spatial_attention.W.1.running_var"].tolist() == [0.5] * 144
    assert state["feature_extractor.bn1.num_batches_tracked"].dtype == torch.int64
    assert (network.pool_size, network.side, network.training) == (12, 384, False)
    assert not any(value.is_meta or value.requires_grad for value in network.parameters())


def without(key):
    state = mask_state()
    del state[key]
    return state


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param(lambda: without("refiner.project.conv2.bias"), "1 key missing", id="missing"),
        pytest.param(
            lambda: mask_state() | {"box.weight": torch.ones(1)}, "1 unexpected key", id="more"
        ),
        pytest.param(
            lambda: mask_state() | {"feature_extractor.conv1.weight": torch.ones(64, 3, 3, 3)},
            "1 tensor of another shape (feature_extractor.conv1.weight (64, 3, 3, 3) in the file",
            id="shape",
        ),
        pytest.param(
            lambda: mask_state() | {"neck.channel_attention.fc1.weight": torch.ones(35, 143, 1, 1)},
            "143 cells",
            id="no square",
        ),
        pytest.param(
            lambda: without("neck.channel_attention.fc1.weight"),
            "not a mask-only Alpha-Refine network",
            id="the release with corners",
        ),
        pytest.param(
            lambda: mask_state() | {"neck.channel_attention.fc1.weight": torch.ones(3)},
            "has the shape (3,)",
            id="no convolution",
        ),
    ],
)
def test_other_networks(tmp_path, state, words):
    path = write_mask_weights(tmp_path / NAME, state())
    with pytest.raises(CheckpointError) as caught:
        load_alpha_refine(path)
    message = str(caught.value)
    assert str(path) in message and words in message and "\n" not in message
    assert "external/AR/README.md" in message


def test_a_tracker_is_no_mask_network(tmp_path):
    with pytest.raises(CheckpointError, match="holds a SeqTrack tracker"):
        load_alpha_refine(publish(tmp_path))


def test_weights_are_found(tmp_path):
    """Below the save folder, the last one by name; else a message with the command."""
    paths = resolve_paths(save_dir=tmp_path, env={})
    with pytest.raises(CheckpointError, match=r"download_checkpoints\.py alpha_refine") as caught:
        find_weights(paths)
    assert str(tmp_path / TREE) in str(caught.value)
    folder = tmp_path / TREE
    (folder / "ARnet_seg_mask_ep0099.pth.tar").mkdir(parents=True)
    for name in ("ARnet_seg_mask_ep0009.pth.tar", NAME, "notes.txt"):
        (folder / name).touch()
    assert find_weights(paths) == folder / NAME


def test_build_refiner(tmp_path, monkeypatch):
    """By name: from a file that is named, or from the documented place."""
    monkeypatch.setenv("SEQTRACK_SAVE", str(tmp_path))
    with pytest.raises(CheckpointError, match="no weights of Alpha-Refine"):
        build_refiner("alpha_refine")
    write_mask_weights(tmp_path / TREE / NAME)
    assert isinstance(build_refiner("alpha_refine"), AlphaRefiner)
    assert isinstance(build_refiner("alpha_refine", tmp_path / TREE / NAME), AlphaRefiner)
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        build_refiner("alpha_refine", tmp_path / "nothing")
    with pytest.raises(ConfigError, match="did you mean 'alpha_refine'"):
        build_refiner("alpharefine")


def test_only_alpha_refine_is_the_published_method():
    assert [kind for kind, facts in REFINERS.items() if facts.published] == ["alpha_refine"]
    assert len({facts.suffix for facts in REFINERS.values()}) == len(REFINERS)


# --- masks --------------------------------------------------------------------------------


def test_mask_of_a_frame(network, image):
    """As large as the frame, of zeros and ones, none outside the window, fit for TraX."""
    refiner = AlphaRefiner(network)
    refiner.initialise(image, np.array([20, 15, 20, 20], np.float32))
    box = np.array([22.0, 14.0, 20.0, 24.0])
    mask = refiner.get_mask(image, box)
    assert mask.shape == (60, 80) and mask.dtype == np.uint8 and mask.flags.c_contiguous
    window = Window.around(box)
    probabilities = refiner.probabilities(window.cut(image, 64))
    assert probabilities.min() >= 0 and probabilities.max() <= 1
    full = window.map_back(probabilities, 60, 80)
    assert np.array_equal(mask, full > 0.65)
    assert not full[:, : window.x].any() and not full[: window.y].any()


def test_threshold_follows_the_resizing(network, image, monkeypatch):
    """Between a sure and an impossible pixel the border is where 0.65 is, and 0.65 is outside."""
    refiner = AlphaRefiner(network)
    half = np.zeros((64, 64), np.float32)
    half[:, :32] = 1
    monkeypatch.setattr(refiner, "probabilities", lambda crop: half)
    mask = refiner.get_mask(image, np.array([20.0, 15.0, 16.0, 16.0]))
    assert mask.sum() == 32 * 16
    for value, expected in ((0.65, 0), (np.nextafter(np.float32(0.65), np.float32(1)), 1)):
        half[:] = value
        assert refiner.get_mask(image, np.array([20.0, 15.0, 16.0, 16.0])).max() == expected


def test_nothing_of_an_earlier_target_remains(network, image):
    other, box = image[::-1].copy(), np.array([30.0, 20.0, 20.0, 16.0])
    fresh = AlphaRefiner(network)
    fresh.initialise(image, box)
    used = AlphaRefiner(network)
    used.initialise(other, box + 3)
    used.get_mask(other, box + 5)
    used.initialise(image, box)
    assert torch.equal(fresh.kernel, used.kernel)
    before = used.kernel.clone()
    used.get_mask(other, box)
    assert torch.equal(used.kernel, before)


def test_frames_and_boxes_stay_as_they_are(network, image):
    box, copy = np.array([30.0, 20.0, 20.0, 16.0]), image.copy()
    refiner = AlphaRefiner(network)
    refiner.initialise(image, box)
    refiner.get_mask(image, box)
    assert box.tolist() == [30, 20, 20, 16] and np.array_equal(image, copy)


def test_mask_before_the_start(network, image):
    with pytest.raises(RuntimeError, match="before initialise"):
        AlphaRefiner(network).get_mask(image, np.array([1.0, 2, 3, 4]))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([1, 2, float("nan"), 4], "not finite"),
        ([1, float("inf"), 3, 4], "not finite"),
        ([1, 2, 0, 4], "above 0"),
        ([1, 2, 3, -4], "above 0"),
        ([1, 2, 3, 1e6], "more than 32000"),
    ],
)
def test_impossible_boxes(network, image, box, words):
    refiner = AlphaRefiner(network)
    with pytest.raises(DataError, match=words):
        refiner.initialise(image, np.array(box, np.float32))
    with pytest.raises(DataError, match=words):
        refiner.get_mask(image, np.array(box))


def test_box_outside_the_frame(network, image):
    """Black to look at, and no pixel to write."""
    box = np.array([200.0, 100.0, 20.0, 20.0])
    window = Window.around(box)
    assert not window.cut(image, 64).any()
    refiner = AlphaRefiner(network)
    refiner.initialise(image, np.array([20, 15, 20, 20], np.float32))
    assert not refiner.get_mask(image, box).any()


def test_batches(network, image):
    """A batch gives what its members give alone, with boxes and references of their own."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((3, 3, 64, 64), dtype=np.float32))
    boxes = torch.tensor([[16.0, 16, 48, 48], [3.5, 8, 60, 40], [20, 20, 21, 63]])
    kernel = network.reference(images, boxes)
    logits = network(images.flip(0), kernel)
    assert kernel.shape == (3, 1024, 2, 2) and logits.shape == (3, 1, 64, 64)
    for i in range(3):
        alone = network.reference(images[i : i + 1], boxes[i : i + 1])
        torch.testing.assert_close(kernel[i : i + 1], alone, rtol=1e-4, atol=1e-5)
        mask = network(images[2 - i : 3 - i], alone)
        torch.testing.assert_close(logits[i : i + 1], mask, rtol=1e-3, atol=1e-4)


# --- pooling ------------------------------------------------------------------------------


def test_pooling_is_the_mean_of_the_interpolant():
    """Against many samples of it, zeros around the map included."""
    rng = np.random.default_rng(1)
    features = torch.from_numpy(rng.standard_normal((1, 2, 5, 6)))
    box = torch.tensor([[-1.3, 0.4, 4.2, 5.6]], dtype=torch.float64)
    pooled = prroi_pool(features, box, 3, 1.0)[0].numpy()
    padded = np.pad(features[0].numpy(), ((0, 0), (3, 3), (3, 3)))
    count = 300
    x = -1.3 + 5.5 * (np.arange(3 * count) + 0.5) / (3 * count)
    y = 0.4 + 5.2 * (np.arange(3 * count) + 0.5) / (3 * count)

    def between(values, at, axis):
        low = np.floor(at).astype(int)
        shape = [1, 1, 1]
        shape[axis] = -1
        part = (at - low).reshape(shape)
        return np.take(values, low + 3, axis) * (1 - part) + np.take(values, low + 4, axis) * part

    sampled = between(between(padded, y, 1), x, 2)
    means = sampled.reshape(2, 3, count, 3, count).mean(axis=(2, 4))
    np.testing.assert_allclose(pooled, means, atol=2e-5)


def test_pooling_has_gradients():
    features = torch.randn(2, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.3, 0.7, 3.1, 4.4], [1.2, -0.9, 5.3, 2.6]], dtype=torch.float64)
    boxes.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda f, b: prroi_pool(f, b, 2, 0.9), (features, boxes))


def test_pooling_of_nothing():
    """Empty and reversed boxes give zeros, and no undefined gradient."""
    features = torch.randn(3, 1, 4, 4, requires_grad=True)
    boxes = torch.tensor([[1.0, 1, 1, 3], [3, 1, 2, 3], [1, 3, 3, 2]], requires_grad=True)
    pooled = prroi_pool(features, boxes, 2, 1.0)
    assert not pooled.any()
    pooled.sum().backward()
    assert torch.isfinite(features.grad).all() and torch.isfinite(boxes.grad).all()


# --- masks and boxes ----------------------------------------------------------------------


def test_template_box_stays_in_the_crop():
    """A thin box: its window is rounded up, and what is larger than the crop is cut."""
    box = np.array([10, 10, 0.6, 20], np.float32)
    window = Window.around(box)
    assert (window.width, window.height) == (2, 40)
    x, y, w, h = box_in_window(box, window, 384)
    assert 0 <= x and x + w <= 384 and (y, h) == (95.5, 192)


def test_mask_of_bools_and_of_other_numbers():
    mask = np.array([[0, 255], [2, 0]])
    assert fit_mask(mask, 3, 2).tolist() == [[0, 1], [1, 0], [0, 0]]
    assert fit_mask(mask > 0, 1, 3).tolist() == [[0, 1, 0]]


def test_no_box_of_an_empty_mask():
    with pytest.raises(DataError, match="8 x 6 pixels that starts the target is empty"):
        mask_bounds(np.zeros((6, 8)))


def test_box_tracker_never_sees_the_mask():
    """Nothing of the box tracker imports the mask stage."""
    paths = sorted((Path(__file__).parents[2] / "lib" / "tracker").rglob("*.py"))
    assert len(paths) > 10
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [getattr(n, "module", "") or "" for n in ast.walk(tree)]
        assert not any("refine" in name for name in names), path


def test_loaded_weights_can_be_saved_again(tmp_path):
    network = load_alpha_refine(write_mask_weights(tmp_path / NAME))
    save_checkpoint(tmp_path / "again.pth.tar", {"net": dict(network.state_dict())})
    assert load_alpha_refine(tmp_path / "again.pth.tar").side == 384
