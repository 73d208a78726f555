"""What the tests of downloads share: a mirror, a checkpoint to publish, a call of the command."""

import json
from pathlib import Path

import torch

from lib.commands.entry import run
from lib.utils.checkpoint import save_checkpoint

KIT = Path(__file__).parent / "kits" / "parity"
TREE = "checkpoints/train/seqtrack"


def publish(root, config="seqtrack_b256", network=None, value=0.0, extra=0):
    """A checkpoint with the keys and shapes of a published network, but few numbers in it."""
    size = (network or config).split("_")[1]
    recorded = json.loads((KIT / f"state_dict_{size}.json").read_text())["state_dict"]
    state = {key: torch.full((1,), value).expand(shape) for key, shape, _ in recorded}
    path = root / TREE / config / "SEQTRACK.pth.tar"
    save_checkpoint(path, {"net": state, "net_type": "SEQTRACK", "extra": torch.rand(extra)})
    return path


def call(save, *arguments, capsys):
    """Exit code, lines on stdout and `error:` lines of the command."""
    code = run("lib.commands.download", [*arguments, "--save_dir", str(save)])
    captured = capsys.readouterr()
    errors = captured.err[captured.err.find("error: ") :] if "error: " in captured.err else ""
    return code, captured.out.splitlines(), errors.splitlines()


def target(save, config="seqtrack_b256"):
    return save / TREE / config / "SEQTRACK.pth.tar"
