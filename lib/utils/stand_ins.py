"""What a checkpoint names besides tensors, and the harmless things it gets instead.

Released files carry objects of the program that wrote them (settings, running averages, …).
torch's restricted loader gets an inert stand-in for each such name; the classes themselves are
never looked up, not even those of this package. Anything else is refused.
"""

import pickletools
import re

# Python 2 spellings, which the unpickler translates before it looks a name up.
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import torch

# Packages whose classes turn up in checkpoints of SeqTrack and its ancestors.
STAND_IN_PACKAGES = ("lib", "ltr", "dlframework", "pytracking", "easydict")


class StandIn:
    """Takes the place of any object; keeps what it is made of and does nothing else."""

    __slots__ = ("args", "state")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"<stand-in for {type(self).__qualname__}>"


class MappingStandIn:
    """Takes the place of a dictionary class: its objects become plain ordered dictionaries."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


class SequenceStandIn:
    """Takes the place of a list class: its objects become plain lists."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return []


def _number(dtype: Any, data: Any) -> Any:
    """A number of numpy as one of Python's; never by numpy's own means, which take pointers."""
    code = dtype.args[0] if isinstance(dtype, StandIn) else None
    if not (type(data) is bytes and type(code) is str and re.fullmatch(r"[biufcSU]\d+", code)):
        raise ValueError("number of a type that is not plain")
    order = ">" if ">" in tuple(dtype.state)[:2] else "<"
    return np.frombuffer(data, order + code, count=1)[0].item()


def _no_bytes(*args: Any) -> bytes:
    """Empty bytes; others are written as a call of `_codecs.encode`."""
    return b""


_GIVEN: dict[str, Callable[..., Any]] = {
    "collections.defaultdict": MappingStandIn,
    "builtins.bytes": _no_bytes,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
# Types and arrays, of which nothing is read.
_IGNORED = frozenset(
    {f"builtins.{name}" for name in "list dict tuple frozenset int float bool str".split()}
    | {f"numpy.{name}" for name in ("dtype", "ndarray")}
    | {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
)
# What tensors themselves are made of; torch's own loader provides these.
_TENSOR_PARTS = frozenset(
    {
        "collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.set",
        "builtins.complex", "torch.Size", "torch.device", "torch.nn.parameter.Parameter",
        "torch.storage.TypedStorage", "torch.storage.UntypedStorage",
        "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter",
    }
    | {
        f"torch.{name}"
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype) or name.endswith("Storage")
    }
)  # fmt: skip


def pickled_names(stream: BinaryIO) -> Iterator[str]:
    """Full names of the classes and functions that a pickle asks for; nothing is run.

    Only torch's loader decides what a file gets. It knows no computed names, so those need not be
    right here; its `get_unsafe_globals_in_checkpoint` reads one protocol of one format.

    Raises:
        ValueError, IndexError: the pickle is damaged.
    """
    texts: list[str] = []
    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield _modern(*argument.split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            yield _modern(texts[-2], texts[-1])
        elif opcode.name.startswith("EXT"):
            yield f"copyreg extension.{argument}"
        elif isinstance(argument, str):
            texts.append(argument)


def _modern(module: str, name: str) -> str:
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


def refused_names(names: Iterable[str]) -> list[str]:
    """Those that a file does not get."""
    return [
        name
        for name in names
        if name not in _TENSOR_PARTS and name not in _GIVEN and not _is_stand_in(name)
    ]


def stand_ins(names: Iterable[str]) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Pairs (object, full name) for `torch.serialization.safe_globals`."""
    return [
        (_GIVEN[name] if name in _GIVEN else _stand_in(name), name)
        for name in names
        if name in _GIVEN or _is_stand_in(name)
    ]


def _is_stand_in(name: str) -> bool:
    return name in _IGNORED or name.split(".", 1)[0] in STAND_IN_PACKAGES


def _stand_in(name: str) -> Callable[..., Any]:
    """By its name: a class of dictionaries (EasyDict, TensorDict), of lists, or any other."""
    if name not in _IGNORED and name.lower().endswith(("dict", "list")):
        return MappingStandIn if name.lower().endswith("dict") else SequenceStandIn
    return type(name, (StandIn,), {"__slots__": ()})
