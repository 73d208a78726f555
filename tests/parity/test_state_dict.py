"""State-dict keys, shapes, dtypes and order equal the reference's, for all canonical configs."""

import json

import pytest
import torch

from lib.models.seqtrack import build_seqtrack

from .conftest import config_named, kit_files


def _networks() -> list:
    found = []
    for param in kit_files("state_dict_*.json"):
        (file,) = param.values
        content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        names = content.get("same_network", [content.get("config", file.stem)])
        found += [pytest.param(file, name, id=f"{file.stem}-{name}") for name in names]
    return found


@pytest.mark.parametrize(("file", "name"), _networks())
def test_keys_and_shapes(file, name):
    recorded = json.loads(file.read_text(encoding="utf-8"))
    with torch.device("meta"):
        network = build_seqtrack(
            config_named(name, recorded.get("feature_type", "x"), recorded.get("num_template", 2))
        )
    ours = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in network.state_dict().items()
    ]
    assert ours == recorded["state_dict"]
    assert sum(p.numel() for p in network.parameters()) == recorded["num_parameters"]
    assert len(list(network.buffers())) == recorded.get("num_buffers", 0)
