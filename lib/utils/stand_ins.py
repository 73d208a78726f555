"""What a checkpoint may name besides tensors, and the harmless things it gets instead.

Released files carry objects of the program that wrote them (settings, running averages, …).
Each such name is answered by an inert stand-in made on the spot; the classes themselves are
never looked up, not even those of this package. Anything else is not allowed at all.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lib.utils.pickle_scan import PickleScan

# Packages whose classes turn up in checkpoints of SeqTrack and its ancestors.
STAND_IN_PACKAGES = ("lib", "ltr", "dlframework", "pytracking", "easydict")


class StandIn:
    """Takes the place of any object; keeps its state to look at and does nothing else."""

    __slots__ = ("state",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
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


class PlainDtype:
    """Takes the place of `numpy.dtype`: numbers and strings only, no objects or records."""

    def __init__(self, code: Any = "", *args: Any) -> None:
        self.code = code
        self.big_endian = False

    def __setstate__(self, state: Any) -> None:
        self.big_endian = state[1] == ">"

    def resolve(self) -> np.dtype:
        """The real dtype.

        Raises:
            ValueError: it is not one of plain numbers or strings.
        """
        if not isinstance(self.code, str) or not re.fullmatch(r"[biufcSU]\d+", self.code):
            raise ValueError(f"array of type {self.code!r}, which is not plain numbers")
        return np.dtype(self.code).newbyteorder(">" if self.big_endian else "<")


class PlainArray(np.ndarray):
    """Takes the place of `numpy.ndarray`, filled from bytes only.

    However a file calls it, it starts empty: the real constructor takes a buffer and a dtype,
    and would read pointers to objects out of the file's bytes.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "PlainArray":
        return np.ndarray.__new__(cls, (0,))

    def __setstate__(self, state: Any, /) -> None:
        version, shape, dtype, fortran, data = state
        if type(data) is not bytes:
            raise ValueError("array of objects, which is not plain numbers")
        super().__setstate__((version, shape, _resolved(dtype), fortran, data))


def _resolved(dtype: Any) -> np.dtype:
    if type(dtype) is not PlainDtype:
        raise ValueError("array of a type that is not one of plain numbers")
    return dtype.resolve()


def _empty_array(*args: Any) -> PlainArray:
    return PlainArray()


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    if type(data) is not bytes:
        raise ValueError("number that is not made of bytes")
    return np.frombuffer(data, _resolved(dtype), count=1)[0]


def _bytes(*args: Any) -> bytes:
    return bytes(*args) if args and not isinstance(args[0], int) else b""


def _text(*args: Any) -> str:
    # The text of anything else may be endless, or tell where objects lie in memory.
    if any(type(value) not in (str, bytes, int, float, bool) for value in args):
        raise ValueError("text of something that is no text and no number")
    return str(*args)


def _collection(kind: Callable[..., Any]) -> Callable[..., Any]:
    """`kind`, made only of what the file spelled out item by item."""

    def build(*args: Any) -> Any:
        if any(type(value) not in (list, tuple, set, dict, OrderedDict) for value in args):
            raise ValueError(f"{kind.__name__} of something that is no collection")
        return kind(*args)

    return build


# Empty and small containers, numbers and numpy values: harmless to build from plain data.
PLAIN: dict[str, Callable[..., Any]] = {
    "collections.defaultdict": MappingStandIn,
    "builtins.list": _collection(list),
    "builtins.dict": _collection(dict),
    "builtins.tuple": _collection(tuple),
    "builtins.frozenset": _collection(frozenset),
    "builtins.int": int,
    "builtins.float": float,
    "builtins.bool": bool,
    "builtins.str": _text,
    "builtins.bytes": _bytes,
    "numpy.dtype": PlainDtype,
    "numpy.ndarray": PlainArray,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray._reconstruct": _empty_array,
}

# What tensors themselves are made of; torch's own loader provides these.
TENSOR_PARTS = frozenset(
    {
        "collections.OrderedDict",
        "collections.Counter",
        "_codecs.encode",
        "builtins.set",
        "builtins.complex",
        "torch.Size",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._utils._rebuild_parameter",
    }
    | {
        f"torch.{name}"
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype) or name.endswith("Storage")
    }
)


def refused_names(scan: PickleScan) -> list[str]:
    """The names that a pickle asks for and does not get."""
    return [
        name
        for name in scan.names
        if name not in TENSOR_PARTS and name not in PLAIN and not _is_stand_in(name)
    ]


def stand_ins(scan: PickleScan) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Pairs (object, full name) for `torch.serialization.safe_globals`."""
    return [
        (PLAIN[name] if name in PLAIN else _stand_in(name, scan), name)
        for name in scan.names
        if name in PLAIN or _is_stand_in(name)
    ]


def _is_stand_in(name: str) -> bool:
    return name.split(".", 1)[0] in STAND_IN_PACKAGES


def _stand_in(name: str, scan: PickleScan) -> Callable[..., Any]:
    if name in scan.mappings:
        return MappingStandIn
    if name in scan.sequences:
        return SequenceStandIn
    return type(name, (StandIn,), {"__slots__": ()})
