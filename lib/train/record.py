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
from lib.config.loader import dump_config
from lib.config.paths import repository_root
from lib.config.schema import Config
from lib.utils.distributed import World
from lib.utils.errors import PartialFailure
from lib.utils.files import atomic_write_text, remove_temporaries

CONFIG_NAME = "config.yaml"
RECORD_NAME = "run.json"
_GIT_SECONDS = 10


def circumstances(command: Sequence[str], world: World) -> dict[str, Any]:
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
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        # Without tags, which would shorten the hash.
        run = subprocess.run(
            [*command, "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip() or None if run.returncode == 0 else None


def write_record(folder: Path, cfg: Config, facts: dict[str, Any]) -> None:
    """Keep the configuration, and the facts of this start after those of earlier ones.

    Raises:
        PartialFailure: the folder cannot be written.
    """
    started = {"time": time.strftime("%Y-%m-%d %H:%M:%S%z"), **facts}
    starts = [*_earlier(folder / RECORD_NAME), started]
    content = {"config_name": cfg.name, "starts": starts}
    texts = {CONFIG_NAME: dump_config(cfg), RECORD_NAME: json.dumps(content, indent=1) + "\n"}
    for name, text in texts.items():
        remove_temporaries(folder, name)
        try:
            atomic_write_text(folder / name, text)
        except OSError as error:
            raise PartialFailure(
                f"{folder / name} cannot be written ({error.strerror or error}); make room and "
                "start again"
            ) from None


def _earlier(path: Path) -> list[Any]:
    """Starts that are kept already; a file that is none of ours is replaced."""
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return starts if isinstance(starts, list) else []
