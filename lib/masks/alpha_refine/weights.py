"""The released mask network from its file, in PyTorch's old format or the present one."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lib.masks.alpha_refine.network import AlphaRefine
from lib.models.signature import NetworkSignature
from lib.models.weights import state_differences
from lib.utils.checkpoint import read_state_dict
from lib.utils.errors import CheckpointError

# Its first size is a quarter of the reference's cells, the second all of them.
_SIZE_KEY = "neck.channel_attention.fc1.weight"
_ADVICE = "; ARnet_seg_mask of the VOT2020 challenge is needed, see external/AR/README.md"


def load_alpha_refine(path: Path | str) -> AlphaRefine:
    """The network with the weights of a file, on the CPU, in evaluation mode.

    Its size comes from the file; every key must fit.

    Raises:
        CheckpointError: the file is missing, unsafe, damaged or of another network.
    """
    state = read_state_dict(path)
    with torch.device("meta"):
        network = AlphaRefine(_pool_size(path, state))
    own = network.state_dict()
    if differences := state_differences(own, state):
        raise CheckpointError(
            f"{path} does not fit the mask network: {'; '.join(differences)}{_ADVICE}"
        )
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _pool_size(path: Path | str, state: Mapping[str, Tensor]) -> int:
    if NetworkSignature.of(state):
        raise CheckpointError(
            f"{path} holds a SeqTrack tracker, not the mask network that follows it{_ADVICE}"
        )
    shape = tuple(state[_SIZE_KEY].shape) if _SIZE_KEY in state else ()
    if len(shape) != 4:
        what = f"{_SIZE_KEY} has the shape {shape}" if shape else f"there is no {_SIZE_KEY}"
        raise CheckpointError(f"{path} is not a mask-only Alpha-Refine network: {what}{_ADVICE}")
    side = math.isqrt(shape[1])
    if side * side != shape[1] or side < 2:
        raise CheckpointError(
            f"{path} cannot be used: its reference has {shape[1]} cells ({_SIZE_KEY}), which is "
            f"no square of 4 or more{_ADVICE}"
        )
    return side
