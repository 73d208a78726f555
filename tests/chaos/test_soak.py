"""The watch over long work sees growth; a short stretch of each part does not grow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="memory is read as Linux tells it"
    ),
]

LEAKS = """
import threading, time
from tests.chaos.soak import Part, growth, watch

kept = []

def leak(count, folder, tell):
    for done in range(1, count + 1):
        kept.append((b"x" * (1 << 20), open(folder / "a", "a")))
        tell(done)
        time.sleep(0.03)

def still(count, folder, tell):
    for done in range(1, count + 1):
        # More in all than a pipe holds.
        print("x" * 2000)
        tell(done)
        time.sleep(0.03)

for work in (leak, still):
    print(*growth(list(watch(Part(work.__name__, 1, work), 80, 80))), sep=";")
"""


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_leaks_is_named() -> None:
    done = python("-c", LEAKS)
    leaks, still = done.stdout.splitlines()
    assert "memory grew" in leaks and "handles grew" in leaks, done.stderr
    assert still == ""


def test_a_short_stretch_of_each_part() -> None:
    done = python("scripts/soak.py", "--scale", "0.004", "--samples", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(",") for line in done.stdout.splitlines()]
    assert rows[0] == ["part", "done", "seconds", "memory_mib", "handles", "threads"]
    assert {row[0] for row in rows[1:]} == {"frames", "sequences", "steps", "requests"}
    assert all(float(row[3]) > 1 and int(row[4]) > 2 and int(row[5]) >= 1 for row in rows[1:])
