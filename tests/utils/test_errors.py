"""A device that is out of memory is one line, whichever command it meets."""

import sys
from types import ModuleType

import pytest
import torch

from lib.commands.entry import run
from lib.utils.errors import out_of_memory

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


def command(monkeypatch: pytest.MonkeyPatch, error: Exception) -> str:
    """The name of a module whose `main` raises an error."""

    def main(argv: object) -> int:
        raise error

    module = ModuleType("command_that_fails")
    module.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_a_command_that_needs_too_much_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(monkeypatch, FULL), []) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: CUDA out of memory; end what else uses the device")
    assert said.count("\n") == 1 and "--batch-size" in said


def test_any_other_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="a mistake"):
        run(command(monkeypatch, RuntimeError("a mistake")), [])


def test_what_is_said_of_it() -> None:
    assert out_of_memory(torch.OutOfMemoryError()).startswith("the device is out of memory; ")
    assert out_of_memory(RuntimeError("out of memory, it says")) is None
