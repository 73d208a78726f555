"""What is kept beside the checkpoints about how they came to be: `config.yaml` and `run.json`."""

import json
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import timm
import torch

from lib import __version__
from lib.config.loader import dump_config, load_config
from lib.config.paths import repository_root
from lib.config.schema import Config
from lib.utils.distributed import World
from lib.utils.errors import ConfigError, PartialFailure
from lib.utils.files import atomic_write_text, remove_temporaries
from lib.utils.json_text import parse_json

CONFIG_NAME = "config.yaml"
RECORD_NAME = "run.json"
_GIT_SECONDS = 10


def environment_info(command: Sequence[str], world: World) -> dict[str, Any]:
    """Plain facts about this start: versions, revision, command, machine."""
    device = world.device
    on_gpu = device.type == "cuda"
    return {
        "command": shlex.join(command),
        "seqtrack": __version__,
        "git": git_revision(repository_root()),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if on_gpu else None,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
    }


def git_revision(folder: Path) -> str | None:
    """The commit of a checkout, with `-dirty` behind where files differ; None without one."""
    if not (folder / ".git").exists():
        return None
    # Without tags, which would shorten the hash.
    how = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    command = ["git", "-C", str(folder), *how]
    try:
        output = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return output.strip() or None


def write_record(folder: Path, cfg: Config, facts: dict[str, Any]) -> None:
    """Keep the configuration, and the facts of this start after those of earlier ones.

    Raises:
        PartialFailure: the folder cannot be written.
    """
    started = {"time": time.strftime("%Y-%m-%d %H:%M:%S%z"), **facts}
    content = _read(folder / RECORD_NAME)
    content |= {"config_name": cfg.name, "starts": [*_starts(content), started]}
    for name, text in {CONFIG_NAME: dump_config(cfg), RECORD_NAME: _text(content)}.items():
        remove_temporaries(folder, name)
        try:
            atomic_write_text(folder / name, text)
        except OSError as error:
            why = error.strerror or error
            raise PartialFailure(
                f"{folder / name} cannot be written ({why}); make room and start again"
            ) from None


def last_start(folder: Path) -> tuple[Config, dict[str, Any]] | None:
    """Configuration and facts of the last start on record; None where they cannot be read."""
    try:
        cfg = load_config(folder / CONFIG_NAME)
    except ConfigError:  # there is none, or it is of another version
        return None
    starts = _starts(_read(folder / RECORD_NAME))
    return cfg, starts[-1] if starts and isinstance(starts[-1], dict) else {}


def validated_epoch(folder: Path) -> int:
    """The epoch whose validation was the last one, 0 if none is on record."""
    epoch = _read(folder / RECORD_NAME).get("validated", 0)
    return epoch if type(epoch) is int else 0


def note_validation(folder: Path, epoch: int) -> None:
    """Keep that the validation after `epoch` is done.

    Raises:
        OSError: the folder cannot be written.
    """
    _note(folder, {"validated": epoch})


def best_validation(folder: Path) -> tuple[int, float] | None:
    """Epoch (0: before the first) and score of the best validation on record."""
    match _read(folder / RECORD_NAME).get("best"):
        case {"epoch": int(epoch), "score": float(score)}:
            return epoch, score
    return None


def note_best(folder: Path, epoch: int, score: float) -> None:
    """Keep which validation was the best one.

    Raises:
        OSError: the folder cannot be written.
    """
    _note(folder, {"best": {"epoch": epoch, "score": score}})


def _note(folder: Path, facts: dict[str, Any]) -> None:
    path = folder / RECORD_NAME
    atomic_write_text(path, _text({**_read(path), **facts}))


def _read(path: Path) -> dict[str, Any]:
    """A record; a file that is none of ours counts as empty, and is replaced."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _starts(content: dict[str, Any]) -> list[Any]:
    starts = content.get("starts")
    return starts if isinstance(starts, list) else []


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"
