"""A file that asks for more than tensors and plain data is refused, and nothing in it runs."""

import builtins
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.utils.checkpoint import load_tensors
from lib.utils.stand_ins import StandIn
from tests.helpers.checkpoint_files import ZIP_AND_OLD, refusal, write, write_pickle

KIT = Path(__file__).parents[1] / "kits" / "parity"


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def _unsafe_inner_load(marker):
    inner = pickle.dumps(Calls(os.system, f"touch {marker}"))
    return Calls(torch.storage._load_from_bytes, inner)


ATTACKS = {
    "os.system": ("posix.system", lambda m: Calls(os.system, f"touch {m}")),
    "eval": ("builtins.eval", lambda m: Calls(eval, f"open({str(m)!r}, 'w')")),
    "exec": ("builtins.exec", lambda m: Calls(exec, f"open({str(m)!r}, 'w')")),
    "open": ("io.open", lambda m: Calls(open, str(m), "w")),
    "Popen": ("subprocess.Popen", lambda m: Calls(subprocess.Popen, ["touch", str(m)])),
    "getattr": (
        "builtins.getattr",
        lambda m: Calls(getattr, Calls(getattr, torch.device, "__class__"), "mro"),
    ),
    "import": ("builtins.__import__", lambda m: Calls(builtins.__import__, "os")),
    "torch.load": ("torch.serialization.load", lambda m: Calls(torch.load, str(m))),
    "inner load": ("torch.storage._load_from_bytes", _unsafe_inner_load),
    "pickle.loads": (
        ("_pickle.loads", "pickle.loads"),
        lambda m: Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {m}"))),
    ),
    "numpy load": (("numpy.load",), lambda m: Calls(np.load, str(m), None, True)),
    "module object": ("torch.nn.modules.linear.Linear", lambda m: torch.nn.Linear(1, 1)),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@ZIP_AND_OLD
@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_file(tmp_path, attack, as_zip, protocol):
    expected, make = ATTACKS[attack]
    marker = tmp_path / "PWNED"
    payload = {"net": {"w": torch.ones(1)}, "bad": make(marker)}
    path = write(tmp_path / "a.pth.tar", payload, as_zip, protocol)
    message = refusal(path)
    names = (expected,) if isinstance(expected, str) else expected
    assert any(name in message for name in names), message
    assert "nothing in it was run" in message
    assert not marker.exists()


def test_every_refused_name_is_listed(tmp_path):
    payload = [Calls(eval, "1"), Calls(os.system, "true"), Calls(os.system, "true")]
    message = refusal(write(tmp_path / "a.pth", payload))
    assert "builtins.eval, posix.system, which" in message


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"cos\nsystem\n(S'touch PWNED'\ntR.", id="protocol 0, text only"),
        pytest.param(b"(S'touch PWNED'\nios\nsystem\n.", id="INST"),
        pytest.param(b"(cos\nsystem\nS'touch PWNED'\no.", id="OBJ"),
        pytest.param(
            b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x8c\x04true\x85R.", id="STACK_GLOBAL"
        ),
        pytest.param(
            b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R.",
            id="STACK_GLOBAL with names fetched from the memo",
        ),
    ],
)
@pytest.mark.parametrize("bare", [True, False], ids=["bare pickle", "zip"])
def test_hostile_opcodes(tmp_path, monkeypatch, code, bare):
    """Spellings that torch.save never writes; a bare pickle is not even a checkpoint."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pth"
    if bare:
        path.write_bytes(code)
    else:
        write_pickle(path, code)
    assert "os.system" in refusal(path)
    assert not Path("PWNED").exists()


def test_python2_spelling_is_translated(tmp_path):
    path = write_pickle(tmp_path / "a.pth", b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.")
    assert "builtins.eval" in refusal(path)


def test_extension_codes_are_refused(tmp_path):
    assert "copyreg extension.7" in refusal(write_pickle(tmp_path / "a.pth", b"\x80\x02\x82\x07."))


def test_names_cannot_write_to_the_terminal(tmp_path):
    """An escape sequence or a new line in a name is shown, not obeyed; a long one is cut."""
    name = b"\x1b[2J\n" + b"x" * 150
    code = b"\x80\x04\x8c\x02os\x8c" + bytes([len(name)]) + name + b"\x93."
    message = refusal(write_pickle(tmp_path / "a.pth", code))
    assert "os.\\x1b[2J\\nxxx" in message and message.isprintable() and "x" * 100 not in message


def test_name_made_by_a_call_is_refused(tmp_path):
    """STACK_GLOBAL whose module is not a literal: cannot be known, so cannot be allowed."""
    code = b"\x80\x04cbuiltins\nstr\n)R\x8c\x06system\x93."
    assert "nothing in it was run" in refusal(write_pickle(tmp_path / "a.pth", code))


@pytest.mark.parametrize("name", ["read_checkpoint", "Checkpoint", "Path", "torch.save"])
def test_own_functions_are_never_reached(tmp_path, name):
    """A name of this package maps to a stand-in, though the real thing is one lookup away."""
    code = b"\x80\x02clib.utils.checkpoint\n" + name.encode() + b"\n)R."
    content = load_tensors(write_pickle(tmp_path / "a.pth", code))
    assert isinstance(content, StandIn)
    assert repr(content) == f"<stand-in for lib.utils.checkpoint.{name}>"


def test_own_function_as_the_target_of_a_call(tmp_path):
    """`save_checkpoint(path, {})` spelled as a pickle writes nothing."""
    target = tmp_path / "written"
    text = str(target).encode()
    code = b"clib.utils.checkpoint\nsave_checkpoint\nX" + len(text).to_bytes(4, "little") + text
    load_tensors(write_pickle(tmp_path / "a.pth", b"\x80\x02" + code + b"}\x86R."))
    assert not target.exists()


@pytest.mark.parametrize(
    "module",
    [
        pytest.param("library", id="prefix without a dot"),
        pytest.param("os.lib", id="in the middle"),
        pytest.param("", id="empty module, name begins with lib"),
        pytest.param("numpy.lib", id="numpy.lib"),
    ],
)
def test_names_that_only_resemble_ours(tmp_path, module):
    code = b"\x80\x02c" + module.encode() + b"\nlib.thing\n)R."
    assert "refused" in refusal(write_pickle(tmp_path / "a.pth", code))


def test_stand_ins_accept_any_state_and_do_nothing(tmp_path):
    """Arguments, BUILD with a tuple, a stand-in as argument of a stand-in; state as slots."""
    outer = b"clib.a\nB\n(K\x01clib.c\nD\n)RtR"
    state = b"(N}X\x09\x00\x00\x00__class__K\x05stb"
    content = load_tensors(write_pickle(tmp_path / "a.pth", b"\x80\x02" + outer + state + b"."))
    assert isinstance(content, StandIn) and type(content) is content.__class__
    assert content.state == (None, {"__class__": 5})


def test_stand_ins_do_not_stay_allowed(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    load_tensors(KIT / "checkpoint_small.pth.tar")
    assert set(torch.serialization.get_safe_globals()) == before


def test_protocol_4_without_anything_bad_says_so(tmp_path):
    message = refusal(write(tmp_path / "a.pth", {"net": {"w": torch.ones(1)}}, protocol=4))
    assert "default protocol" in message
