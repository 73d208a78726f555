"""Tracking for a long time must not collect anything: 3,000 frames, flat memory."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, torch
from lib.datasets.sequence import Video
from lib.models.seqtrack import build_seqtrack
from lib.evaluation.sequence import run_sequence
from lib.tracker.seqtrack import SeqTrackTracker
from tests.helpers.tiny import draw_sequence, tiny_config

torch.set_num_threads(1)
frames, boxes = draw_sequence(50, width=640, height=480)

class Loop:
    def __len__(self): return 3000
    def read(self, i): return frames[i % 50].copy()
    def describe(self, i): return str(i)

updates = {"UPDATE_INTERVALS": {"DEFAULT": 1}, "UPDATE_THRESHOLD": {"DEFAULT": 0.0}}
cfg = tiny_config(TEST=updates)
tracker = SeqTrackTracker(build_seqtrack(cfg), cfg)
peaks = {}

def note(index, image, box):
    if index in (500, 2999):
        peaks[index] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

result = run_sequence(tracker, Video("loop", Loop(), boxes), on_frame=note)
print(len(result.boxes), peaks[500], peaks[2999])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read the Unix way")
def test_memory_is_flat_over_3000_frames():
    """The peak may grow by a tenth of what keeping one frame in ten would cost."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    count, early, late = (int(word) for word in done.stdout.split())
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes here
    print(f"peak after 500 frames {early * unit >> 20} MiB, after 3,000 {late * unit >> 20} MiB")
    assert count == 3000
    kept_one_in_ten = 250 * 640 * 480 * 3
    assert (late - early) * unit < kept_one_in_ten / 10
