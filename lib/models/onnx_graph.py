"""Writing an ONNX graph layer by layer.

The graph is written down, not traced: a network of this project is some twenty operators, and
what is written is what runs, with any release of PyTorch, in a second instead of minutes.
`Value` stands for an array in the graph and knows the usual operators.
Source of the operators: the ONNX standard, opset 20.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.packed import check_convolution, unknown_layer
from lib.utils.advice import extra
from lib.utils.errors import MissingExtraError

OPSET = 20
_IR_VERSION = 10

Number = int | float
# Names of the free sizes of an input or output, or its fixed ones.
Shape = Sequence[int | str]


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError(
            f"to export a network the package onnx is needed: {extra('onnx')}, or "
            "pip install onnx onnxruntime"
        ) from None
    return onnx


class Value:
    """An array of a graph, by its name."""

    def __init__(self, graph: "Graph", name: str) -> None:
        self.graph, self.name = graph, name

    def _with(self, kind: str, other: "Value | Tensor | Number") -> "Value":
        return self.graph.op(kind, self, other)

    def __add__(self, other: "Value | Tensor | Number") -> "Value":
        """Sum, with broadcasting; so the others."""
        return self._with("Add", other)

    def __sub__(self, other: "Value | Tensor | Number") -> "Value":
        return self._with("Sub", other)

    def __mul__(self, other: "Value | Tensor | Number") -> "Value":
        return self._with("Mul", other)

    def __truediv__(self, other: "Value | Tensor | Number") -> "Value":
        return self._with("Div", other)

    def __matmul__(self, other: "Value | Tensor") -> "Value":
        return self._with("MatMul", other)

    def reshape(self, *shape: int) -> "Value":
        """Another shape; 0 keeps a size, -1 is what is left."""
        return self.graph.op("Reshape", self, self.graph.whole(shape))

    def transpose(self, *order: int) -> "Value":
        """Axes in another order."""
        return self.graph.op("Transpose", self, perm=list(order))

    def unsqueeze(self, *axes: int) -> "Value":
        """New axes of size 1."""
        return self.graph.op("Unsqueeze", self, self.graph.whole(axes))

    def slice(self, axis: int, start: int, end: int) -> "Value":
        """`start` to `end - 1` along an axis."""
        whole = self.graph.whole
        return self.graph.op("Slice", self, whole([start]), whole([end]), whole([axis]))

    def split(self, parts: int) -> list["Value"]:
        """Equal parts along the last axis."""
        return self.graph.ops("Split", self, outputs=parts, axis=-1, num_outputs=parts)

    def mean(self, *axes: int, keep: bool) -> "Value":
        """Mean over axes."""
        return self.graph.op("ReduceMean", self, self.graph.whole(axes), keepdims=int(keep))

    def sum(self, *axes: int, keep: bool) -> "Value":
        """Sum over axes."""
        return self.graph.op("ReduceSum", self, self.graph.whole(axes), keepdims=int(keep))

    def clip(self, low: Number, high: Number = math.inf) -> "Value":
        """Not below `low`, not above `high`."""
        return self.graph.op("Clip", self, low, high)

    def relu(self) -> "Value":
        """What is above zero."""
        return self.graph.op("Relu", self)

    def softmax(self) -> "Value":
        """Over the last axis."""
        return self.graph.op("Softmax", self, axis=-1)

    def cast(self, dtype: str) -> "Value":
        """As `float`, `double` or `int64`."""
        return self.graph.op("Cast", self, to=getattr(self.graph.onnx.TensorProto, dtype.upper()))


class Graph:
    """A graph in the making.

    Raises:
        MissingExtraError: the package onnx is not installed.
    """

    def __init__(self) -> None:
        self.onnx = import_onnx()
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        # Weights that are used in every step of the decoder are stored once. The tensors are
        # kept so that no other one comes to lie at the same place meanwhile.
        self._tensors: dict[tuple[Any, ...], tuple[Value, Tensor]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: str, shape: Shape) -> Value:
        """An input; sizes given as words are free, equal words are equal sizes."""
        self._inputs.append(self._described(name, dtype, shape))
        return Value(self, name)

    def output(self, name: str, value: Value, dtype: str, shape: Shape) -> None:
        """Give a value out under a name."""
        self._nodes.append(self.onnx.helper.make_node("Identity", [value.name], [name]))
        self._outputs.append(self._described(name, dtype, shape))

    def _described(self, name: str, dtype: str, shape: Shape) -> Any:
        kind = getattr(self.onnx.TensorProto, dtype.upper())
        return self.onnx.helper.make_tensor_value_info(name, kind, list(shape))

    def constant(self, value: Tensor | Number) -> Value:
        """An array that is part of the graph; a number becomes a float32."""
        if not isinstance(value, Tensor):
            return self._kept(np.array(value, dtype=np.float32))
        key = (value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
        if key not in self._tensors:
            kept = self._kept(value.detach().cpu().contiguous().numpy())
            self._tensors[key] = (kept, value)
        return self._tensors[key][0]

    def whole(self, numbers: Sequence[int]) -> Value:
        """A list of whole numbers, for shapes and axes."""
        return self._kept(np.array(numbers, dtype=np.int64))

    def _kept(self, array: np.ndarray) -> Value:
        name = f"constant_{len(self._constants)}"
        self._constants.append(self.onnx.numpy_helper.from_array(array, name))
        return Value(self, name)

    def op(self, kind: str, *inputs: Value | Tensor | Number, name: str = "", **settings: Any):
        """The one output of an operator."""
        (made,) = self.ops(kind, *inputs, outputs=1, name=name, **settings)
        return made

    def ops(
        self,
        kind: str,
        *inputs: Value | Tensor | Number,
        outputs: int,
        name: str = "",
        **settings: Any,
    ) -> list[Value]:
        """The outputs of an operator.

        Args:
            kind: its name in the standard.
            inputs: values; tensors and numbers become constants.
            outputs: how many it has.
            name: of the node, where somebody will look for it.
            settings: its attributes.
        """
        names = [(x if isinstance(x, Value) else self.constant(x)).name for x in inputs]
        number = len(self._nodes)
        made = [f"value_{number}_{i}" for i in range(outputs)]
        name = name or f"{kind.lower()}_{number}"
        self._nodes.append(self.onnx.helper.make_node(kind, names, made, name=name, **settings))
        return [Value(self, one) for one in made]

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Values one behind the other along an axis."""
        return self.op("Concat", *values, axis=axis)

    def model(self, about: dict[str, str]) -> Any:
        """The finished model; `about` is kept in it."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self._nodes, "seqtrack", self._inputs, self._outputs, self._constants
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="seqtrack"
        )
        helper.set_model_props(model, about)
        return model

    # Layers of PyTorch in evaluation mode.

    def linear(self, x: Value, layer: nn.Linear, name: str = "") -> Value:
        """A linear layer over the last axis."""
        return self.project(x, layer.weight, layer.bias, name)

    def project(self, x: Value, weight: Tensor, bias: Tensor | None, name: str = "") -> Value:
        """`x W^T + b`; `name` is that of the product."""
        y = self.op("MatMul", x, weight.T, name=name)
        return y if bias is None else y + bias

    def layer_norm(self, x: Value, layer: nn.LayerNorm) -> Value:
        """A layer norm over the last axis."""
        return self.op("LayerNormalization", x, layer.weight, layer.bias, epsilon=layer.eps)

    def sequential(self, x: Value, layers: nn.Module) -> Value:
        """Convolutions, batch norms, ReLUs and GELUs, one after the other.

        Raises:
            ConfigError: there is another layer.
        """
        if isinstance(layers, nn.Sequential):
            for layer in layers:
                x = self.sequential(x, layer)
            return x
        if isinstance(layers, nn.Conv2d):
            return self.convolution(x, layers)
        if isinstance(layers, nn.BatchNorm2d):
            numbers = (layers.weight, layers.bias, layers.running_mean, layers.running_var)
            return self.op("BatchNormalization", x, *numbers, epsilon=layers.eps)
        kinds = {nn.ReLU: "Relu", nn.GELU: "Gelu", nn.Identity: "Identity"}
        if type(layers) not in kinds:
            raise unknown_layer(layers)
        return self.op(kinds[type(layers)], x)

    def convolution(self, x: Value, layer: nn.Conv2d) -> Value:
        """A convolution of images `(B, F, H, W)`."""
        check_convolution(layer)
        rest = () if layer.bias is None else (layer.bias,)
        pads = [*layer.padding, *layer.padding]
        return self.op("Conv", x, layer.weight, *rest, strides=list(layer.stride), pads=pads)

    def normalise(self, pixels: Value, mean: Sequence[float], std: Sequence[float]) -> Value:
        """As `lib.models.pixels.normalise`, `(B, H, W, 3)` uint8 to `(B, 3, H, W)`."""
        images = pixels.transpose(0, 3, 1, 2).cast("float") / 255.0
        centre, scale = (torch.tensor(x).reshape(3, 1, 1) for x in (mean, std))
        return (images - centre) / scale

    def unit(self, x: Value, axis: int) -> Value:
        """As `torch.nn.functional.normalize`."""
        length = self.op("ReduceL2", x, self.whole([axis]), keepdims=1)
        return x / length.clip(1e-12)
