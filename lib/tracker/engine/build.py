"""The engine of a name; each is imported only when it is asked for."""

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack
from lib.tracker.engine.api import Engine
from lib.tracker.engine.names import check_engine


def build_engine(name: str, network: SeqTrack, cfg: Config, precision: str = "fp32") -> Engine:
    """The engine of that name for a network, on the network's device.

    Args:
        name: one of ENGINE_NAMES.
        network: with its weights; it is put into evaluation mode and must not change any more.
        cfg: the configuration that it was built from.
        precision: one of `PRECISIONS[name]`.

    Raises:
        ConfigError: no such engine, or one that cannot run this network here.
        MissingExtraError: a package for it is missing.
    """
    check_engine(name, precision)
    network.eval()
    if name == "torch":
        from lib.tracker.engine.torch import TorchEngine

        return TorchEngine(network, cfg, precision)
    if name == "onnx":
        from lib.tracker.engine.onnx import build_onnx_engine

        return build_onnx_engine(network, cfg, precision)
    from lib.tracker.engine.reference import ReferenceEngine

    return ReferenceEngine(network, cfg)
