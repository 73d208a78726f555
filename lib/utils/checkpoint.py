"""Tensors from files and into files, safely.

Loading never runs what a file asks for: the names in it are read first, known ones get inert
stand-ins (`stand_ins`), and a file that names anything else is refused. Then torch's own
restricted loader reads it. Saving writes tensors and plain containers only.
"""

import io
import math
import os
import pickle
import re
import stat
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from lib.utils import errors
from lib.utils.errors import CheckpointError, some
from lib.utils.file_format import FileFormat, file_format
from lib.utils.files import atomic_path
from lib.utils.stand_ins import pickled_names, refused_names, stand_ins

# Where programs of this family keep the weights; a bare state dict has none of them.
WEIGHT_FIELDS = ("net", "model", "state_dict")
# Objects before the raw numbers in the old format: magic, version, system, content, keys.
_OLD_FORMAT_PICKLES = 5

# Bytes of tensors that repeat numbers of the file, as tied and expanded weights do.
_MOST_CLAIMED = 1 << 33
_PLAIN_TYPES = (str, int, float, bool, bytes, type(None), torch.dtype, torch.device, torch.Size)


@dataclass(frozen=True)
class Checkpoint:
    """Weights and where they come from."""

    # Parameter name -> tensor on the CPU, all values finite, by `plain_names`
    state: OrderedDict[str, Tensor]
    epoch: int | None = None  # epoch after which it was written, where the file says
    net_type: str | None = None  # class name of the network, where the file says


def load_tensors(path: Path | str) -> Any:
    """Everything in a checkpoint: tensors and plain containers, stand-ins for the rest.

    Reads torch's zip and old formats and safetensors, recognised by content.

    Raises:
        CheckpointError: the file is missing, damaged, of another format, or asks for
            anything beyond tensors and plain data.
    """
    path = Path(path)
    form = _readable_format(path)
    if form is FileFormat.SAFETENSORS:
        return _load_safetensors(path)[0]
    names, complete = _names(path, form)
    refused = refused_names(names)
    torch_made = form in (FileFormat.TORCH_ZIP, FileFormat.TORCH_OLD)
    if refused and (complete or torch_made):
        shown = some([*map(printable, refused)], 8)
        raise CheckpointError(
            f"{path} asks for {shown}, which no checkpoint of tensors needs: refused, and "
            "nothing in it was run; get it again from a source you trust, or, if it is a model of "
            "your own, save its weights alone: torch.save(model.state_dict(), FILE)"
        )
    if not torch_made:
        _not_a_checkpoint(path, form)
    return _torch_load(path, names)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """The weights in a file and what it says about them.

    The weights are in field `net` (as SeqTrack's trainer writes them), `model` or
    `state_dict`, or are the whole file.

    Raises:
        CheckpointError: as `load_tensors`, or no weights are in the file, or a tensor holds NaN or
            infinity.
    """
    path = Path(path)
    fields: Mapping[str, Any]
    if _readable_format(path) is FileFormat.SAFETENSORS:
        content, fields = _load_safetensors(path)
    else:
        content = load_tensors(path)
        fields = _items(content) if isinstance(content, dict) else {}
    epoch, net_type = fields.get("epoch"), fields.get("net_type")
    return Checkpoint(
        state=weights_in(path, content),
        epoch=_epoch(epoch),
        net_type=net_type if isinstance(net_type, str) else None,
    )


def _epoch(value: Any) -> int | None:
    # safetensors keep it as text.
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return int(value) if type(value) is int or isinstance(value, np.integer) else None


def read_state_dict(path: Path | str) -> OrderedDict[str, Tensor]:
    """Parameter name -> tensor on the CPU; see `read_checkpoint`.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    return read_checkpoint(path).state


def save_checkpoint(path: Path | str, payload: Mapping[str, Any]) -> None:
    """Write tensors and plain containers with `torch.save`, atomically.

    Raises:
        TypeError: something else is in `payload`; the message says where.
        OSError: the folder cannot be written.
    """
    _require_plain(payload, "payload")
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        try:
            torch.save(payload, stream)
        except RuntimeError as error:
            # The stream's own error (the disk is full) is buried under what torch makes of it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def printable(text: str, limit: int = 80) -> str:
    """Text out of a file, fit for one line of a message: no control characters, not too long."""
    shown = errors.printable(text[: limit + 1]).replace("\n", "\\n")
    return shown if len(shown) <= limit else shown[:limit] + "…"


def _readable_format(path: Path) -> FileFormat:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and not path.is_dir():
            raise CheckpointError(f"{path} is no regular file; name a checkpoint file")
        return file_format(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint file") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder; name the checkpoint file in it") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None


def _names(path: Path, form: FileFormat) -> tuple[list[str], bool]:
    """What the pickles in a file ask for, each name once, and whether they could be read whole."""
    names: dict[str, None] = {}
    try:
        for name in _all_names(path, form):
            names[name] = None
    except (ValueError, IndexError, OverflowError, MemoryError):
        # Damaged on purpose or by accident, such as by a name of exabytes; what was found up to
        # here still counts.
        return list(names), False
    return list(names), True


def _all_names(path: Path, form: FileFormat) -> Iterator[str]:
    if form is FileFormat.TORCH_ZIP:
        for content in _zipped_pickles(path):
            yield from pickled_names(io.BytesIO(content))
        return
    with open(path, "rb") as stream:
        for _ in range(_OLD_FORMAT_PICKLES if form is FileFormat.TORCH_OLD else 1):
            yield from pickled_names(stream)


def _zipped_pickles(path: Path) -> list[bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                raise CheckpointError(
                    f"{path} is a compressed zip archive, which PyTorch never writes: if the "
                    "checkpoint is in it, unpack it first"
                )
            pickles = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
            contents = [archive.read(name) for name in pickles]
    # ValueError: the name of a member is no text, or a number in its record is impossible.
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
        OSError,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"{path} is truncated or damaged ({path.stat().st_size} bytes, {error}): "
            "copy or download it again"
        ) from None
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint of tensors")
    if not any(name.endswith("/data.pkl") for name in names):
        inside = ", ".join(map(printable, names[:3]))
        raise CheckpointError(
            f"{path} is a zip archive without a checkpoint's data (it holds {inside or 'nothing'}"
            "): unpack it first, or name another file"
        )
    return contents


def _not_a_checkpoint(path: Path, form: FileFormat) -> NoReturn:
    advice = {
        FileFormat.WEB_PAGE: "the download went wrong; fetch it again, in a browser if need be",
        FileFormat.TAR: "unpack it and name the file inside (PyTorch's own tar format of before "
        "2017 is not read)",
        FileFormat.GZIP: "unpack it and name the file inside",
    }
    raise CheckpointError(
        f"{path} is {form.value}, not a checkpoint: "
        + advice.get(form, "name a .pth.tar, .pth or .safetensors file")
    )


def _torch_load(path: Path, names: list[str]) -> Any:
    try:
        with (
            open(path, "rb") as stream,
            torch.serialization.safe_globals(stand_ins(names)),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return torch.load(stream, map_location="cpu", weights_only=True)
    # The loader runs on bytes of unknown origin: damaged ones raise nearly every kind of error.
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read: truncated, damaged or not made of plain tensors "
            f"({_reason(error)}); nothing in it was run: copy or download it again, or save it "
            "with torch.save's default protocol"
        ) from None


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, pickle.UnpicklingError):
        # torch wraps the cause in advice to switch the protection off.
        text = text.split("WeightsUnpickler error: ")[-1].strip()
    text = next(iter(text.splitlines()), "")
    return printable(f"{type(error).__name__}: {text}".rstrip(": "), 160)


def _load_safetensors(path: Path) -> tuple[OrderedDict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as archive:
            metadata = archive.metadata() or {}
            return OrderedDict((k, archive.get_tensor(k)) for k in archive.keys()), metadata
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is a truncated or damaged safetensors file ({_reason(error)}): "
            "copy or download it again"
        ) from None


def weights_in(path: Path, content: Any) -> OrderedDict[str, Tensor]:
    """The weights in what a checkpoint at `path` holds, with names as `plain_names` gives them.

    Raises:
        CheckpointError: no weights are there, or a tensor holds NaN or infinity.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state dict")
    content = _items(content)
    name = next((f for f in WEIGHT_FIELDS if isinstance(content.get(f), dict)), None)
    weights = content if name is None else _items(content[name])
    where = f"{path}" if name is None else f"{path}, field {name!r},"
    if not weights:
        raise CheckpointError(f"{where} holds no weights")
    for key, value in weights.items():
        problem = _not_a_weight(key, value)
        if problem:
            raise CheckpointError(f"{where} is not a state dict: {key!r} is {problem}")
    _check_claims(where, weights)
    _check_finite(where, weights)
    names = plain_names(weights)
    return OrderedDict((names[key], value.detach()) for key, value in weights.items())


def plain_names(keys: Iterable[str]) -> dict[str, str]:
    """Parameter names as the bare network has them, by those that wrappers of torch give.

    `torch.compile` puts `_orig_mod.` before the names of what it compiles, DistributedDataParallel
    `module.` before all; both wrap each other in either order.

    Example:
        >>> plain_names(["module._orig_mod.a", "module.b._orig_mod.c"])
        {'module._orig_mod.a': 'a', 'module.b._orig_mod.c': 'b.c'}
    """
    names = {key: re.sub(r"(^|(?<=\.))_orig_mod\.", "", key) for key in keys}
    while names and all(name.startswith("module.") for name in names.values()):
        names = {key: name.removeprefix("module.") for key, name in names.items()}
    # Two keys of one name: whatever wrote them, it was not a wrapper.
    return names if len(set(names.values())) == len(names) else {key: key for key in names}


def _check_claims(where: str, weights: Mapping[str, Tensor]) -> None:
    """Refuse one number that claims to be a trillion of them: reading those would take days."""
    stored = {one.data_ptr(): one.nbytes() for one in map(Tensor.untyped_storage, weights.values())}
    claimed = sum(value.numel() * value.element_size() for value in weights.values())
    if claimed > sum(stored.values()) + _MOST_CLAIMED:
        raise CheckpointError(
            f"{where} holds {sum(stored.values())} bytes of numbers, whose tensors claim to be "
            f"{claimed}: refused; get it again from a source you trust"
        )


def _check_finite(where: str, weights: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity: a network with one of them gives boxes, and they mean nothing."""
    bad = {key: number for key, value in weights.items() if (number := _not_finite(value))}
    if bad:
        key, number = next(iter(bad.items()))
        more = f", and so have {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise CheckpointError(
            f"{where} cannot be used: {printable(key, 120)} has {number} of "
            f"{weights[key].numel()} values that are not finite{more}; the training diverged or "
            "the file is damaged: take an earlier checkpoint, or copy it again"
        )


def _not_finite(value: Tensor) -> int:
    """How many values are NaN or infinite."""
    if not value.is_floating_point():
        return 0
    value = value.detach().float() if value.element_size() == 1 else value.detach()
    # The sum of finite numbers may overflow, but NaN and infinity never sum up to a finite one.
    if math.isfinite(value.sum()):
        return 0
    return int((~torch.isfinite(value)).sum())


def _items(mapping: dict[Any, Any]) -> dict[Any, Any]:
    """A copy without attributes: a file may give its dictionaries an `items` of its own."""
    return dict(dict.items(mapping))


def _not_a_weight(key: Any, value: Any) -> str | None:
    """Why an entry cannot be a parameter, or None."""
    if not isinstance(key, str):
        return "not a name"
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, not a tensor"
    if value.is_complex():
        return f"a tensor of {value.dtype}"
    return None


def _require_plain(value: Any, where: str) -> None:
    # Exact types: a subclass would be written under its own name, and refused on loading.
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _require_plain(key, f"a key of {where}")
            _require_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for i, item in enumerate(value):
            _require_plain(item, f"{where}[{i}]")
    elif type(value) not in _PLAIN_TYPES and not isinstance(value, Tensor):
        raise TypeError(
            f"{where} is a {type(value).__name__}; a checkpoint holds tensors, plain numbers, "
            "text, lists and dictionaries only"
        )
