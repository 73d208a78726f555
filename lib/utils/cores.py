"""How many cores this process may use, which can be far fewer than the machine has.

A scheduler gives a job some of the cores (its affinity), a container a share of their time (the
quota of its control group). Threads beyond that only wait for each other.
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int:
    """The cores of this process's affinity, or those that its container may use if fewer."""
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    else:
        there = os.cpu_count() or 1
    return max(1, min([there, *_quotas(groups, own)]))


def threads_are_given(env: Mapping[str, str]) -> bool:
    """Whether the environment says how many threads there are, as torchrun does for its workers."""
    return any(env.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))


def _quotas(groups: Path, own: Path) -> Iterator[int]:
    """Cores that each control group around this process allows, rounded up."""
    for folder in _group_folders(groups, own):
        # Version 2 has both numbers in one file, version 1 a file for each.
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                text = " ".join((folder / file).read_text(encoding="ascii") for file in files)
                used, period = (int(word) for word in text.split())
            except (OSError, ValueError):
                continue  # no such file, or `max`: no limit
            if used >= 0 and period > 0:
                yield math.ceil(used / period)


def _group_folders(groups: Path, own: Path) -> list[Path]:
    """Folders of the groups that limit this process, each with those above it."""
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    # In a container its own group is shown as the root, whatever `own` calls it.
    folders = [groups, groups / "cpu"]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = groups / "cpu" if controllers else groups
        inner = base / path.strip("/")
        folders += [inner, *(one for one in inner.parents if base in one.parents)]
    return folders
