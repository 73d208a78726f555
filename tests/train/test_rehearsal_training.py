"""The training forward on CUDA without a GPU, and that its typical mistakes are caught."""

import pytest
from torch._subclasses.fake_tensor import DataDependentOutputException

from lib.models.pixels import normalise
from lib.train.losses import tokens as loss
from tests.helpers.rehearsal import (
    CONFIGURATIONS,
    PRECISIONS,
    MistakeError,
    before,
    branch,
    config,
    rehearse_training,
)
from tests.helpers.tiny import tiny_config

# More of the losses than a configuration has on, targets that sharpen among them.
ALL_LOSSES = (
    *(f"TRAIN.{name}_WEIGHT=1" for name in ("CE", "L1", "SIZE", "CENTRE", "DENSE")),
    "TRAIN.SOFT_SIGMA=[4.0, 1.5]",
)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_rehearsal_of_the_training_forward(name, precision):
    cfg = config(name, f"TRAIN.PRECISION={precision}", *ALL_LOSSES)
    assert {"total", "ce", "l1", "size", "centre", "dense", "iou"} <= rehearse_training(cfg).keys()


@pytest.mark.parametrize(
    ("act", "error"),
    [
        pytest.param(lambda x: x.sum().item(), DataDependentOutputException, id="item"),
        pytest.param(lambda x: x.cpu(), MistakeError, id="cpu"),
        pytest.param(branch, DataDependentOutputException, id="branch"),
        pytest.param(normalise, MistakeError, id="F7"),
    ],
)
def test_rehearsal_catches_a_mistake_in_the_training_forward(monkeypatch, act, error):
    before(loss, "token_cross_entropy", act)(monkeypatch)
    with pytest.raises(error):
        rehearse_training(tiny_config())
