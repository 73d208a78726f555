"""Files that try to forge objects, to read memory or to waste it: they get nothing.

Each was made by hand from pickle opcodes; the first ones once got through.
"""

import os
import struct
import zipfile

import pytest
import torch

from lib.utils.checkpoint import load_tensors, read_checkpoint
from lib.utils.errors import CheckpointError
from lib.utils.stand_ins import StandIn
from tests.helpers.checkpoint_files import refusal, write, write_pickle


def name(text: str) -> bytes:
    module, _, attribute = text.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def call(function: str, *arguments: bytes, opcode: bytes = b"R") -> bytes:
    return name(function) + b"(" + b"".join(arguments) + b"t" + opcode


def raw_bytes(value: bytes) -> bytes:
    return call("_codecs.encode", text(value.decode("latin1")), text("latin1"))


def load(tmp_path, body: bytes):
    return load_tensors(write_pickle(tmp_path / "attack.pth", b"\x80\x02" + body + b"."))


POINTER = raw_bytes(struct.pack("<Q", id(os.system)))
ONE = b"K\x01\x85"


@pytest.mark.parametrize("opcode", [b"R", b"\x81"], ids=["REDUCE", "NEWOBJ"])
def test_a_pointer_does_not_become_an_object(tmp_path, opcode):
    array = call("numpy.ndarray", ONE, text("O"), POINTER, opcode=opcode)
    assert isinstance(load(tmp_path, array), StandIn)


def test_a_pointer_in_a_state_does_not_become_an_object(tmp_path):
    array = call("numpy.core.multiarray._reconstruct", name("numpy.ndarray"), b"K\x00\x85", b"N")
    state = b"(K\x01" + ONE + text("O") + b"\x89" + POINTER + b"t"
    assert isinstance(load(tmp_path, array + state + b"b"), StandIn)


@pytest.mark.parametrize("code", ["O", "O8", "V8", "f4, O", "(99999,99999)f8", "U"])
def test_a_number_of_another_type_is_refused(tmp_path, code):
    dtype = call("numpy.dtype", text(code)) + b"(K\x03" + text("<") + b"tb"
    with pytest.raises(CheckpointError, match="not plain"):
        load(tmp_path, call("numpy.core.multiarray.scalar", dtype, POINTER))


def test_no_address_leaks_as_text(tmp_path):
    leak = load(tmp_path, call("builtins.str", name("numpy.core.multiarray.scalar")))
    assert repr(leak) == "<stand-in for builtins.str>"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(call("builtins.bytearray", b"J\xff\xff\xff\x7f"), "bytearray", id="2 GB"),
    ],
)
def test_wasteful_calls_are_named_and_refused(tmp_path, body, named):
    with pytest.raises(CheckpointError, match=named):
        load(tmp_path, body)


def test_compressed_archives_are_refused(tmp_path):
    """A few kilobytes of them can hold gigabytes."""
    path = write(tmp_path / "a.pth", {"net": {"w": torch.zeros(1000)}})
    with zipfile.ZipFile(path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            for one, data in members.items():
                archive.writestr(one, data)
        assert "compressed" in refusal(path)


def test_dictionaries_with_attributes_of_their_own(tmp_path):
    """`items` and `get` are overwritten by the file; the weights must come out all the same."""
    path = tmp_path / "attack.pth"
    state = b"}(" + text("items") + b"K\x01" + text("get") + b"K\x02u"
    write_pickle(path, b"\x80\x02" + call("collections.OrderedDict") + state + b"b.")
    with pytest.raises(CheckpointError, match="no weights"):
        read_checkpoint(path)


@pytest.mark.parametrize("epoch", ["9" * 5000, "²", -1.5, [1]])
def test_an_epoch_that_is_none_is_ignored(tmp_path, epoch):
    path = write(tmp_path / "a.pth", {"net": {"w": torch.ones(1)}, "epoch": epoch})
    assert read_checkpoint(path).epoch is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are a Unix thing")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe")
