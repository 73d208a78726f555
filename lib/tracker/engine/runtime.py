"""Runs an exported network in ONNX Runtime, on the CPU; nothing here needs PyTorch."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lib.tracker.engine.api import BatchedEngine, Template, UniqueTemplates
from lib.utils.advice import extra
from lib.utils.cores import usable_cores
from lib.utils.errors import MissingExtraError, SeqTrackError

# More threads wait for each other in the small models that this is for.
_MOST_THREADS = 4
# Targets that a thread takes through the network at once.
_CHUNK = 2


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
            "pip install onnx onnxscript onnxruntime; or choose --engine torch"
        ) from None
    return onnxruntime


def open_session(path: Path, threads: int, sizes: Mapping[str, int] | None = None) -> Any:
    """ONNX Runtime with a model.

    Args:
        path: of the model.
        threads: of the runtime.
        sizes: of free dimensions that are always the same here: what follows from them is computed
            once, and more operators become one.

    Raises:
        MissingExtraError: it is not installed.
        SeqTrackError: the file cannot be used.
    """
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for name, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    with _named(path):
        return runtime.InferenceSession(
            os.fspath(path),
            options,
            providers=["CPUExecutionProvider"],
            # One operator of two, which takes longer than both.
            disabled_optimizers=["SkipLayerNormFusion"],
        )


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file where the runtime refuses it. Raises SeqTrackError."""
    try:
        yield
    except Exception as error:
        # The runtime's own exceptions have no common class but this one.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise SeqTrackError(
            f"{path}: cannot be used ({reason[0]}); remove it, and it is exported again"
        ) from None


class OnnxEngine(BatchedEngine):
    """See the module and `lib.tracker.engine.api.Engine`; templates keep what the graph gave.

    Args:
        folder: with the files that `lib.tracker.engine.onnx.export` wrote.
        threads: of the runtime; by default one for each core, but at most four.
    """

    name = "onnx"
    concatenate = staticmethod(np.concatenate)

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        super().__init__(one_group=False)
        threads = min(_MOST_THREADS, usable_cores()) if threads is None else threads
        self._folder, self._threads = folder, threads
        self._template = open_session(folder / "template.onnx", threads)
        self._single = open_session(folder / "step.onnx", threads, {"batch": 1})
        self._wanted = [one.name for one in self._single.get_inputs()]

    @functools.cached_property
    def _several(self) -> tuple[Any, ThreadPoolExecutor]:
        """A session of one thread for several targets, and who calls it; few users need them."""
        return open_session(self._folder / "step.onnx", 1), ThreadPoolExecutor(self._threads)

    def templates(
        self, crops: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]
    ) -> list[Template]:
        """See `Engine.templates`; the graph takes one at a time."""
        names = [one.name for one in self._template.get_outputs()]
        wanted = [one.name for one in self._template.get_inputs()]
        made = []
        for crop, (x, y, w, h) in zip(crops, boxes, strict=True):
            # Of networks that are not told the box, the graph has no such input.
            feeds = {
                "pixels": np.ascontiguousarray(crop),
                "box": np.array([x, y, w, h], np.float32),
            }
            # A file that is none of ours may have other inputs and outputs.
            with _named(self._folder / "template.onnx"):
                parts = self._template.run(None, {name: feeds[name] for name in wanted})
            cached = {"box": feeds["box"], **dict(zip(names, parts, strict=True))}
            made.append(Template(crop, (float(x), float(y), float(w), float(h)), cached))
        return made

    def assemble(self, unique: Sequence[UniqueTemplates]) -> dict[str, np.ndarray]:
        """The inputs of `step.onnx` that say something about the templates."""
        rows = [[one.cached for one in row.templates] for row in unique]
        counts = np.array([row.counts for row in unique], np.float32)
        share = counts / counts.sum(axis=1, keepdims=True)
        feeds = {
            "templates": np.array([[one["tokens"] for one in row] for row in rows]),
            "log_copies": np.log(counts),
            "first": np.array([row[0]["box"] for row in rows]),
            "places": np.array([row.index for row in unique], np.int64),
        }
        for name in ("keys", "covered"):
            if name in self._wanted:
                # As `TemplateFeatures.averaged`: a search region is correlated with the mean.
                several = np.array([[one[name] for one in row] for row in rows])
                feeds[name] = np.einsum("bd,bd...->b...", share, several)
        return feeds

    def run(
        self,
        crops: Sequence[np.ndarray] | np.ndarray,
        unique: list[UniqueTemplates],
        history: np.ndarray | None,
    ) -> Sequence[np.ndarray]:
        """See `BatchedEngine.run`."""
        given = {**self.inputs(unique), "pixels": np.asarray(crops)}
        if history is not None:
            given["history"] = history
        with _named(self._folder / "step.onnx"):
            feeds = {name: given[name] for name in self._wanted}
            if len(unique) == 1:
                parts = self._single.run(None, feeds)
            else:
                parts = self._shared_out(feeds, len(unique))
        return parts if self.keep_distributions else parts[:3]

    def _shared_out(self, feeds: Mapping[str, np.ndarray], count: int) -> list[np.ndarray]:
        """What the step says of several targets, a few of which go at a time.

        Threads that have targets each wait for each other less than those that share a product,
        and what a layer gives of few targets stays in the cache.
        """
        session, pool = self._several
        jobs = [
            pool.submit(session.run, None, {name: x[i : i + _CHUNK] for name, x in feeds.items()})
            for i in range(0, count, _CHUNK)
        ]
        columns = zip(*(job.result() for job in jobs), strict=True)
        return [np.concatenate(column) for column in columns]
