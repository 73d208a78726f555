"""The loss of a batch and its gradients equal the reference's (evaluation mode: no dropout)."""

import copy

import numpy as np
import pytest
import torch

from lib.models.tokens import BoxTokenizer
from lib.train.data.loader import Batch
from lib.train.losses import tokens as loss
from lib.train.losses.objective import Objective

from .conftest import config_named, filled_network, kit_cases, recipe


def pixels(size: int, seed: int, batch: int) -> torch.Tensor:
    """`recipe.tensor` before it is normalised, `(B, S, S, 3)` uint8."""
    images = [recipe.image(size, size, seed + 1000 * b) for b in range(batch)]
    return torch.from_numpy(np.stack(images))


def batch_of(size: int, seed: int, batch: int, num_template: int, boxes: torch.Tensor) -> Batch:
    """`recipe.model_inputs` as uint8, with xywh boxes `(B, 4)` in the search regions."""
    templates = [pixels(size, 10 * seed + 1 + i, batch) for i in range(num_template)]
    template_boxes = torch.tensor([0.375, 0.375, 0.25, 0.25]).expand(batch, num_template, 4)
    search, numbers = pixels(size, 10 * seed + 9, batch), torch.arange(batch)
    return Batch(
        torch.stack(templates, dim=1), search, template_boxes, boxes, numbers, ["kit"] * batch
    )


def filled_objective(cfg, name, seed, feature_type="x", num_template=2) -> Objective:
    """An objective that may be trained, in evaluation mode, with the recipe's weights."""
    network = copy.deepcopy(filled_network(name, seed, feature_type, num_template))
    return Objective(network.requires_grad_(True), cfg).eval()


@pytest.mark.parametrize("case", kit_cases("training_*.json"))
def test_training(case, monkeypatch):
    _, case = case
    variant = (case["feature_type"], case["num_template"])
    cfg = config_named(case["config"], *variant, case["seq_format"])
    objective = filled_objective(cfg, case["config"], case["seed"], *variant)
    boxes = torch.from_numpy(recipe.boxes(case["batch"], case["seed"])).float()
    np.testing.assert_allclose(boxes, case["boxes_xywh"], atol=1e-7)
    inputs, words = objective.tokenizer.encode(boxes)
    np.testing.assert_array_equal(inputs, case["input_seq"])
    np.testing.assert_array_equal(words.flatten(), case["target_seq"])

    # The reference logs the IoU of tokens read as cx, cy, w, h whatever the format.
    seen = {}
    as_recorded = BoxTokenizer(cfg.model.bins, "xywh")

    def teacher_forced_iou(logits, words, tokenizer):
        seen["reference"] = right_iou(logits, words, as_recorded).item()
        return right_iou(logits, words, tokenizer)

    right_iou = loss.teacher_forced_iou
    monkeypatch.setattr(loss, "teacher_forced_iou", teacher_forced_iou)
    size = cfg.data.search.size
    batch = batch_of(size, case["seed"], case["batch"], case["num_template"], boxes)
    terms = objective(batch, 0.0)
    terms["total"].backward()

    assert terms["total"].item() == pytest.approx(case["loss"], rel=1e-4)
    assert terms["total"].item() == pytest.approx(case["status"]["Loss/total"], rel=1e-4)
    assert seen["reference"] == pytest.approx(case["status"]["IoU"], rel=1e-4, abs=1e-6)
    if case["seq_format"] == "xywh":
        assert terms["iou"].item() == seen["reference"]
    check_gradients(objective.network, case)


def check_gradients(network, case):
    norms = {k: p.grad.double().norm().item() for k, p in network.named_parameters()}
    assert list(norms) == list(case["grad_norm_param"])
    # Softmax does not care about a constant added to all keys: what is left there is rounding.
    close = {"rel": 2e-3, "abs": 1e-6 * case["grad_norm_total"]}
    for key, want in case["grad_norm_param"].items():
        assert norms[key] == pytest.approx(want, **close), key
    for module, want in case["grad_norm_module"].items():
        parts = [v for k, v in norms.items() if k.split(".")[0] == module]
        assert np.linalg.norm(parts) == pytest.approx(want, **close), module
    total = np.linalg.norm(list(norms.values()))
    assert total == pytest.approx(case["grad_norm_total"], rel=2e-3)
