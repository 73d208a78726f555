"""Decoder inputs and targets of training boxes equal the reference's."""

import numpy as np
import pytest
import torch

from lib.models.tokens import BoxTokenizer

from .conftest import kit_cases


@pytest.mark.parametrize("case", kit_cases("target_tokens*.json", "cases"))
def test_target_tokens(case):
    content, want = case
    boxes = torch.tensor(content["boxes_xywh"], dtype=torch.float32)
    inputs, targets = BoxTokenizer(want["bins"], want["seq_format"]).encode(boxes)
    np.testing.assert_array_equal(inputs, want["input_seq"])
    np.testing.assert_array_equal(targets.flatten(), np.ravel(want["target_seq"]))
