"""Mistakes are made one at a time, and what notices them is told from what does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.operators import mutants

ROOT = Path(__file__).parents[2]
SOURCE = '''\
"""Words, and 1 number."""
import functools

@functools.lru_cache(maxsize=5)
def grade(x: "list[1]", most: int = 3) -> float:
    if not x or len(x) > most:
        raise ValueError(f"{1 + 1}")
    return max(x) * 0.5
'''
EXPECTED = """\
3 -> 4
not x or len(x) > most -> not (not x or len(x) > most)
not x or len(x) > most -> not x and len(x) > most
not x -> x
len(x) > most -> len(x) >= most
max(x) * 0.5 -> max(x) / 0.5
max -> min
0.5 -> 0.75
"""


def test_one_mistake_at_a_time() -> None:
    found = list(mutants(SOURCE, "grade.py"))
    texts = sorted(one.text.replace("  ->  ", " -> ") for one in found)
    assert texts == sorted(EXPECTED.splitlines())
    assert [one.line for one in found if one.text.startswith("3")] == [5]


def test_each_is_a_module_that_runs() -> None:
    names = [{} for _ in mutants(SOURCE, "grade.py")]
    for names_of, one in zip(names, mutants(SOURCE, "grade.py"), strict=True):
        exec(one.code, names_of)
    values = []
    for names_of in names:
        try:
            values.append(names_of["grade"]((2, 4)))
        except ValueError:
            values.append(None)
    # Of `most`, of `not (...)`, `and`, `not x`, `>=`, `/`, `min`, `0.75`; the right one gives 2.
    assert sorted(values, key=str) == sorted([2.0, None, 2.0, None, 2.0, 8.0, 1.0, 3.0], key=str)


CODE = """
from tests.mutation.campaign import campaign, prepare

prepare(["numpy"])
print(campaign({"lib.utils.boxes": ()}, 4, 0, print))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tests are forked as on Linux")
def test_what_examples_notice_and_what_they_do_not() -> None:
    """The examples in its docstrings are not all that is tested of boxes."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    *left, told, total = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    noticed, tried = map(int, total.strip("()").split(","))
    assert tried == 4 and 0 < noticed < 4 and len(left) == 4 - noticed
    assert told.startswith(f"lib.utils.boxes: {noticed} of 4 noticed, of ")
    assert all(line.startswith("  lib/utils/boxes.py:") for line in left)


def test_a_wrong_name_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/mutate.py", "--module", "lib.utils.boxs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "did you mean 'lib.utils.boxes'" in done.stderr
