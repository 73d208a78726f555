"""Numbers on the command line, and the last words of a command that was interrupted."""

import argparse
import sys
from types import SimpleNamespace

import pytest

from lib.commands import analyze, report
from lib.commands import test as evaluate
from lib.commands.entry import Terminated, count, positive, run


def test_numbers_are_taken():
    assert [positive("1"), positive("010"), count("0")] == [1, 10, 0]


@pytest.mark.parametrize("text", ["-1", "0", "00", "two", "1.5", "", "\u0663"])
def test_what_is_not_above_zero_is_told_so(text):
    """Someone who is told `from 0 on` tries 0 next."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number above zero"):
        positive(text)


@pytest.mark.parametrize("text", ["-1", "two", "1.5"])
def test_where_zero_is_taken_it_is_named(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 0 on"):
        count(text)


@pytest.mark.parametrize("kind", [count, positive])
def test_a_number_that_no_library_holds_is_refused(kind):
    with pytest.raises(argparse.ArgumentTypeError, match="is larger than"):
        kind("9" * 20)


@pytest.mark.parametrize(
    ("signal", "code", "word"),
    [(KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "terminated")],
)
@pytest.mark.parametrize("saves", [True, False])
def test_only_a_command_that_saves_says_so(signal, code, word, saves, monkeypatch, capsys):
    def main(argv):
        raise signal

    marks = {"SAVES_AS_IT_GOES": True} if saves else {}
    monkeypatch.setitem(sys.modules, "stand_in", SimpleNamespace(main=main, **marks))
    assert run("stand_in", []) == code
    rest = ": everything finished so far is saved" if saves else ""
    assert capsys.readouterr().err == f"{word}{rest}\n"


def test_who_saves_as_it_goes():
    """Tables and pages are written at the end."""
    assert evaluate.SAVES_AS_IT_GOES
    assert not any(hasattr(command, "SAVES_AS_IT_GOES") for command in (analyze, report))
