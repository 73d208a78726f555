"""The mask network against the original: keys, pooling, and every stage of the kit's cases."""

import contextlib
import json
import math
import zlib

import numpy as np
import pytest
import torch

from lib.masks.alpha_refine.geometry import Window, box_in_window
from lib.masks.alpha_refine.network import AlphaRefine, prroi_pool
from lib.masks.alpha_refine.stage import AlphaRefiner
from lib.masks.alpha_refine.weights import load_alpha_refine

from .conftest import DEFAULT_KIT, kit_file, recipe

RELATIVE = 1e-3
KEYS = recipe.load_keys(kit_file("state_dict_keys.json") or DEFAULT_KIT / "state_dict_keys.json")
CASES = json.loads(cases.read_text()) if (cases := kit_file("cases.json")) else {}


def cells() -> int:
    return KEYS["neck.channel_attention.fc1.weight"][0][1]


def test_state_dict():
    with torch.device("meta"):
        network = AlphaRefine(math.isqrt(cells()))
    ours = {
        key: [list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in network.state_dict().items()
    }
    assert ours == KEYS
    assert list(ours) == list(KEYS)


def test_prroi_pool():
    file = kit_file("prroi.npz")
    if file is None:
        pytest.skip("the kit has no prroi.npz")
    kit = np.load(file)
    features, rois = torch.from_numpy(kit["features"]), torch.from_numpy(kit["rois"])
    assert kit["bins"][0] == kit["bins"][1]
    pooled = prroi_pool(
        features[rois[:, 0].long()], rois[:, 1:], int(kit["bins"][0]), float(kit["spatial_scale"])
    )
    # The original's own error in bins narrower than a cell is 5e-6.
    np.testing.assert_allclose(pooled.numpy(), kit["pooled"], rtol=0, atol=1e-5)


@contextlib.contextmanager
def watched(network):
    """Fills a dictionary with what the stages of the network give, by the kit's names."""
    seen: dict[str, np.ndarray] = {}
    backbone, neck, refiner = network.feature_extractor, network.neck, network.refiner

    def output(module, name):
        return module.register_forward_hook(lambda m, i, out: seen.update({name: out.numpy()}))

    def first_input(module, name):
        return module.register_forward_pre_hook(lambda m, i: seen.update({name: i[0].numpy()}))

    stages = (backbone.maxpool, backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)
    handles = [output(stage, f"feat.layer{n}") for n, stage in enumerate(stages, 1)]
    handles += [
        first_input(neck.channel_attention, "corr"),
        output(neck.channel_attention, "corr_ca"),
        output(neck.spatial_attention, "corr_sa"),
        first_input(refiner.project.conv1, "up1"),
        first_input(refiner.project.conv2, "up2"),
        output(refiner.project, "logits"),
    ]
    for level in refiner.TSE:
        handles += [
            output(refiner.TSE[level].transform, f"tse.{level}"),
            output(refiner.CAB[level], f"cab.{level}"),
            output(refiner.RRB2[level], f"rrb2.{level}"),
        ]
    yield seen
    for handle in handles:
        handle.remove()


class Comparison:
    """Compares one frame's stages with the recorded ones and collects what differs."""

    def __init__(self, kit, frame_number):
        self.kit, self.prefix, self.wrong, self.compared = kit, f"t{frame_number}.", [], set()

    def recorded(self, name):
        self.compared.add(name)
        return self.kit[self.prefix + name]

    def stage(self, name, array, atol=None):
        """A whole stage, where the kit recorded it: another kit may hold fewer."""
        if f"{self.prefix}{name}.vals" not in self.kit:
            return
        self.compared |= {f"{name}.shape", f"{name}.stats", f"{name}.vals"}
        try:
            recipe.check(self.kit, self.prefix + name, array, RELATIVE, atol)
        except AssertionError as error:
            self.wrong.append(str(error))

    def sampled(self, name, stage, array):
        """Values of a map at every fourth pixel, to the tolerance of the whole map."""
        if self.prefix + name not in self.kit:
            return
        tolerance = RELATIVE * self.kit[f"{self.prefix}{stage}.stats"][1]
        error = np.abs(array[::4, ::4] - self.recorded(name)).max()
        if error > tolerance:
            self.wrong.append(f"{self.prefix}{name}: max error {error:.3g} > {tolerance:.3g}")

    def crop(self, frame, window, side):
        """The frame, the crop and its scales."""
        patch = window.cut(frame, side)
        if zlib.crc32(frame.tobytes()) != self.recorded("frame_crc"):
            self.wrong.append(f"{self.prefix}frame: the recipe gives another frame")
        # The checksum holds for one version of OpenCV; another may round otherwise.
        if zlib.crc32(patch.tobytes()) != self.recorded("patch_crc"):
            self.stage("patch", patch, atol=1)
        self.compared |= {"patch.shape", "patch.stats", "patch.vals"}
        if list(window.scale(side))[::-1] != self.recorded("scale_hw").tolist():
            self.wrong.append(f"{self.prefix}scale_hw: {window.scale(side)}")
        return patch

    def mask(self, mask):
        shape = tuple(self.recorded("final_mask_shape"))
        wanted = np.unpackbits(self.recorded("final_mask_bits"))[: math.prod(shape)]
        if mask.shape != shape or mask.dtype != np.uint8 or mask.max() > 1:
            self.wrong.append(f"{self.prefix}final_mask: {mask.dtype} {mask.shape}, not {shape}")
            return
        different = np.count_nonzero(mask.ravel() != wanted)
        if different > max(2, RELATIVE * wanted.sum()):
            self.wrong.append(f"{self.prefix}final_mask: {different} of {wanted.sum()} pixels")

    def missed(self):
        """Recorded names that nothing was compared with."""
        names = {key.removeprefix(self.prefix) for key in self.kit if key.startswith(self.prefix)}
        return names - self.compared - {"near_threshold_frac"}


def check_start(compare, refiner, seen, frame, box):
    window = Window.around(box)
    patch = compare.crop(frame, window, refiner.network.side)
    compare.stage("input", refiner._input(patch)[None].numpy())
    refiner.initialise(frame, box)
    compare.stage("feat.layer4", seen["feat.layer4"])
    compare.stage("ref_kernel", refiner.kernel.numpy())
    in_crop = box_in_window(box, window, refiner.network.side)
    if np.abs(in_crop - compare.recorded("ref_box_crop")).max() > 1e-4:
        compare.wrong.append(f"{compare.prefix}ref_box_crop: {in_crop}")


def check_frame(compare, refiner, seen, frame, box):
    window = Window.around(box)
    patch = compare.crop(frame, window, refiner.network.side)
    compare.stage("input", refiner._input(patch)[None].numpy())
    compare.mask(refiner.get_mask(frame, box))
    for name, array in seen.items():
        compare.stage(name, array)
    probabilities = torch.from_numpy(seen["logits"])[0, 0].sigmoid().numpy()
    full = window.map_back(probabilities, *frame.shape[:2])
    for name, array in (("prob", probabilities), ("full", full)):
        compare.stage(name, array)
        compare.sampled(f"{name}_s4", name, array)


@pytest.mark.parametrize("name", [name for name in CASES if kit_file(f"{name}.npz")])
def test_case(name, tmp_path):
    """Weights through the checkpoint loader in the old format, then every stage and the masks."""
    case, kit = CASES[name], np.load(kit_file(f"{name}.npz"))
    weights = recipe.make_state_dict(KEYS, case["weight_seed"], case.get("mask_bias"))
    file = tmp_path / "ARnet_seg_mask_ep0040.pth.tar"
    state = {key: torch.from_numpy(value) for key, value in weights.items()}
    torch.save({"epoch": 40, "net": state}, file, _use_new_zipfile_serialization=False)
    refiner = AlphaRefiner(load_alpha_refine(file))
    wrong = []
    assert {f"t{t}.final_mask_bits" for t in range(1, len(case["boxes"]))} <= set(kit)
    for t, box in enumerate(case["boxes"]):
        compare, frame = Comparison(kit, t), recipe.make_frame(case, t)
        with watched(refiner.network) as seen:
            if t == 0:
                check_start(compare, refiner, seen, frame, np.array(box, np.float32))
            else:
                check_frame(compare, refiner, seen, frame, np.array(box, np.float64))
        wrong += compare.wrong + [f"t{t}.{key}: nothing compared" for key in compare.missed()]
    assert not wrong, "\n".join(wrong)
