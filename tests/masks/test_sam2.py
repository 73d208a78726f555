"""SAM 2 as the other mask stage: what it is asked, what it refuses, and a tiny real model."""

import builtins
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.config.paths import resolve_paths
from lib.masks.base import build_refiner
from lib.masks.sam2 import Sam2Refiner, find_model
from lib.models.pixels import IMAGE_MEAN, IMAGE_STD
from lib.utils.errors import CheckpointError, DataError, MissingExtraError

SIDE = 64
# A model of 90,000 numbers. Only blocks that do not begin a stage may attend globally.
BACKBONE = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "embed_dim_per_stage": [8, 16, 32, 64],
    "blocks_per_stage": [1, 1, 2, 1],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "global_attention_blocks": [3],
    "image_size": [SIDE, SIDE],
}
VISION = {
    "model_type": "sam2_vision_model",
    "backbone_config": BACKBONE,
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[SIDE // n, SIDE // n] for n in (4, 8, 16)],
    "fpn_hidden_size": 16,
}
PROMPTS = {"hidden_size": 16, "image_size": SIDE}
DECODER = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model as transformers writes it."""
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("sam2")
    config = transformers.Sam2Config(
        vision_config=VISION, prompt_encoder_config=PROMPTS, mask_decoder_config=DECODER
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.Sam2Model(config).save_pretrained(path)
    side = {"height": SIDE, "width": SIDE}
    quarter = {"height": SIDE // 4, "width": SIDE // 4}
    images = transformers.Sam2ImageProcessor(size=side, mask_size=quarter)
    transformers.Sam2Processor(images, target_size=SIDE).save_pretrained(path)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(5).integers(0, 256, (60, 80, 3), dtype=np.uint8)


class FakeProcessor:
    """Remembers what it was asked; its picture is the mask, and that is the box."""

    def __init__(self):
        self.asked = []

    def __call__(self, images, input_boxes, return_tensors):
        self.asked.append((images, input_boxes))
        (((x0, y0, x1, y1),),) = input_boxes
        mask = torch.zeros(1, 1, 1, *images.shape[:2])
        mask[..., int(y0) : int(y1), int(x0) : int(x1)] = 1
        return {"pixel_values": mask, "input_boxes": torch.tensor(input_boxes), "original_sizes": 0}

    def post_process_masks(self, masks, original_sizes):
        return [mask > 0 for mask in masks]


class FakeModel:
    """Answers with its picture."""

    def to(self, device):
        return self

    def __call__(self, pixel_values, input_boxes, multimask_output):
        assert multimask_output is False
        return SimpleNamespace(pred_masks=pixel_values)


def test_what_it_is_asked(image):
    """The frame, and the corners of the box tracker's box."""
    processor = FakeProcessor()
    refiner = Sam2Refiner(FakeModel(), processor)
    refiner.initialise(image, np.array([1, 2, 3, 4], np.float32))
    assert not processor.asked
    mask = refiner.get_mask(image, np.array([10.0, 20.0, 30.0, 15.0]))
    ((seen, boxes),) = processor.asked
    assert seen is image and boxes == [[[10, 20, 40, 35]]]
    assert mask.dtype == np.uint8 and mask.shape == (60, 80) and mask.flags.c_contiguous
    assert mask.sum() == 30 * 15 and mask[20:35, 10:40].all()


@pytest.mark.parametrize("box", [[1, 2, 0, 4], [1, float("nan"), 3, 4]])
def test_impossible_boxes(image, box):
    refiner = Sam2Refiner(FakeModel(), FakeProcessor())
    for ask in (refiner.initialise, refiner.get_mask):
        with pytest.raises(DataError, match="no mask can be found"):
            ask(image, np.array(box))


def test_real_model(folder):
    """From the folder through the common door; the answer is the model's own."""
    import transformers

    # Of the model's own size, so that no way to resize is tested.
    image = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    box = np.array([10.0, 12.0, 30.0, 20.0])
    refiner = build_refiner("sam2", folder)
    refiner.initialise(image, box)
    mask = refiner.get_mask(image, box)
    assert mask.shape == (SIDE, SIDE) and mask.dtype == np.uint8
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        logits = transformers.Sam2Model.from_pretrained(folder)(
            pixel_values=(pixels - mean) / std,
            input_boxes=torch.tensor([[[10.0, 12.0, 40.0, 32.0]]]),
            multimask_output=False,
        ).pred_masks[0]
    wanted = torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear")[0, 0] > 0
    assert 0 < wanted.sum() < wanted.numel()
    assert np.count_nonzero(mask != wanted.numpy()) <= 2
    assert np.array_equal(refiner.get_mask(image, box), mask)


def test_checkpoint_of_the_video_model(folder, tmp_path, image):
    """What the hub has calls itself so, and has more tensors than single frames need."""
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "processor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    state = load_file(folder / "model.safetensors") | {"memory_attention.x": torch.ones(3)}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    box = np.array([10.0, 10.0, 30.0, 20.0])
    masks = [build_refiner("sam2", path).get_mask(image, box) for path in (folder, tmp_path)]
    assert np.array_equal(*masks)


def spoil_missing(path):
    from safetensors.torch import load_file, save_file

    state = load_file(path / "model.safetensors")
    del state[sorted(state)[0]]
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})


def spoil_pickle(path):
    torch.save({"w": torch.ones(1)}, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(spoil_missing, "1 tensors are missing", id="a tensor is missing"),
        pytest.param(spoil_pickle, "is no SAM 2 model", id="pickled weights"),
        pytest.param(
            lambda p: (p / "model.safetensors").write_bytes(b"x" * 99), "is no SAM 2", id="damaged"
        ),
        pytest.param(
            lambda p: (p / "processor_config.json").unlink(), "is no SAM 2 model", id="no processor"
        ),
        pytest.param(lambda p: (p / "config.json").unlink(), "(config.json)", id="no model"),
        pytest.param(lambda p: (p / "config.json").write_text("{"), "is no SAM 2", id="no JSON"),
    ],
)
def test_incomplete_folders(folder, tmp_path, spoil, words):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        build_refiner("sam2", tmp_path)
    message = str(caught.value)
    assert words in message and str(tmp_path) in message and "\n" not in message
    assert "external/AR/README.md" in message


def test_documented_place(tmp_path):
    paths = resolve_paths(save_dir=tmp_path, env={})
    with pytest.raises(CheckpointError, match="no SAM 2 model: tried") as caught:
        find_model(paths)
    assert str(tmp_path / "external" / "sam2") in str(caught.value)
    (tmp_path / "external" / "sam2").mkdir(parents=True)
    (tmp_path / "external" / "sam2" / "config.json").touch()
    assert find_model(paths) == tmp_path / "external" / "sam2"


def test_without_transformers(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.partition(".")[0] == "transformers":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r'transformers: pip install -e "\.\[sam2\]"'):
        build_refiner("sam2", tmp_path)
