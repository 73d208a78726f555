"""lib/models/cuda_graph.py: what a CUDA device needs, checked without one."""

import pytest
import torch

from lib.models import cuda_graph
from lib.models.cuda_graph import rounded_batch


def test_batches_are_rounded_up_by_a_quarter_at_most():
    for targets in range(1, 1001):
        size = rounded_batch(targets)
        assert targets <= size <= 1.25 * targets, targets
        assert rounded_batch(size) == size, "a recorded size is not rounded again"


def test_few_sizes_are_recorded():
    assert {rounded_batch(targets) for targets in range(1, 9)} == set(range(1, 9))
    assert len({rounded_batch(targets) for targets in range(1, 129)}) == 24


def test_a_capture_does_not_fail_on_what_another_thread_does(monkeypatch):
    """A loader pins memory while a validation captures; mode "global" ends the run then."""
    asked = []

    class Capture:
        def __init__(self, graph, **options):
            asked.append(options)

        def __enter__(self):
            return None

        def __exit__(self, *error):
            return None

    class Stream:
        def wait_stream(self, other):
            return None

    class Nothing(Capture):
        def __init__(self, *arguments):
            return None

    stand_ins = {"Stream": Stream, "current_stream": Stream, "stream": Nothing, "graph": Capture}
    for name, stand_in in {**stand_ins, "device": Nothing, "CUDAGraph": Nothing}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    recorded = cuda_graph.Recorded(lambda x: (x,), torch.device("cpu"))
    with pytest.raises(AttributeError, match="replay"):  # there is nothing to replay here
        recorded(torch.zeros(2))
    assert asked == [{"capture_error_mode": "thread_local"}]
