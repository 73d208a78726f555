"""A device that runs out of memory, which needs no device: PyTorch's error at a given call."""

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.chaos.faults import Fault


class FaultyDevice:
    """Counts calls of modules of networks, and has no memory left at the one that a fault says.

    It stays as long as the process.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault, self.count = fault, 0
        register_module_forward_pre_hook(self._called)

    def _called(self, module: torch.nn.Module, inputs: object) -> None:
        number = self.count
        self.count += 1
        if self.fault.kind == "memory" and number == self.fault.at:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 8 GiB"
            )
