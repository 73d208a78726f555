"""A short campaign finds nothing, and finds what is planted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="processes are forked as on Linux"
    ),
]


def chaos(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/chaos.py", *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_lost() -> None:
    done = chaos("--rounds", "9", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("0 lost something")


@pytest.mark.parametrize(
    ("planted", "task", "said"),
    [
        pytest.param("half-file", "packing", "bytes that are not the", id="half a file"),
        pytest.param("skipped-sample", "training", "is another", id="a skipped sample"),
    ],
)
def test_what_is_planted_is_found(planted: str, task: str, said: str) -> None:
    done = chaos("--rounds", "16", "--seed", "7", "--plant", planted, "--task", task)
    assert done.returncode == 1, done.stdout + done.stderr
    assert any("LOST" in line and said in line for line in done.stdout.splitlines()), done.stdout


def test_one_kind_of_fault_alone() -> None:
    done = chaos("--rounds", "3", "--seed", "7", "--task", "packing", "--fault", "kill")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 rounds (3 killed)" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--task", "packin"], "did you mean 'packing'", id="task"),
        pytest.param(["--fault", "kil"], "did you mean 'kill'", id="fault"),
        pytest.param(["--task", "packing", "--fault", "memory"], "there are kill", id="not here"),
    ],
)
def test_a_wrong_name_is_one_line(options: list[str], said: str) -> None:
    from tests.chaos.campaign import main

    with pytest.raises(ConfigError, match=said):
        main(options)
