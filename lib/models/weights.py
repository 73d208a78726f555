"""Finding a checkpoint, telling which network it is of, and loading it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lib.config.schema import PUBLISHED_CONFIGS
from lib.models.positions import fitted_positions
from lib.models.signature import NetworkSignature, recognise, same_network
from lib.utils.advice import advice
from lib.utils.checkpoint import printable, read_checkpoint
from lib.utils.errors import CheckpointError, did_you_mean

FINAL_NAMES = ("SEQTRACK.pth.tar", "SEQTRACK.safetensors")
EPOCH_PATTERN = "SEQTRACK_ep*.pth.tar"
_KEYS_SHOWN = 3


@dataclass(frozen=True)
class CheckpointInfo:
    """Which weights a network has.

    Attributes:
        path: the file.
        epoch: epoch after which it was written, where the file says.
        net_type: class name of the network, where the file says.
        resized: whether its positions were resized to other crop sizes.
    """

    path: Path
    epoch: int | None
    net_type: str | None
    resized: bool = False


def find_checkpoint(
    config_name: str, folders: Sequence[Path], explicit: Path | str | None = None
) -> Path:
    """The checkpoint to use: `explicit`, else the first that the folders hold.

    Per folder: `SEQTRACK.pth.tar`, `SEQTRACK.safetensors`, then the `SEQTRACK_ep*.pth.tar` of
    the highest epoch.

    Args:
        config_name: name of the configuration, for the advice in the error.
        folders: folders of this configuration's checkpoints, in order.
        explicit: the file the user named.

    Raises:
        CheckpointError: nothing was found; the message lists every path tried.
    """
    if explicit is not None:
        return _explicit(Path(explicit))
    tried: list[Path] = []
    for folder in folders:
        for path in [*(folder / name for name in FINAL_NAMES), newest_epoch(folder)]:
            if path is not None and path.is_file():
                return path
        tried += [folder / name for name in (*FINAL_NAMES, EPOCH_PATTERN)]
    remedy = f"train {config_name}, or name a file with --checkpoint FILE"
    if config_name in PUBLISHED_CONFIGS:
        remedy = f"{advice('download', config_name)} fetches it; or {remedy}"
    raise CheckpointError(
        f"no checkpoint for {config_name}: tried {', '.join(map(str, tried))}; {remedy}"
    )


def newest_epoch(folder: Path) -> Path | None:
    """The `SEQTRACK_ep<number>.pth.tar` with the highest number in `folder`, or None."""
    by_epoch = epoch_checkpoints(folder)
    return by_epoch[max(by_epoch)] if by_epoch else None


def epoch_checkpoints(folder: Path, name: str = "SEQTRACK") -> dict[int, Path]:
    """The files `<name>_ep<number>.pth.tar` of a folder, by number."""
    pattern = re.compile(rf"{re.escape(name)}_ep(\d+)\.pth\.tar")
    return {
        int(match[1]): path
        for path in folder.glob("*.pth.tar")
        if (match := pattern.fullmatch(path.name)) and path.is_file()
    }


def load_weights(
    model: nn.Module, path: Path | str, strict: bool = True, any_crop_size: bool = False
) -> CheckpointInfo:
    """Copy the weights of a file into `model`.

    A model on the meta device takes the file's tensors as its own.

    Args:
        model: the network.
        path: checkpoint or safetensors file.
        strict: refuse missing and unexpected keys. Other shapes are refused always.
        any_crop_size: resize the positions of a network with crops of other sizes, as a start for
            training.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the message says which keys
            or shapes differ and which network the file looks like.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    own = model.state_dict()
    resized = fitted_positions(checkpoint.state, own) if any_crop_size else None
    found = checkpoint.state if resized is None else resized
    differences = state_differences(own, found, strict)
    if differences:
        raise CheckpointError(
            f"{path} does not fit this model: {'; '.join(differences)}; " + _identity(own, found)
        )
    on_meta = any(value.is_meta for value in own.values())
    state = {k: v.to(own[k].dtype) if k in own else v for k, v in found.items()}
    model.load_state_dict(state, strict=strict, assign=on_meta)
    return CheckpointInfo(path, checkpoint.epoch, checkpoint.net_type, resized is not None)


def _explicit(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*") if p.is_file())
        listed = f": {', '.join(inside[:5])}" if inside else ", and there is none"
        raise CheckpointError(f"--checkpoint {path} is a folder; name a file in it{listed}")
    if not path.parent.is_dir():
        raise CheckpointError(f"--checkpoint {path}: its folder {path.parent} does not exist")
    hint = did_you_mean(path.name, (p.name for p in path.parent.iterdir()))
    raise CheckpointError(f"--checkpoint {path}: no such file{hint}")


def state_differences(
    own: Mapping[str, Tensor], file: Mapping[str, Tensor], strict: bool = True
) -> list[str]:
    """What keeps a state dict from loading, one phrase per kind; empty when nothing does."""
    found = []
    if strict:
        missing = [key for key in own if key not in file]
        unexpected = [key for key in file if key not in own]
        found += _listed("key missing", "keys missing", missing)
        found += _listed("unexpected key", "unexpected keys", unexpected)
    shapes = [
        f"{key} {tuple(file[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in file and file[key].shape != own[key].shape
    ]
    return found + _listed("tensor of another shape", "tensors of another shape", shapes)


def _listed(one: str, many: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    shown = ", ".join(printable(item, 120) for item in items[:_KEYS_SHOWN])
    more = ", …" if len(items) > _KEYS_SHOWN else ""
    return [f"{len(items)} {one if len(items) == 1 else many} ({shown}{more})"]


def _identity(own: Mapping[str, Tensor], file: Mapping[str, Tensor]) -> str:
    """What the file looks like, and how that network differs from the model."""
    signature = NetworkSignature.of(file)
    if signature is None:
        if "cls_token" in file and "patch_embed.proj.weight" in file:
            return (
                "this looks like a pre-trained image encoder (MODEL.ENCODER.PRETRAIN_TYPE), "
                "not like a tracker"
            )
        return "this does not look like a SeqTrack network"
    if name := recognise(file):
        return f"this looks like {same_network(name)}: use it with that configuration"
    model = NetworkSignature.of(own)
    changes = signature.changes(model) if model else []
    advice = f"; to use it, change {', '.join(changes)}" if changes else ""
    return f"this looks like {signature.describe()}{advice}"
