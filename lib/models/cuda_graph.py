"""One launch instead of hundreds: a function of tensors, recorded once per set of shapes.

Starting a kernel costs the CPU some microseconds; the encoder and four decoder steps are several
hundred of them, longer to start than to run on a large GPU. A CUDA graph is started as a whole.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Key = tuple[tuple[torch.Size, torch.dtype] | None, ...]

# Graphs keep their memory. Batches of a whole benchmark come in a few sizes only.
_MOST = 16
_WARM_UPS = 3


def rounded_batch(targets: int) -> int:
    """The batch size that a step of so many targets is recorded for, so that there are few.

    Up to eight targets these are exact; above, there are four sizes up to every power of two, and
    a step computes at most a quarter more targets than it has.

    Example:
        >>> [rounded_batch(targets) for targets in (1, 2, 3, 5, 9, 33, 128)]
        [1, 2, 3, 5, 10, 40, 128]
    """
    grain = 1 << max(0, targets.bit_length() - 3)
    return -(-targets // grain) * grain


class _Graph:
    """The recording for one set of shapes."""

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        inputs: tuple[Tensor | None, ...],
        device: torch.device,
    ) -> None:
        self.inputs = [None if one is None else one.to(device, copy=True) for one in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # Libraries allocate and choose kernels the first times, which cannot be recorded.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        # "global", the default, lets a capture fail on what any other thread does meanwhile. In a
        # training the loader's thread goes on pinning memory while a validation captures.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = function(*self.inputs)

    def run(self, inputs: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        for own, new in zip(self.inputs, inputs, strict=True):
            if own is not None and new is not None:
                own.copy_(new, non_blocking=True)
        self.graph.replay()
        return self.outputs


class Recorded:
    """Calls a function on a CUDA device through recordings of it.

    Args:
        function: takes tensors (or None) and returns tensors; reads nothing on the CPU, and
            gives the same result for the same input.
        device: where it works.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], device: torch.device) -> None:
        self.function, self.device = function, device
        self.graphs: dict[Key, _Graph] = {}

    def __call__(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """The function's result, which the next call with such shapes overwrites.

        Args:
            inputs: on the device, or in pinned memory of the CPU.
        """
        key = tuple(None if one is None else (one.shape, one.dtype) for one in inputs)
        with torch.cuda.device(self.device):
            graph = self.graphs.pop(key, None)
            if graph is None:
                if len(self.graphs) >= _MOST:
                    del self.graphs[next(iter(self.graphs))]
                graph = _Graph(self.function, inputs, self.device)
            # Put back as the youngest.
            self.graphs[key] = graph
            return graph.run(inputs)
