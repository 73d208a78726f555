"""What every command begins with."""

import os

import pytest

from lib.commands.entry import run

VARIABLE = "THP_MEM_ALLOC_ENABLE"


@pytest.mark.parametrize(("before", "expected"), [(None, "1"), ("0", "0")])
def test_large_pages_are_asked_for_unless_the_environment_says_otherwise(
    monkeypatch, tmp_path, before, expected
):
    monkeypatch.setenv(VARIABLE, "of another test")
    monkeypatch.delenv(VARIABLE)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    (tmp_path / "large_pages_command.py").write_text(
        f"import os\n\ndef main(argv):\n    return int(os.environ['{VARIABLE}'] + '3')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert run("large_pages_command") == int(expected + "3")
    assert os.environ[VARIABLE] == expected
