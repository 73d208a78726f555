"""A network's two graphs in other formats than ONNX: TorchScript, torch.export, OpenVINO.

They are the graphs of `lib.tracker.engine.onnx`, with the same inputs and outputs, traced from the
same step. What is written is read again by the engine here, which a comparison runs.
"""

import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.models.packed import DTYPES
from lib.models.seqtrack import SeqTrack, configured
from lib.tracker.engine.api import BatchedEngine
from lib.tracker.engine.onnx import OUTPUTS, StepGraph, TemplateGraph, network_folder
from lib.tracker.engine.runtime import OnnxEngine
from lib.utils.advice import extra
from lib.utils.errors import MissingExtraError

SUFFIX = {"torchscript": ".pt", "torch-export": ".pt2", "openvino": ".xml"}


class CastLinear(nn.Module):
    """A linear layer whose product is computed in another type; what surrounds it is float32."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.layer = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
        self.layer.load_state_dict(layer.state_dict())
        self.layer.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in)` to `(..., out)`."""
        return self.layer(x.to(self.dtype)).float()


def write_format(
    form: str, network: SeqTrack, cfg: Config, precision: str, folder: Path | None
) -> Path:
    """Write a network's graphs; returns the folder they are in.

    Args:
        form: one of SUFFIX.
        network: in evaluation mode, on the CPU.
        cfg: the configuration that it was built from.
        precision: one of `FORMATS[form]` of `lib.tracker.engine.names`.
        folder: where exported networks are kept; by default as those of ONNX.

    Raises:
        MissingExtraError: a package is not installed.
        OSError: the folder cannot be written.
    """
    place = network_folder(network, cfg, precision, folder)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as made, torch.inference_mode():
        for part in OUTPUTS:
            path = Path(made) / f"{part}{SUFFIX[form]}"
            graph, inputs, free = _graph(part, network, cfg, precision)
            if form == "torchscript":
                _save_traced(graph, inputs, path)
                continue
            program = torch.export.export(graph, (), inputs, dynamic_shapes=free)
            if form == "torch-export":
                torch.export.save(program, path)
                continue
            openvino = import_openvino()
            model = openvino.convert_model(program)
            openvino.save_model(model, path, compress_to_fp16=precision == "fp16")
        # Whole files only; those of OpenVINO are two, with names of their own choice.
        for file in Path(made).iterdir():
            file.replace(place / file.name)
    return place


def _save_traced(graph: nn.Module, inputs: dict[str, Tensor], path: Path) -> None:
    with warnings.catch_warnings():
        # That the format is an old one, and which sizes are looked at: they are the network's.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(graph, example_kwarg_inputs=inputs, check_trace=False)
        torch.jit.save(traced, os.fspath(path))


def _graph(
    part: str, network: SeqTrack, cfg: Config, precision: str
) -> tuple[nn.Module, dict[str, Tensor], dict[str, Any]]:
    """The module of a part, inputs to trace it with, and which of their sizes are free."""
    made, dtype = configured(network, cfg), DTYPES[precision]
    if dtype != torch.float32:
        for block in made.encoder.body.blocks:
            for name, layer in list(block.named_modules()):
                if isinstance(layer, nn.Linear):
                    block.set_submodule(name, CastLinear(layer, dtype))
    graph = (TemplateGraph if part == "template" else StepGraph)(made).eval()
    return graph, *graph.example(cfg)


def import_openvino() -> Any:
    """The package openvino.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtraError(
            f"the format openvino needs its package: {extra('openvino')}, or pip install openvino"
        ) from None
    return openvino


class ReadGraph:
    """A graph that was read again, called as ONNX Runtime calls one.

    Args:
        path: the file.
        inputs: their names, in order.
        outputs: likewise.
    """

    def __init__(self, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.inputs, self.outputs = inputs, outputs
        if path.suffix == ".xml":
            # The number format of the file, not what the processor would rather have.
            exact = {"INFERENCE_PRECISION_HINT": "f32"}
            self.run_graph = import_openvino().Core().compile_model(path, "CPU", exact)
        elif path.suffix == ".pt2":
            self.run_graph = torch.export.load(path).module()
        else:
            self.run_graph = torch.jit.load(os.fspath(path))
        self.in_torch = path.suffix != ".xml"

    def get_inputs(self) -> list[SimpleNamespace]:
        """Things with a `name`."""
        return [SimpleNamespace(name=name) for name in self.inputs]

    def get_outputs(self) -> list[SimpleNamespace]:
        """Things with a `name`."""
        return [SimpleNamespace(name=name) for name in self.outputs]

    @torch.inference_mode()
    def run(self, _: None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs."""
        if not self.in_torch:
            return list(self.run_graph([feeds[name] for name in self.inputs]).values())
        tensors = {name: torch.from_numpy(feeds[name]) for name in self.inputs}
        return [part.numpy() for part in self.run_graph(**tensors)]


class FormatEngine(OnnxEngine):
    """Runs what `write_format` wrote; see `lib.tracker.engine.api.Engine`.

    Args:
        form: one of SUFFIX.
        place: the folder.
        network: that was written: names of inputs follow from it.
        cfg: its configuration.
    """

    def __init__(self, form: str, place: Path, network: SeqTrack, cfg: Config) -> None:
        BatchedEngine.__init__(self, one_group=False)
        self.name, self._folder = form, place
        sessions = []
        for part, names in OUTPUTS.items():
            graph, inputs, _ = _graph(part, network, cfg, "fp32")
            with torch.inference_mode():
                count = len(graph(**inputs))
            path = place / f"{part}{SUFFIX[form]}"
            sessions.append(ReadGraph(path, list(inputs), names[:count]))
        self._template, self._single = sessions
        self._wanted = [one.name for one in self._single.get_inputs()]

    def _shared_out(self, feeds: Mapping[str, np.ndarray], count: int) -> list[np.ndarray]:
        """All targets at once: a comparison is in no hurry."""
        return self._single.run(None, feeds)
