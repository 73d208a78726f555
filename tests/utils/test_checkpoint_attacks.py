"""Files that try to forge objects, to read memory, or never to end: all are refused, quickly.

Each was made by hand from pickle opcodes; the first ones once got through.
"""

import os
import struct
import zipfile

import pytest
import torch

from lib.utils import pickle_scan
from lib.utils.checkpoint import load_tensors, read_checkpoint
from lib.utils.errors import CheckpointError
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
    loaded = load(tmp_path, array)
    assert loaded.dtype == float and loaded.size == 0


def test_a_pointer_in_a_state_does_not_become_an_object(tmp_path):
    """The dtype is swapped for a dictionary with a `resolve` of its own."""
    fake = call("collections.OrderedDict") + b"}" + text("resolve") + name("builtins.int") + b"sb"
    array = call("numpy.core.multiarray._reconstruct", name("numpy.ndarray"), b"K\x00\x85", b"N")
    state = b"(K\x01" + ONE + fake + b"\x89" + POINTER + b"t"
    with pytest.raises(CheckpointError, match="plain numbers"):
        load(tmp_path, array + state + b"b")


def test_no_address_leaks_as_text(tmp_path):
    with pytest.raises(CheckpointError, match="no text and no number"):
        load(tmp_path, call("builtins.str", name("numpy.core.multiarray.scalar")))


def nested_tuples(depth: int) -> bytes:
    return b")" + b"2\x86" * depth  # each level holds the one below twice


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"}" + nested_tuples(40) + b"K\x01s", id="hash of 2^40 items"),
        pytest.param(call("builtins.str", nested_tuples(40)), id="text of 2^40 items"),
        pytest.param(b"(" * (pickle_scan.MAX_OPERATIONS + 2), id="marks without end"),
    ],
)
@pytest.mark.timeout(60)
def test_small_files_do_not_take_for_ever(tmp_path, body):
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        load(tmp_path, body)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(call("builtins.bytearray", b"J\xff\xff\xff\x7f"), "bytearray", id="2 GB"),
        pytest.param(
            call("_codecs.encode", text("a" * 9), text("punycode")), "encode", id="slow encoding"
        ),
        pytest.param(
            name("_codecs.encode") + text("a") + call("builtins.list") + b"\x86R", "encode",
            id="encoding that is not spelled out",
        ),
    ],
)  # fmt: skip
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
