"""Low-rank additions to frozen matrices, for fine-tuning with little memory (TRAIN.LORA_RANK).

    W becomes W + B A,  A (rank, inputs), B (outputs, rank), B starts at 0

Only A and B train: gradients and the optimizer's moments are as small as they are. `merged` adds
them up, so that what is tracked with and published is a plain network of the same names.
A parametrization holds them, because the decoder and some encoders of timm use their matrices
without calling a layer. Source: Hu et al., LoRA, ICLR 2022, without its factor: the learning rate
takes its place.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# What `DecoderAttention` calls the matrix of queries, keys and values.
_MATRICES = ("weight", "in_proj_weight")


class LowRank(nn.Module):
    """A matrix plus the product of two thin ones.

    Args:
        matrix: `(outputs, inputs)`.
        rank: of the product.
    """

    def __init__(self, matrix: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = matrix.shape
        self.a = nn.Parameter(matrix.new_empty(rank, inputs))
        self.b = nn.Parameter(matrix.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, matrix: Tensor) -> Tensor:
        """`(outputs, inputs)` of the matrix as it is used."""
        return matrix + self.b @ self.a


def add_low_rank(network: nn.Module, rank: int) -> int:
    """Give every frozen matrix of a linear layer or of the decoder's attention an addition.

    A matrix with a side of no more than `rank` is left alone: there is nothing to save.

    Returns:
        How many there are.
    """
    found = [
        (module, name)
        for module in network.modules()
        for name, matrix in module.named_parameters(recurse=False)
        if name in _MATRICES
        and (name != "weight" or isinstance(module, nn.Linear))
        and not matrix.requires_grad
        and min(matrix.shape) > rank
    ]
    for module, name in found:
        addition = LowRank(getattr(module, name), rank)
        # `unsafe` leaves out a trial of shapes, which a product of these shapes cannot fail.
        parametrize.register_parametrization(module, name, addition, unsafe=True)
    return len(found)


def merged(network: nn.Module) -> nn.Module:
    """The network with its low-rank additions added up: a copy, or itself where it has none."""
    if not any(map(parametrize.is_parametrized, network.modules())):
        return network
    plain = copy.deepcopy(network)
    for module in filter(parametrize.is_parametrized, list(plain.modules())):
        with torch.no_grad():
            matrices = {name: getattr(module, name) for name in module.parametrizations}
        # Not `remove_parametrizations`: it changes the class, which the copy shares.
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        for name, matrix in matrices.items():
            module.register_parameter(name, nn.Parameter(matrix, requires_grad=False))
    return plain
