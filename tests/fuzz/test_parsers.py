"""Each reader on a few damaged files, in this process; `scripts/fuzz.py` tries many more."""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lib.utils.errors import ConfigError
from tests.fuzz.campaign import chosen
from tests.fuzz.mutation import MOST_BYTES, mutated
from tests.fuzz.parsers import PARSERS
from tests.fuzz.sandbox import GOOD, Guard, Parser, attempt

Files = list[tuple[Path, bytes]]
# Data sets of hundreds of sequences, of which each is looked for.
_LONG = ("truth-", "training-")
_OF_THEM = ("truth-folder", "truth-lasot", "training-COCO17")


def rows() -> Iterator[ParameterSet]:
    for parser in PARSERS:
        is_long = parser.name.startswith(_LONG) and parser.name not in _OF_THEM
        # A file made on purpose can end the process that maps it (docs/reliability.md).
        if parser.name != "lmdb":
            marks = [pytest.mark.slow] if is_long else []
            yield pytest.param(parser, id=parser.name, marks=marks)


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard()


@pytest.fixture(scope="module")
def files_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Parser], tuple[Path, Files]]:
    made: dict[str, tuple[Path, Files]] = {}

    def files(parser: Parser) -> tuple[Path, Files]:
        if parser.name not in made:
            folder = tmp_path_factory.mktemp(parser.name)
            paths = parser.make(folder)
            made[parser.name] = folder, [(path, path.read_bytes()) for path in paths]
        return made[parser.name]

    return files


@pytest.mark.skipif(sys.platform == "win32", reason="paths of Unix are watched")
@pytest.mark.parametrize("parser", rows())
def test_a_damaged_file_is_read_or_refused(parser: Parser, files_of, guard: Guard) -> None:
    folder, files = files_of(parser)
    for path, _ in files:
        assert attempt(parser, folder, path, guard) == ("value", "")

    few = 3 if parser.name.startswith((*_LONG, "video", "pack")) else 8

    # A smaller input that fails would be found by reading some hundred more.
    @settings(max_examples=few, derandomize=True, database=None, phases=[Phase.generate])
    @given(rng=st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        path, valid = files[rng.randrange(len(files))]
        path.write_bytes(mutated(rng, valid, parser.words))
        try:
            kind, text = attempt(parser, folder, path, guard)
        finally:
            path.write_bytes(valid)
        assert kind in GOOD, text

    check()


def test_the_same_seed_is_the_same_damage() -> None:
    one, two, other = (mutated(random.Random(seed), b"1,2,3,4\n" * 9) for seed in (5, 5, 6))
    assert one == two != other


@given(seed=st.integers(0, 10_000), data=st.binary(max_size=40))
def test_damage_has_bounds(seed: int, data: bytes) -> None:
    assert len(mutated(random.Random(seed), data, (b"word",))) <= MOST_BYTES


def test_names() -> None:
    names = [parser.name for parser in PARSERS]
    assert len(names) == len(set(names))
    with pytest.raises(ConfigError, match="did you mean 'results'"):
        chosen("result")
