"""One launch instead of hundreds: a function of tensors, recorded once per set of shapes.

Starting a kernel costs the CPU some microseconds; the encoder and four decoder steps are several
hundred of them, longer to start than to run on a large GPU. A CUDA graph is started as a whole.

`GraphRecorder` is all that needs a GPU. What is recorded when, and what a recording reads and
overwrites, is decided by `Recorded`, which takes any `Record` and so is tested on the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = tuple[Tensor | None, ...]
Function = Callable[..., tuple[Tensor, ...]]
# Runs the recording on what its inputs hold now. Its outputs are overwritten by the next run of
# any recording of the same recorder.
Replay = Callable[[], tuple[Tensor, ...]]
Record = Callable[[Function, Inputs], Replay]
Key = tuple[tuple[torch.Size, torch.dtype] | None, ...]

# Two for each of the 24 sizes up to 128 targets: with equal templates, and with different ones.
MOST_RECORDINGS = 48
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


class GraphRecorder:
    """Records functions as CUDA graphs, which share one pool of memory.

    A recording then needs no more memory than the largest one has taken already. The price: a
    replay may overwrite what another recording has returned.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device):
            self.pool = torch.cuda.graph_pool_handle()
            # PyTorch's own stream for captures is one per process, on the first device it met.
            self.stream = torch.cuda.Stream()

    def __call__(self, function: Function, inputs: Inputs) -> Replay:
        """Record `function(*inputs)`; a replay reads these very tensors again."""
        with torch.cuda.device(self.device):
            self.stream.wait_stream(torch.cuda.current_stream())
            # Libraries allocate and choose kernels the first times, which cannot be recorded.
            with torch.cuda.stream(self.stream):
                for _ in range(_WARM_UPS):
                    function(*inputs)
            torch.cuda.current_stream().wait_stream(self.stream)
            graph = torch.cuda.CUDAGraph()
            # "global", the default, lets a capture fail on what any other thread does meanwhile.
            # In a training the loader's thread pins memory while a validation captures.
            with torch.cuda.graph(
                graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
            ):
                outputs = function(*inputs)

        def replay() -> tuple[Tensor, ...]:
            graph.replay()
            return outputs

        return replay


@dataclass(eq=False)
class _Buffer:
    """Memory on the device that recordings read an input from.

    Attributes:
        tensor: of the largest batch so far.
        holds: the tensor that was last copied to its beginning.
    """

    tensor: Tensor
    holds: Tensor | None = None

    def fill(self, new: Tensor, unchanged: bool) -> None:
        """Copy `new` to the beginning, unless it is there and `unchanged` since."""
        if unchanged and self.holds is new:
            return
        self.tensor[: len(new)].copy_(new, non_blocking=True)
        self.holds = new


@dataclass(frozen=True)
class _Recording:
    buffers: tuple[_Buffer | None, ...]
    replay: Replay


class Recorded:
    """Calls a function on a device through recordings of it, one for each set of shapes.

    Recordings for smaller batches read their inputs from the buffers of larger ones.

    Args:
        function: takes tensors (or None) whose first axis is the batch, and returns tensors;
            reads nothing on the CPU, and gives the same result for the same input.
        record: records it.
        device: where it works.
        rewritten: how many of the first inputs may be written to between two calls. The others
            never change, so one that is the same tensor as in the last call is not copied again.
    """

    def __init__(
        self, function: Function, record: Record, device: torch.device, rewritten: int = 1
    ) -> None:
        self.function, self.record, self.device = function, record, device
        self.rewritten = rewritten
        self.recordings: dict[Key, _Recording] = {}
        self._largest: dict[tuple[int, torch.Size, torch.dtype], _Buffer] = {}

    def __call__(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """The function's result, which the next call with this recorder overwrites.

        Args:
            inputs: on the device, or in pinned memory of the CPU.
        """
        key = tuple(None if one is None else (one.shape, one.dtype) for one in inputs)
        recording = self.recordings.pop(key, None)
        buffers = self._buffers(inputs) if recording is None else recording.buffers
        for position, (buffer, new) in enumerate(zip(buffers, inputs, strict=True)):
            if buffer is not None and new is not None:
                buffer.fill(new, unchanged=position >= self.rewritten)
        if recording is None:
            if len(self.recordings) >= MOST_RECORDINGS:
                # The one that was not used for the longest time.
                del self.recordings[next(iter(self.recordings))]
            views = tuple(
                None if buffer is None or one is None else buffer.tensor[: len(one)]
                for buffer, one in zip(buffers, inputs, strict=True)
            )
            recording = _Recording(buffers, self.record(self.function, views))
        # Put back as the youngest.
        self.recordings[key] = recording
        return recording.replay()

    def _buffers(self, inputs: Inputs) -> tuple[_Buffer | None, ...]:
        """One that is large enough for each input."""
        found: list[_Buffer | None] = []
        for position, one in enumerate(inputs):
            if one is None:
                found.append(None)
                continue
            key = (position, one.shape[1:], one.dtype)
            buffer = self._largest.get(key)
            if buffer is None or len(buffer.tensor) < len(one):
                buffer = _Buffer(torch.empty_like(one, device=self.device))
                self._largest[key] = buffer
            found.append(buffer)
        return tuple(found)
