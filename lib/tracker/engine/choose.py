"""Which engine `auto` takes: ONNX Runtime for a small network on a CPU, else PyTorch."""

from importlib.util import find_spec

import torch

from lib.tracker.build import linear_macs, load_network
from lib.tracker.engine.names import PRECISIONS
from lib.tracker.registry import weights_words
from lib.tracker.spec import TrackerSpec
from lib.utils.advice import advice

# Multiplications of a frame. A small network is calls more than arithmetic: there ONNX Runtime
# takes two thirds of PyTorch's time. PyTorch is the quicker one for b256, with 46e9 (docs/onnx.md).
_SMALL_NETWORK = 1e9


def choose_engine(spec: TrackerSpec, device: torch.device) -> tuple[str, str]:
    """The quickest engine that can begin at once, and in words what would be quicker; "" if none.

    An export takes about a minute, so ONNX Runtime is taken only where that was done before.

    Args:
        spec: its `engine` is not looked at; where its precision is one of a single engine, that
            one is taken.
        device: where it is going to run.
    """
    able = [name for name in ("torch", "onnx") if spec.precision in PRECISIONS[name]]
    small = spec.config is not None and linear_macs(spec.config) < _SMALL_NETWORK
    if "onnx" not in able or not (small and device.type == "cpu" and find_spec("onnxruntime")):
        return next(iter(able), "torch"), ""
    from lib.tracker.engine.onnx import exported

    # Cheap, as the network is small: which export it needs follows from its weights.
    network = load_network(spec.config, spec.checkpoint)
    if "torch" not in able or exported(network, spec.config, spec.precision):
        return "onnx", ""
    words = weights_words(spec)
    return "torch", f"onnx is quicker once {advice('export', *words, '--max-frames', 0)} has run"
