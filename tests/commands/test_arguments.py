"""Numbers on the command line, and the last words of a command that was interrupted."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.commands._options import count, positive
from lib.commands.entry import Terminated, keeps, run

ROOT = Path(__file__).parents[2]


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
@pytest.mark.parametrize("what", ["", "finished sequences are saved"])
def test_an_interruption_says_what_is_kept(signal, code, word, what, monkeypatch, capsys):
    def main(argv):
        if not what:
            raise signal
        with keeps(what):
            raise signal

    monkeypatch.setitem(sys.modules, "stand_in", SimpleNamespace(main=main))
    assert run("stand_in", []) == code
    rest = f": {what}" if what else ""
    assert capsys.readouterr().err == f"{word}{rest}\n"


LAST_WORDS = """
import atexit, sys
from types import SimpleNamespace
from lib.commands.entry import run_and_leave

def main(words):
    sys.stdout.write("said")
    if words[0] == "exit":
        sys.exit(5)
    if words[0] == "text":
        sys.exit("what is wrong")
    return 3

atexit.register(print, ", late")
sys.modules["stand_in"] = SimpleNamespace(main=main)
run_and_leave("stand_in", sys.argv[1:])
"""


@pytest.mark.parametrize(("word", "code"), [("return", 3), ("exit", 5), ("text", 1)])
@pytest.mark.parametrize("rank", [None, "1"])
def test_one_of_several_processes_leaves_before_python_is_taken_down(word, code, rank):
    """Else a thread of torch that comes late aborts it, and the launcher gets another code."""
    env = {name: value for name, value in os.environ.items() if name != "RANK"}
    env |= {} if rank is None else {"RANK": rank}
    command = [sys.executable, "-c", LAST_WORDS, word]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    at_once = rank is not None and word != "text"
    assert done.stdout == ("said" if at_once else "said, late\n"), done.stderr
    assert done.returncode == code
