"""Loading gives tensors and plain data, whatever else the file names; saving writes only these."""

import builtins
import collections
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lib.utils.checkpoint import (
    load_tensors,
    read_checkpoint,
    read_state_dict,
    save_checkpoint,
)
from lib.utils.errors import CheckpointError
from lib.utils.stand_ins import StandIn
from tests.helpers.checkpoint_files import ZIP_AND_OLD, foreign_classes, refusal, write

KIT = Path(__file__).parents[1] / "kits" / "parity"


# --- what loads ---------------------------------------------------------------------------


def test_kit_checkpoint():
    """A file of the original trainer: settings and averages become inert stand-ins."""
    content = load_tensors(KIT / "checkpoint_small.pth.tar")
    assert isinstance(content["settings"], StandIn)
    assert "lib.train.admin.settings.Settings" in repr(content["settings"])
    assert content["settings"].state["batchsize"] > 0
    assert all(isinstance(v, torch.Tensor) for v in content["net"].values())
    checkpoint = read_checkpoint(KIT / "checkpoint_small.pth.tar")
    assert (checkpoint.epoch, checkpoint.net_type) == (1, "SEQTRACK")
    assert list(checkpoint.state) == list(content["net"])


@ZIP_AND_OLD
@pytest.mark.parametrize(
    "name",
    [
        "lib.train.admin.stats.AverageMeter",
        "lib.nobody.ever.listed.This",
        "lib.utils.checkpoint.Checkpoint2",  # a module that exists here too
        "ltr.admin.settings.Settings",
        "dlframework.common.Thing",
        "pytracking.evaluation.environment.EnvSettings",
        "easydict.Something",
    ],
)
def test_unlisted_classes_become_stand_ins(tmp_path, name, as_zip):
    with foreign_classes(name) as cls:
        thing = cls()
        thing.number = 3
        path = write(tmp_path / "a.pth.tar", {"net": {"w": torch.ones(2)}, "x": thing}, as_zip)
    found = load_tensors(path)["x"]
    assert isinstance(found, StandIn) and found.state == {"number": 3}
    assert read_state_dict(path)["w"].tolist() == [1, 1]


@ZIP_AND_OLD
def test_easydict(tmp_path, as_zip):
    """A dictionary with a class of its own, holding its items twice, as EasyDict does."""
    with foreign_classes("easydict.EasyDict", bases=(dict,)) as cls:
        config = cls(BINS=4000)
        config.__dict__["BINS"] = 4000
        config["ENCODER"] = cls(TYPE="vit")
        path = write(tmp_path / "a.pth.tar", {"net": {"w": torch.ones(1)}, "cfg": config}, as_zip)
    assert load_tensors(path)["cfg"] == {"BINS": 4000, "ENCODER": {"TYPE": "vit"}}


@ZIP_AND_OLD
def test_subclasses_of_containers(tmp_path, as_zip):
    """`TensorDict` and `TensorList` of PyTracking: filled by key, or appended to."""
    with (
        foreign_classes("pytracking.x.TensorDict", bases=(collections.OrderedDict,)) as mapping,
        foreign_classes("pytracking.y.TensorList", bases=(list,)) as sequence,
    ):
        payload = {"net": mapping(w=torch.ones(2)), "list": sequence([1, torch.zeros(1)])}
        path = write(tmp_path / "a.pth", payload, as_zip)
    content = load_tensors(path)
    assert content["list"][0] == 1 and type(content["list"]) is list
    assert list(read_state_dict(path)) == ["w"]


@ZIP_AND_OLD
def test_plain_values(tmp_path, as_zip):
    """Containers and numbers of numpy that legacy files hold keep their values."""
    counts = collections.defaultdict(list, a=[1, 2])
    payload = {
        "net": collections.OrderedDict(w=torch.arange(3)),
        "counts": counts,
        "counter": collections.Counter("aab"),
        "scalar": np.float64(1.5),
        "whole": np.int32(-7),
        "flag": np.bool_(True),
        "text": np.str_("née"),
        "big_endian": np.arange(3, dtype=">i2")[2],
        "device": torch.device("cuda:1"),
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "no_bytes": b"",
        "complex": 1j,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "big": 2**70,
        "nested": [None, True, -1, 2.5, ("a", [])],
    }
    content = load_tensors(write(tmp_path / "a.pth", payload, as_zip))
    for key in payload.keys() - {"net", "parameter"}:
        assert content[key] == payload[key], key
    assert content["parameter"].tolist() == [1, 1]


@ZIP_AND_OLD
def test_types_and_arrays_do_not_hinder(tmp_path, as_zip):
    other = [int, frozenset({3}), np.zeros((2, 3)), np.zeros(2, dtype="i4,f8"), np.array([{}])]
    path = write(tmp_path / "a.pth", {"net": {"w": torch.ones(1)}, "other": other}, as_zip)
    assert all(isinstance(value, StandIn) for value in load_tensors(path)["other"][1:])
    assert read_state_dict(path)["w"].tolist() == [1]


def test_cuda_tensors_come_to_the_cpu(tmp_path):
    """A file written on a GPU names the device of each storage; it must load without one."""
    path = write(tmp_path / "a.pth", {"w": torch.ones(1)})
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "gpu.pth", "w") as archive:
        for name, data in records.items():
            cpu, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
            archive.writestr(name, data.replace(cpu, cuda))
    assert read_state_dict(tmp_path / "gpu.pth")["w"].device.type == "cpu"


def test_protocol_3(tmp_path):
    path = write(tmp_path / "a.pth", {"net": {"w": torch.ones(1)}}, protocol=3)
    assert read_state_dict(path)["w"].tolist() == [1]


# --- what is damaged or something else ----------------------------------------------------


@ZIP_AND_OLD
@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.1, 0.02])
def test_truncated(tmp_path, as_zip, share):
    path = write(tmp_path / "a.pth", {"net": {"w": torch.randn(3000)}}, as_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    message = refusal(path)
    assert "truncated" in message and "again" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "empty (0 bytes)", id="empty"),
        pytest.param(b"<!DOCTYPE html><html>quota</html>", "a web page", id="web page"),
        pytest.param(b"\n  <HTML><head>", "a web page", id="web page, other spelling"),
        pytest.param(b'{"error": "not found"}', "a text file", id="json"),
        pytest.param("version ü\n".encode(), "a text file", id="text"),
        pytest.param(b"config\nvalue\n", "a text file", id="text that looks like opcodes"),
        pytest.param(b"\x1f\x8b\x08\x00abc", "a gzip archive", id="gzip"),
        pytest.param(b"\x93NUMPY\x01\x00", "unknown format", id="npy"),
        pytest.param(b"\x80\x02}.", "unknown format", id="a pickle, not by torch.save"),
        pytest.param(bytes(range(256)), "unknown format", id="noise"),
    ],
)
def test_other_files(tmp_path, content, words):
    path = tmp_path / "SEQTRACK.pth.tar"
    path.write_bytes(content)
    assert words in refusal(path)


def test_tar_archive(tmp_path):
    inner = write(tmp_path / "inner.pth", {"w": torch.ones(1)})
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(inner, "inner.pth")
    assert "unpack it" in refusal(path)


def test_zip_of_something_else(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("seqtrack_b256/SEQTRACK.pth.tar", "x")
    assert "seqtrack_b256/SEQTRACK.pth.tar" in refusal(path)


def test_torchscript(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/constants.pkl", b"\x80\x02).")
    assert "TorchScript" in refusal(path)


def test_missing_and_folder(tmp_path):
    assert "no such" in refusal(tmp_path / "none.pth")
    assert "is a folder" in refusal(tmp_path)


def test_unreadable(tmp_path, monkeypatch):
    """The superuser may read everything, so the refusal of the system is played."""
    path = write(tmp_path / "a.pth", {"w": torch.ones(1)})

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", denied)
    assert "Permission denied" in refusal(path)


# --- state dicts --------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["net", "model", "state_dict", None])
def test_state_dict_fields(tmp_path, field):
    state = {"a.weight": torch.ones(2), "count": torch.tensor(3)}
    payload = state if field is None else {field: state, "epoch": 7, "net_type": "SEQTRACK"}
    checkpoint = read_checkpoint(write(tmp_path / "a.pth", payload))
    assert list(checkpoint.state) == ["a.weight", "count"]
    assert checkpoint.epoch == (None if field is None else 7)


def test_field_net_comes_first(tmp_path):
    path = write(tmp_path / "a.pth", {"model": {"b": torch.ones(1)}, "net": {"a": torch.ones(1)}})
    assert list(read_state_dict(path)) == ["a"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param(["module.a", "module.b.c"], ["a", "b.c"], id="written from DDP"),
        pytest.param(["module.a", "b"], ["module.a", "b"], id="a part that is called module"),
        pytest.param(["_orig_mod.a", "_orig_mod.b.c"], ["a", "b.c"], id="compiled"),
        pytest.param(["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"], id="then DDP"),
        pytest.param(["_orig_mod.module.a", "_orig_mod.module.b"], ["a", "b"], id="DDP, compiled"),
        pytest.param(["a._orig_mod.b", "c"], ["a.b", "c"], id="a part compiled"),
        pytest.param(["a_orig_mod.b"], ["a_orig_mod.b"], id="another name"),
    ],
)
def test_module_prefix(tmp_path, keys, expected):
    path = write(tmp_path / "a.pth", {"net": {key: torch.ones(1) for key in keys}})
    assert list(read_state_dict(path)) == expected


def broken(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    tensor = torch.ones(2, 4).to(dtype)
    tensor.view(torch.uint8 if dtype.itemsize == 1 else dtype)[1, :3] = (
        0x7F if dtype.itemsize == 1 else value
    )
    return tensor


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(broken(float("nan")), id="NaN"),
        pytest.param(broken(float("inf")), id="infinity"),
        pytest.param(broken(float("-inf"), torch.float16), id="half precision"),
        pytest.param(broken(float("nan"), torch.bfloat16), id="bfloat16"),
        pytest.param(broken(0, torch.float8_e4m3fn), id="eight bits"),
    ],
)
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_values_that_are_not_finite_are_refused(tmp_path, name, tensor):
    path, state = tmp_path / name, {"ok": torch.ones(2), "norm.weight": tensor}
    if name.endswith(".pth"):
        write(path, {"net": state})
    else:
        save_file(state, path)
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert "norm.weight has 3 of 8 values that are not finite; the training" in str(caught.value)


def test_several_tensors_that_are_not_finite_are_counted(tmp_path):
    state = {f"{i}": torch.full((2,), float("nan")) for i in range(3)}
    path = write(tmp_path / "a.pth", state)
    with pytest.raises(CheckpointError, match=r"0 has 2 of 2 .* and so have 2 more tensors"):
        read_checkpoint(path)


def test_large_finite_values_are_taken(tmp_path):
    """Their sum is infinite."""
    state = {"a": torch.full((4,), 3e38), "b": torch.full((9,), 6e4, dtype=torch.float16)}
    assert list(read_state_dict(write(tmp_path / "a.pth", state))) == ["a", "b"]
    counts = {"count": torch.tensor(2**40), "flag": torch.tensor([True]), "none": torch.ones(0)}
    assert len(read_state_dict(write(tmp_path / "b.pth", counts))) == 3


def test_epoch_of_numpy(tmp_path):
    path = write(tmp_path / "a.pth", {"net": {"a": torch.ones(1)}, "epoch": np.int64(12)})
    assert read_checkpoint(path).epoch == 12


def test_parameters_come_out_as_tensors(tmp_path):
    path = write(tmp_path / "a.pth", {"a": torch.nn.Parameter(torch.ones(1))})
    value = read_state_dict(path)["a"]
    assert type(value) is torch.Tensor and not value.requires_grad


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        pytest.param([torch.ones(1)], "holds a list", id="list"),
        pytest.param({}, "holds no weights", id="nothing"),
        pytest.param({"net": {}}, "field 'net', holds no weights", id="empty net"),
        pytest.param({"epoch": 3, "a": torch.ones(1)}, "'epoch' is a int", id="no weights"),
        pytest.param({"net": {"a": {"b": 1}}}, "'a' is a dict", id="nested"),
        pytest.param({3: torch.ones(1)}, "3 is not a name", id="key"),
        pytest.param({"a": torch.ones(1) * 1j}, "torch.complex64", id="complex"),
        pytest.param({"a": torch.empty(2, device="meta")}, "_rebuild_meta_tensor", id="meta"),
        pytest.param({"a": torch.eye(2).to_sparse()}, "_rebuild_sparse_tensor", id="sparse"),
    ],
)
def test_not_a_state_dict(tmp_path, payload, words):
    path = write(tmp_path / "a.pth", payload)
    with pytest.raises(CheckpointError, match=words.replace("(", r"\(")) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)


# --- saving -------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    path = tmp_path / "folder" / "SEQTRACK_ep0001.pth.tar"
    payload = {"net": {"a": torch.ones(2)}, "epoch": 1, "optimizer": {"state": {0: [1.5, None]}}}
    save_checkpoint(path, payload)
    content = load_tensors(path)
    assert content["optimizer"] == payload["optimizer"]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param({"x": [1, np.float64(1)]}, r"payload\['x'\]\[1\] is a float64", id="numpy"),
        pytest.param({"x": Path("a")}, r"payload\['x'\] is a PosixPath", id="path"),
        pytest.param(collections.defaultdict(int), "payload is a defaultdict", id="subclass"),
        pytest.param({Path("a"): 1}, "a key of payload is a PosixPath", id="key"),
    ],
)
def test_save_refuses_objects(tmp_path, value, where):
    with pytest.raises(TypeError, match=where):
        save_checkpoint(tmp_path / "a.pth", value)
    assert list(tmp_path.iterdir()) == []


def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    save_checkpoint(path, {"net": {"a": torch.ones(1)}})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"net": {"a": torch.zeros(1)}})
    assert read_state_dict(path)["a"].tolist() == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]


def test_safetensors(tmp_path):
    """Read under any name."""
    path = tmp_path / "weights.bin"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
    save_file(tensors, path, {"epoch": "500"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.state["a"].equal(tensors["a"]) and checkpoint.epoch == 500
    assert list(load_tensors(path)) == ["a", "b"]


def test_checkpoint_under_a_safetensors_name(tmp_path):
    path = write(tmp_path / "SEQTRACK.safetensors", {"net": {"a": torch.ones(1)}})
    assert list(read_state_dict(path)) == ["a"]


def test_truncated_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-10])
    assert "safetensors" in refusal(path)
