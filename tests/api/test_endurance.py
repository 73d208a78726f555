"""Tracking without an end must not collect anything: memory, threads and files stay flat."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, threading
import torch
from lib.tracker.spec import TrackerSpec
from seqtrack import Tracker
from tests.helpers.tiny import draw_sequence, tiny_config

torch.set_num_threads(1)
images, _ = draw_sequence(50, width=320, height=240)
updates = {"UPDATE_INTERVALS": {"DEFAULT": 1}, "UPDATE_THRESHOLD": {"DEFAULT": 0.0}}
spec = TrackerSpec("seqtrack", "tiny", tiny_config(TEST=updates), cpu_threads=1)

def endless():
    number = 0
    while True:
        yield images[number % 50].copy()
        number += 1

def used():
    with open("/proc/self/statm") as stream:
        pages = int(stream.read().split()[1])
    size = os.sysconf("SC_PAGE_SIZE")
    return pages * size, threading.active_count(), len(os.listdir("/proc/self/fd"))

with Tracker(spec, device="cpu") as tracker:
    for result in tracker.stream(endless(), [(10, 20, 18, 14), (100, 80, 40, 30)]):
        if result.frame % 10 == 3:
            tracker.add(f"guest {result.frame}", (30, 30, 40, 40))
        if result.frame % 10 == 7:
            tracker.remove(f"guest {result.frame - 4}")
        if result.frame in (2_000, 19_999):
            print(*used())
        if result.frame == 19_999:
            break
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read the Linux way")
def test_20000_frames_of_an_endless_source_leave_nothing_behind():
    """Guests join and leave. Memory may grow by a fourth of what one frame in a hundred takes."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    early, late = ([int(word) for word in line.split()] for line in done.stdout.splitlines())
    print(f"after 2,000 frames {early[0] >> 20} MiB, {early[1]} threads, {early[2]} files; after")
    print(f"20,000 {late[0] >> 20} MiB, {late[1]} threads, {late[2]} files")
    assert early[1:] == late[1:]
    one_in_a_hundred = 180 * 320 * 240 * 3
    assert late[0] - early[0] < one_in_a_hundred / 4
