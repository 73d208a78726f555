"""A network as ONNX graphs, which `lib.tracker.engine.runtime` runs on the CPU.

    template  pixels (S_z, S_z, 3) uint8, box (4,)  ->  tokens (L_z, C) [keys, covered]
    step      pixels (B, S_x, S_x, 3) uint8, templates (B, D, L_z, C), log_copies (B, D), ...
              ->  tokens (B, 4), confidence, boxes and distributions

Both are traced by `torch.onnx.export`, which takes about a minute. So a network is exported once:
the files are kept under a name that follows from its weights and from what of the configuration
is in the graphs, and found again there by everybody.
"""

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib import __version__
from lib.config.schema import Config
from lib.models.encoder import TemplateFeatures
from lib.models.seqtrack import SeqTrack, configured
from lib.tracker.engine.runtime import OnnxEngine, import_runtime
from lib.utils.errors import ConfigError, MissingExtraError, SeqTrackError
from lib.utils.files import atomic_path, user_cache, user_path

CACHE_VARIABLE = "SEQTRACK_ONNX"
# Of the graphs: raise it when they change, so that older files are not used any more.
VERSION = 4
_OPSET = 23 if hasattr(torch.onnx, "ops") else 20
OUTPUTS = {
    "template": ("tokens", "keys", "covered"),
    "step": ("tokens", "confidence", "boxes", "distributions"),
}


def default_cache_folder() -> Path:
    """Where exported networks are kept: the variable SEQTRACK_ONNX, else the user's cache."""
    if given := os.environ.get(CACHE_VARIABLE):
        return user_path(given, f"environment variable {CACHE_VARIABLE}").absolute()
    return user_cache() / "onnx"


def fingerprint(network: SeqTrack, cfg: Config) -> str:
    """A name for what the graphs of a network hold: its weights, its shape, how it reads out."""
    about = {
        "version": VERSION,
        "model": cfg.model.model_dump(mode="json"),
        "sizes": [cfg.data.search.size, cfg.data.template.size, cfg.data.seq_format],
        "pixels": [cfg.data.mean, cfg.data.std],
        "read out": [cfg.test.window, cfg.test.decoding],
        "one template": cfg.test.num_templates == 1,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def export(
    network: SeqTrack, cfg: Config, precision: str = "fp32", folder: Path | None = None
) -> Path:
    """The folder with `template.onnx` and `step.onnx` of a network; written if it is not there.

    Args:
        network: in evaluation mode, with its weights.
        cfg: the configuration that it was built from.
        precision: `fp32`, or `int8` for the matrix products of the encoder's blocks.
        folder: where exported networks are kept; `default_cache_folder` by default.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        SeqTrackError: the network is too large for a file of this format.
        OSError: the folder cannot be written.
    """
    place = network_folder(network, cfg, precision, folder)
    if _is_whole(place):
        return place
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        # Somebody else may have written them meanwhile.
        for part in OUTPUTS:
            if not (place / f"{part}.onnx").is_file():
                _save(_traced(part, network, cfg), place / f"{part}.onnx", precision)
    return place


def exported(network: SeqTrack, cfg: Config, precision: str = "fp32") -> bool:
    """Whether `export` has written the network before, into the usual folder."""
    return _is_whole(network_folder(network, cfg, precision, None))


def network_folder(network: SeqTrack, cfg: Config, precision: str, folder: Path | None) -> Path:
    """Where the graphs of a network are kept; see `export`."""
    root = default_cache_folder() if folder is None else folder
    return root / f"{cfg.name}-{fingerprint(network, cfg)}-{precision}"


def _is_whole(place: Path) -> bool:
    return all((place / f"{part}.onnx").is_file() for part in OUTPUTS)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a folder: a large network takes gigabytes to export."""
    try:
        import fcntl
    except ImportError:
        # Windows: several may write at once, all the same files.
        yield
        return
    with open(folder / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class TemplateGraph(nn.Module):
    """What is exported as `template.onnx`: `SeqTrack.template_features` of one template."""

    def __init__(self, network: SeqTrack) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, box: Tensor) -> tuple[Tensor, ...]:
        """Tokens `(L_z, C)`; keys and covered cells where the network correlates."""
        features = self.network.template_features(pixels[None], box[None])
        parts = (features.tokens, features.keys, features.covered)
        return tuple(part[0] for part in parts if part is not None)

    def example(self, cfg: Config) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Inputs to trace with, and which of their sizes are free."""
        side = cfg.data.template.size
        inputs = {"pixels": torch.zeros(side, side, 3, dtype=torch.uint8), "box": torch.ones(4) / 4}
        return inputs, dict.fromkeys(inputs)


class StepGraph(nn.Module):
    """What is exported as `step.onnx`: `SeqTrack.step`."""

    def __init__(self, network: SeqTrack) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        pixels: Tensor,
        templates: Tensor,
        log_copies: Tensor | None = None,
        first: Tensor | None = None,
        keys: Tensor | None = None,
        covered: Tensor | None = None,
        places: Tensor | None = None,
        history: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """See `SeqTrack.step`.

        Args:
            pixels: `(B, S_x, S_x, 3)` uint8.
            templates: `(B, D, L_z, C)` tokens.
            log_copies: `(B, D)`; None where a target has one template.
            first: `(B, 4)` box in the first template.
            keys: `(B, F, G * G)` mean over the templates, as often as they count.
            covered: `(B,)` likewise.
            places: `(B, T)`.
            history: `(B, N, 4)`.
        """
        # The mean of one is itself.
        rest = (None if x is None else x[:, None] for x in (first, keys, covered))
        features = TemplateFeatures(templates, *rest)
        output = self.network.step(pixels, features, log_copies, places, history)
        # A class of ours cannot be in a file of torch.export.
        return tuple(output)

    def example(self, cfg: Config) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Inputs to trace with, and which of their sizes are free."""
        # Other numbers than 0 and 1, which a trace would take for fixed.
        batch, count = 2, cfg.test.num_templates
        distinct = 3 if count > 1 else 1
        small, side = cfg.data.template.size, cfg.data.search.size
        pixels = torch.zeros(batch * distinct, small, small, 3, dtype=torch.uint8)
        boxes = torch.full((len(pixels), 4), 0.25)
        features = self.network.template_features(pixels, boxes).unflatten(batch)
        inputs = {
            "pixels": torch.zeros(batch, side, side, 3, dtype=torch.uint8),
            **step_feeds(features.averaged(None), torch.zeros(batch, distinct)),
        }
        if self.network.feature_type != "x":
            inputs["places"] = torch.zeros(batch, count, dtype=torch.int64)
        if self.network.history:
            inputs["history"] = torch.full((batch, self.network.history, 4), 0.25)
        rows = torch.export.Dim("batch")
        if count == 1:
            # The only one always counts once.
            del inputs["log_copies"]
        free = {name: {0: rows} for name in inputs}
        if count > 1:
            free["templates"] = free["log_copies"] = {0: rows, 1: torch.export.Dim("distinct")}
        return inputs, free


def step_feeds(features: TemplateFeatures, log_copies: Tensor) -> dict[str, Tensor]:
    """The inputs of `StepGraph` that say something about the templates."""
    feeds = {"templates": features.tokens, "log_copies": log_copies}
    if features.boxes is not None:
        feeds["first"] = features.boxes[:, 0]
    if features.keys is not None and features.covered is not None:
        feeds["keys"], feeds["covered"] = features.keys[:, 0], features.covered[:, 0]
    return feeds


@torch.inference_mode()
def _traced(part: str, network: SeqTrack, cfg: Config) -> Any:
    """The ONNX model of a part.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    import_onnx()
    graph = (TemplateGraph if part == "template" else StepGraph)(configured(network, cfg)).eval()
    inputs, free = graph.example(cfg)
    with warnings.catch_warnings(), _quiet_logger("torch.onnx"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            kwargs=inputs,
            dynamic_shapes=free,
            input_names=list(inputs),
            output_names=OUTPUTS[part][: len(graph(**inputs))],
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return program.model_proto


@contextlib.contextmanager
def _quiet_logger(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def block_products(model: Any) -> list[str]:
    """Names of the matrix products with weights in the encoder's blocks."""
    weights = {one.name for one in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[1] in weights
        and any(".blocks." in one.value for one in node.metadata_props)
    ]


def _save(model: Any, path: Path, precision: str) -> None:
    onnx = import_onnx()
    names = block_products(model)
    # They tell where on which machine each line of the code was.
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.metadata_props[:]
    about = {"part": path.stem, "precision": precision, "seqtrack": __version__}
    onnx.helper.set_model_props(model, about)
    with atomic_path(path) as temporary:
        try:
            if precision == "int8" and names:
                _quantise(model, names, temporary)
            else:
                onnx.save_model(model, os.fspath(temporary))
        except ValueError as error:
            # Protocol buffers end at 2 GB.
            raise SeqTrackError(f"{path}: the network is too large for one file: {error}") from None


def _quantise(model: Any, names: list[str], path: Path) -> None:
    """Write `model` with products `names` in eight bits: weights per column, inputs as they come.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    import_runtime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    _part_gemms(model)
    # It would advise to have the shapes inferred first, which changes nothing here.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    quantize_dynamic(
        model,
        path,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=names,
        per_channel=True,
        weight_type=QuantType.QInt8,
    )


def _part_gemms(model: Any) -> None:
    """Give each Gemm a computed weight of its own.

    The quantiser makes a MatMul of each, and transposes what several share once for each of them,
    always under the same name (ONNX Runtime 1.32).
    """
    make_node = import_onnx().helper.make_node
    weights = {one.name for one in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] not in weights:
            own = f"{node.output[0]}_weight"
            nodes.append(make_node("Identity", [node.input[1]], [own]))
            node.input[1] = own
        nodes.append(node)
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def import_onnx() -> Any:
    """The package onnx; onnxscript, which an export needs as well, is there then.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "to export a network the packages onnx and onnxscript are needed: pip install "
            '"seqtrack[onnx]", or pip install onnx onnxscript onnxruntime'
        ) from None
    return onnx


def build_onnx_engine(network: SeqTrack, cfg: Config, precision: str = "fp32") -> OnnxEngine:
    """The engine for a network, which is exported if that was not done yet.

    Raises:
        ConfigError: the network is on another device than the CPU.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    device = network.pos_embed.device
    if device.type != "cpu":
        raise ConfigError(
            f"engine onnx runs on the CPU, and the device is {device}; add --device cpu, or choose "
            "--engine torch"
        )
    # First: the one who lacks it should not wait for an export.
    import_runtime()
    return OnnxEngine(export(network, cfg, precision), torch.get_num_threads())
