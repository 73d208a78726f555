"""What a run of the tests leaves out is listed at its end, in one process and in several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = """\
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("n", range(3))
def test_slow(n): pass

@pytest.mark.gpu
def test_gpu(): pass

@pytest.mark.parametrize("n", range(4))
def test_skipped(n): pytest.skip("there is no cat")

@pytest.mark.parametrize("n", range(5))
def test_runs(n): pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_was_not_run_is_listed_last(workers: str, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(SUITE)
    (tmp_path / "test_all.py").write_text(
        'import pytest\npytest.skip("there is no dog", allow_module_level=True)\n'
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow\n  gpu\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "SEQTRACK_"))}
    words = ["-p", "tests.conftest", "-n", workers, "-m", "not slow and not gpu", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(tmp_path / "pytest.ini"), *words],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    listed = done.stdout.rpartition("not run:")[2].splitlines()[1:]
    assert sorted(line.split(":")[0].strip() for line in listed) == [
        "1 marked gpu",
        "1 skipped",
        "3 marked slow",
        "4 skipped",
    ]
    assert any("there is no cat (" in line for line in listed)
    assert any("there is no dog (" in line for line in listed)
