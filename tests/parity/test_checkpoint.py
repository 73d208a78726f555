"""The reference trainer's own checkpoint loads as tensors, without its classes."""

import json

import pytest
import torch

from lib.models.seqtrack import build_seqtrack
from lib.models.weights import load_weights
from lib.utils.checkpoint import load_tensors, read_state_dict

from .conftest import kit_files, small_config


@pytest.mark.parametrize("file", kit_files("checkpoint_*.pth.tar"))
def test_checkpoint(file):
    beside = file.with_name(file.name.replace(".pth.tar", ".json"))
    want = json.loads(beside.read_text(encoding="utf-8"))
    content = load_tensors(file)
    assert list(content) == list(want["fields"])
    plain = ("epoch", "net_type", "actor_type", "net_info", "constructor")
    for field in (name for name in plain if name in content):
        assert content[field] == want[field]
    if "stats" in content:
        assert sorted(content["stats"]["train"]) == sorted(want["stats"]["train"])
    if "optimizer" in content:
        groups = content["optimizer"]["param_groups"]
        for ours, recorded in zip(groups, want["optimizer_groups"], strict=True):
            assert len(ours["params"]) == recorded["params"]
            assert ours["lr"] == pytest.approx(recorded["lr"])

    state = read_state_dict(file)
    assert list(state) == list(want["net_norms"])
    norms = {key: float(value.double().norm()) for key, value in state.items()}
    assert norms == pytest.approx(want["net_norms"], rel=1e-6)

    network = build_seqtrack(small_config())
    info = load_weights(network, file)
    assert (info.epoch, info.net_type) == (want.get("epoch"), want.get("net_type"))
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
