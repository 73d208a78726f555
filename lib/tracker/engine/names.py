"""Which engines there are; nothing here imports torch, so that a typo is answered at once."""

from lib.utils.errors import ConfigError, did_you_mean

# `reference` is the method as published, the yardstick of all measurements.
ENGINE_NAMES = ("torch", "onnx", "reference")
# The quickest of them that can begin at once; see `lib.tracker.engine.choose`.
AUTO = "auto"
# Precisions of each engine, its default first. Only fp32 promises equal tokens.
PRECISIONS = {
    "torch": ("fp32", "bf16", "fp16"),
    "onnx": ("fp32", "int8"),
    "reference": ("fp32",),
}
# What `seqtrack export` writes, and the precisions of each format.
FORMATS = {
    "onnx": PRECISIONS["onnx"],
    "torchscript": ("fp32", "bf16", "fp16"),
    "torch-export": ("fp32", "bf16", "fp16"),
    "openvino": ("fp32", "fp16"),
}


def check_format(name: str, precision: str) -> None:
    """Raise ConfigError, listing the choices, unless a format can be written in a precision."""
    if precision not in FORMATS[name]:
        raise ConfigError(
            f"the format {name} cannot be written in {precision!r}; choose one of "
            f"{', '.join(FORMATS[name])}"
        )


def check_engine(name: str, precision: str = "fp32") -> None:
    """Raise ConfigError, listing the choices, unless there is such an engine."""
    if name not in ENGINE_NAMES:
        raise ConfigError(
            f"unknown engine {name!r}{did_you_mean(name, ENGINE_NAMES)}; "
            f"choose one of {', '.join(ENGINE_NAMES)}"
        )
    if precision not in PRECISIONS[name]:
        raise ConfigError(
            f"engine {name} cannot compute in {precision!r}; "
            f"choose one of {', '.join(PRECISIONS[name])}"
        )
