"""A network made ready to track: weights that never change again, laid out for the machine once.

On CPUs with oneDNN the weights are kept in the order in which its kernels read them. On a
Zen 4 core this reaches 105 GFLOP/s in fp32 where PyTorch's ordinary linear reaches 85.
"""

import copy
import math

import timm.layers
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.config.schema import Config
from lib.models.blocks import Mlp
from lib.models.encoder import VisionTransformer
from lib.models.extras import STRIDE, ConvStem
from lib.models.lite import Inverted, LiteStem
from lib.models.seqtrack import SeqTrack, configured
from lib.models.timm_encoder import TimmEncoder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Below this many multiplications the call costs more than what the order of weights saves.
_WORTH_PACKING = 1 << 24
# Its kernels take rows by so many, and an incomplete last group slows all of them: 261 rows take 10
# to 15 % longer than 264.
_ROWS = 8
# So many images go through a stem of inverted blocks at a time: what is between its layers, 2 MB
# for each, then stays near the processor and need not be new memory in each layer.
_IMAGES = 8
# Those whose activation takes all that the first layer gives.
_MLPS = (Mlp, timm.layers.Mlp)
# Activations that may be part of a convolution.
_ACTIVATIONS = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.GELU: "gelu"}


def prepare(network: SeqTrack, cfg: Config, precision: str = "fp32") -> SeqTrack:
    """A copy of a network for tracking: the same numbers up to the order of sums, in less time.

    Linear layers of the blocks are packed or cast, batch norms become part of the convolutions
    before them. Where that changes no weight, the copy has those of `network` itself.

    Args:
        network: on its device; it stays as it is.
        cfg: how the copy is fed and read out.
        precision: of the matrix products in the encoder's blocks; norms and sums stay in float32.
    """
    made, dtype = configured(network, cfg), DTYPES[precision]
    body = made.encoder.body
    rows = body.search_tokens + body.template_tokens
    for block in body.blocks:
        attention, mlp = getattr(block, "attn", None), getattr(block, "mlp", None)
        if getattr(attention, "q_bias", None) is not None:
            _join_biases(attention)
        factors = _take_scales(block)
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                block.set_submodule(name, PackedLinear(layer, rows, dtype, factors.get(name)))
            elif "." in name and name.endswith("norm"):
                block.set_submodule(name, _cast(layer, dtype))  # within attention and MLP
        if type(mlp) in _MLPS and type(mlp.act) is nn.GELU and mlp.act.approximate == "none":
            mlp.fc1.gelu, mlp.act = True, nn.Identity()
    if isinstance(body, TimmEncoder) and any(is_packed(one) for one in body.modules()):
        body.row_group = _ROWS
    if isinstance(body, VisionTransformer):
        side = 2 * math.isqrt(body.search_tokens)  # of the features
        stem = body.patch_embed
        if isinstance(stem, LiteStem):
            _fold_lite(stem, STRIDE * side)
        elif isinstance(stem, ConvStem):
            stem.layers = fold(stem.layers, STRIDE * side)
            stem.proj = PackedConv(stem.proj, None, "none", side)
        if (module := body.correlation) is not None:
            module.refine, module.mix = (fold(x, side) for x in (module.refine, module.mix))
            module.match = PackedConv(module.match, None, "none", side)
    return made


def _cast(layer: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy; `Module.to` would change the parameters, which the network shares, in their place."""
    cast = {id(p): nn.Parameter(p.detach().to(dtype), False) for p in layer.parameters()}
    return copy.deepcopy(layer, cast)


def _join_biases(attention: nn.Module) -> None:
    """Let the layer `qkv` of timm's EvaAttention have the biases that it is computed with."""
    biases = (attention.q_bias, attention.k_bias, attention.v_bias)
    attention.qkv.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    attention.q_bias = attention.k_bias = attention.v_bias = None


def _take_scales(block: nn.Module) -> dict[str, Tensor]:
    """Take LayerScale out of a block of timm; returns its factors by the layer before it.

    Only on a CPU, where the weights of these layers are copied anyway.
    """
    factors, layers = {}, dict(block.named_modules())
    for name, before in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
        scale = layers.get(name)
        known = type(scale) is timm.layers.LayerScale and type(layers.get(before)) is nn.Linear
        if known and scale.gamma.device.type == "cpu":
            factors[before] = scale.gamma.detach()
            block.set_submodule(name, nn.Identity())
    return factors


def _fold_lite(stem: LiteStem, side: int) -> None:
    """Replace the convolutions of a stem, for images of that side."""
    if stem.proj.weight.device.type == "cpu":
        stem.at_once = _IMAGES
    stem.first = fold(stem.first, side)
    side //= 2
    for block in [one for one in [*stem.early, *stem.late] if isinstance(one, Inverted)]:
        block.layers = fold(block.layers, side)
        side //= block.stride
    stem.lateral = PackedConv(stem.lateral, None, "none", 2 * side)
    stem.top = PackedConv(stem.top, None, "none", side)
    stem.proj = PackedConv(stem.proj, None, "none", side)


class PackedLinear(nn.Module):
    """A linear layer whose weights are laid out for the machine, and on request GELU of it.

    The weights are copied only where they are reordered or converted.

    Args:
        layer: weight `(K, C)` and bias.
        rows: how many vectors will usually be multiplied at once.
        dtype: precision of the product; the result has it too.
        factor: `(K,)` to multiply the result by, or None.

    Attributes:
        gelu: whether the exact GELU follows.
    """

    def __init__(
        self, layer: nn.Linear, rows: int, dtype: torch.dtype, factor: Tensor | None = None
    ) -> None:
        super().__init__()
        self.dtype, self.gelu = dtype, False
        weight, bias = layer.weight.detach(), layer.bias
        bias = None if bias is None else bias.detach()
        if factor is not None:
            weight, bias = weight * factor[:, None], None if bias is None else bias * factor
        weight = weight.to(dtype)
        packed = _packed(weight, rows)
        self.packed = packed is not None
        self.register_buffer("weight", weight if packed is None else packed, persistent=False)
        bias = None if bias is None else bias.to(dtype)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `(..., C)`; returns `(..., K)`."""
        if self.packed:
            after = ("gelu", [], "none") if self.gelu else ("none", [], "")
            rows = x.shape[:-1]
            if more := -rows.numel() % _ROWS:
                x = F.pad(x.flatten(0, -2), (0, 0, 0, more))
            y = torch.ops.mkldnn._linear_pointwise.default(x, self.weight, self.bias, *after)
            return y[: rows.numel()].unflatten(0, rows) if more else y
        y = F.linear(x.to(self.dtype), self.weight, self.bias)
        return F.gelu(y) if self.gelu else y


def is_packed(module: nn.Module) -> bool:
    """Whether it is a linear layer in oneDNN's order."""
    return isinstance(module, PackedLinear) and module.packed


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
        torch.ops.mkldnn._linear_pointwise.default(probe, packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        # Not every build has these operators, which PyTorch's own compiler uses.
        return None
    return packed


def fold(layers: nn.Sequential, side: int) -> nn.Sequential:
    """A sequence of layers with batch norms and activations as part of the convolutions.

    Args:
        layers: in evaluation mode.
        side: of the images that usually come.
    """
    found: list[nn.Module] = []
    parts = list(layers)
    while parts:
        layer = parts.pop(0)
        strides = [x.stride[0] for x in layer.modules() if isinstance(x, nn.Conv2d)]
        if isinstance(layer, nn.Sequential):
            layer = fold(layer, side)
        elif isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
            norm = parts.pop(0) if parts and isinstance(parts[0], nn.BatchNorm2d) else None
            exact = parts and getattr(parts[0], "approximate", "none") == "none"
            after = _ACTIVATIONS.get(type(parts[0])) if exact else None
            layer = PackedConv(layer, norm, after or "none", side)
            if after is not None:
                parts.pop(0)
        side //= math.prod(strides)
        found.append(layer)
    return nn.Sequential(*found)


class PackedConv(nn.Module):
    """A convolution with the batch norm and the activation that follow it; see `PackedLinear`.

    Args:
        conv: the layer, with zeros as padding.
        norm: what follows it, in evaluation mode, or None.
        after: `none`, `relu`, `relu6` or `gelu`.
        side: of the images that usually come.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, after: str, side: int) -> None:
        super().__init__()
        weight, bias = conv.weight.detach(), conv.bias
        bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        if norm is not None:
            factor = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
            weight = weight * factor[:, None, None, None]
            bias = norm.bias.detach() + (bias - norm.running_mean) * factor
        self.shape = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.after = after
        packed = self._pack(weight, bias, side)
        self.packed = packed is not None
        self.register_buffer("weight", weight if packed is None else packed, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def _pack(self, weight: Tensor, bias: Tensor, side: int) -> Tensor | None:
        """As `_packed`, for a convolution."""
        on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
        if not on_cpu or not torch.backends.mkldnn.is_available():
            return None
        try:
            # Without the size of the input the order is one that every call changes first.
            size = [1, weight.shape[1] * self.shape[3], side, side]
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.shape, size)
            self._pointwise(torch.zeros(size), packed, bias)
        except (AttributeError, RuntimeError):
            return None
        return packed

    def _pointwise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        kinds: dict[str, tuple[str, list[float], str]] = {
            "relu6": ("hardtanh", [0.0, 6.0], ""),
            "gelu": ("gelu", [], "none"),
        }
        after = kinds.get(self.after, (self.after, [], ""))
        return torch.ops.mkldnn._convolution_pointwise.default(x, weight, bias, *self.shape, *after)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, K, h, w)`."""
        if self.packed:
            return self._pointwise(x, self.weight, self.bias)
        padding, stride, dilation, groups = self.shape
        y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        kinds = {"none": lambda z: z, "relu": F.relu, "relu6": F.relu6, "gelu": F.gelu}
        return kinds[self.after](y)
