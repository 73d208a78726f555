"""benchmarks/starts.py: which frames each start has, in which order."""

import numpy as np

from benchmarks.starts import starts
from lib.datasets.sequence import Video
from tests.helpers.memory_set import MemoryFrames


def test_three_starts():
    truth = np.array([[float(i), 0, 8, 8] for i in range(7)])
    truth[3, 2:] = truth[6, 2:] = 0  # the middle and the last frame have no box
    video = Video("a", MemoryFrames("a", 7), truth, visible=truth[:, 2] > 0)
    found = starts(video)
    assert [one.ground_truth[:, 0].tolist() for one in found] == [
        [0, 1, 2, 3, 4, 5, 6],
        [4, 5, 6],
        [5, 4, 3, 2, 1, 0],
    ]
    for one in found:
        assert len(one) == len(one.ground_truth)
        for i, (x, *_) in enumerate(one.ground_truth):
            assert one.frames.describe(i) == f"/memory/a/{int(x):08d}.jpg"
            assert one.frames.read(i).tolist() == video.frames.read(int(x)).tolist()
            assert one.visible[i] == (one.ground_truth[i, 2] > 0)
