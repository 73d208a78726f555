"""The cores of this process: affinity and the quotas of control groups, as Linux shows them."""

import ast
from pathlib import Path

import pytest

from lib.utils.cores import usable_cores

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def eight(monkeypatch):
    """A job that was given 8 cores of a machine of 128."""
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        pytest.param("0::/", {}, 8, id="affinity alone"),
        pytest.param("0::/", {"cpu.max": "max 100000"}, 8, id="no limit"),
        pytest.param("0::/", {"cpu.max": "250000 100000"}, 3, id="a container with 2.5 cores"),
        pytest.param("0::/", {"cpu.max": "1600000 100000"}, 8, id="more than there are"),
        pytest.param("0::/", {"cpu.max": "0 100000"}, 1, id="at least one"),
        pytest.param("0::/", {"cpu.max": "something else"}, 8, id="another format"),
        pytest.param("0::/host/name", {"cpu.max": "200000 100000"}, 2, id="named by the host"),
        pytest.param("0::/a/b", {"a/b/cpu.max": "300000 100000"}, 3, id="a group of the job"),
        pytest.param(
            "0::/a/b",
            {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"},
            2,
            id="the group around it",
        ),
        pytest.param("0::/a", {"b/cpu.max": "200000 100000"}, 8, id="another one's group"),
        pytest.param(
            "5:memory:/m\n4:cpu,cpuacct:/a",
            {"cpu/a/cpu.cfs_quota_us": "400000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            4,
            id="version 1",
        ),
        pytest.param(
            "4:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            8,
            id="version 1 without a limit",
        ),
        pytest.param(None, {"cpu.max": "200000 100000"}, 2, id="no list of groups"),
    ],
)
def test_fewer_of_affinity_and_quota(own, files, cores, tmp_path):
    if own is not None:
        (tmp_path / "own").write_text(own + "\n")
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert usable_cores(tmp_path / "groups", tmp_path / "own") == cores


def test_a_system_without_affinity(monkeypatch, tmp_path):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert usable_cores(tmp_path, tmp_path / "own") == 6


def test_nobody_counts_cores_otherwise():
    """`os.cpu_count` is all cores of the machine, also where a job has two of them."""
    counting = {"cpu_count", "sched_getaffinity", "process_cpu_count"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("lib", "scripts", "tracking")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in counting
    ]
    assert [one for one in found if not one.startswith("lib/utils/cores.py")] == []
