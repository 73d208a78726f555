"""The engine that runs an exported network in ONNX Runtime, on the CPU.

A network is exported once: the files are kept under a name that follows from its weights and
from what of the configuration is in the graphs, and found again there by everybody.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import __version__
from lib.config.schema import Config
from lib.models.export import VERSION, block_products, step_model, template_model
from lib.models.onnx_graph import import_onnx
from lib.models.seqtrack import SeqTrack
from lib.tracker.engine.api import Distinct, Engine, Readout, Template, in_groups
from lib.utils.advice import extra
from lib.utils.errors import ConfigError, MissingExtraError, SeqTrackError
from lib.utils.files import atomic_path, user_cache, user_path

CACHE_VARIABLE = "SEQTRACK_ONNX"
_PARTS = ("template", "step")


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
    root = default_cache_folder() if folder is None else folder
    place = root / f"{cfg.name}-{fingerprint(network, cfg)}-{precision}"
    if all((place / f"{part}.onnx").is_file() for part in _PARTS):
        return place
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        # Somebody else may have written them meanwhile.
        for part in _PARTS:
            if not (place / f"{part}.onnx").is_file():
                model = (template_model if part == "template" else step_model)(network, cfg)
                _save(model, place / f"{part}.onnx", precision)
    return place


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


def _save(model: Any, path: Path, precision: str) -> None:
    onnx = import_onnx()
    model.metadata_props.add(key="precision", value=precision)
    model.metadata_props.add(key="seqtrack", value=__version__)
    with atomic_path(path) as temporary:
        try:
            if precision == "int8" and (names := block_products(model)):
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


def import_runtime() -> Any:
    """The package onnxruntime.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError(
            f"the engine onnx needs onnxruntime: {extra('onnx')}, or "
            "pip install onnx onnxruntime; or choose --engine torch"
        ) from None
    return onnxruntime


def open_session(path: Path, threads: int) -> Any:
    """ONNX Runtime with a model.

    Raises:
        MissingExtraError: it is not installed.
        SeqTrackError: the file cannot be used.
    """
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # The runtime's own exceptions have no common class but this one.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise SeqTrackError(
            f"{path}: cannot be used ({reason[0]}); remove it, and it is exported again"
        ) from None


def build_onnx_engine(network: SeqTrack, cfg: Config, precision: str = "fp32") -> "OnnxEngine":
    """The engine for a network, which is exported if that was not done yet.

    Raises:
        ConfigError: the network is on another device than the CPU, or has a layer that cannot be
            exported.
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
    return OnnxEngine(export(network, cfg, precision))


class OnnxEngine(Engine):
    """See the module and `lib.tracker.engine.api.Engine`.

    Args:
        folder: with the two files that `export` wrote.
        threads: of the runtime; as many as PyTorch uses by default.
    """

    name = "onnx"

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.keep_distributions = False
        threads = torch.get_num_threads() if threads is None else threads
        self._template, self._step = (
            open_session(folder / f"{part}.onnx", threads) for part in _PARTS
        )
        self._wanted = [one.name for one in self._step.get_inputs()]

    def templates(
        self, crops: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]
    ) -> list[Template]:
        """See `Engine.templates`; the graph takes one at a time."""
        names = [one.name for one in self._template.get_outputs()]
        made = []
        for crop, (x, y, w, h) in zip(crops, boxes, strict=True):
            placed = np.array([x, y, w, h], np.float32)
            # Of networks that do not hear the box, the graph has no such input.
            feeds = {"pixels": np.ascontiguousarray(crop), "box": placed}
            wanted = {one.name: feeds[one.name] for one in self._template.get_inputs()}
            kept = dict(zip(names, self._template.run(None, wanted), strict=True))
            made.append(Template(crop, (float(x), float(y), float(w), float(h)), kept))
        return made

    def generate(
        self, templates: Sequence[Sequence[Template]], search: Sequence[np.ndarray] | np.ndarray
    ) -> Readout:
        """See `Engine.generate`; targets with as many different templates go together."""

        def answer(indices: list[int], distinct: list[Distinct]) -> list[Tensor]:
            feeds = self._feeds(distinct)
            whole = isinstance(search, np.ndarray) and len(indices) == len(search)
            feeds["pixels"] = search if whole else np.stack([search[i] for i in indices])
            said = self._step.run(None, {name: feeds[name] for name in self._wanted})
            return [torch.from_numpy(part) for part in said]

        tokens, confidence, boxes, distributions = in_groups(templates, answer)
        kept = distributions if self.keep_distributions else None
        return Readout(tokens, confidence, boxes, kept)

    def _feeds(self, rows: Sequence[Distinct]) -> dict[str, np.ndarray]:
        """Inputs of the step for targets with equally many different templates."""
        kept = [[one.kept for one in row.templates] for row in rows]
        copies = np.array([row.copies for row in rows], np.float32)
        feeds = {
            "templates": np.stack([np.stack([one["tokens"] for one in row]) for row in kept]),
            "log_copies": np.log(copies),
            "first": np.array([row.templates[0].box for row in rows], np.float32),
            "places": np.array([row.places for row in rows], np.int64),
        }
        for name in ("keys", "covered"):
            if name in kept[0][0]:
                stacked = np.stack([np.stack([one[name] for one in row]) for row in kept])
                share = (copies / copies.sum(axis=1, keepdims=True)).astype(np.float32)
                share = share.reshape(*share.shape, *[1] * (stacked.ndim - 2))
                feeds[name] = (stacked * share).sum(axis=1)
        return feeds
