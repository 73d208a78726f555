"""What the tests of downloads share: the environment of gdown, a mirror, a checkpoint to publish,
a call of the command."""

import contextlib
import json
from pathlib import Path

import torch

import lib.utils.download
from lib.commands.entry import run
from lib.utils.checkpoint import save_checkpoint
from tests.helpers.mirror_server import mirror_server

KIT = Path(__file__).parents[1] / "kits" / "parity"
TREE = "checkpoints/train/seqtrack"


def plain_environment(monkeypatch):
    """None of the user's proxies or sources, and a failure is a failure at once."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SEQTRACK_DOWNLOAD_SOURCE", raising=False)
    monkeypatch.setattr(lib.utils.download, "RETRIES", 0)


@contextlib.contextmanager
def mirror_of(root, *folders):
    """A server of the documented tree with these folders, without files yet."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
    with mirror_server(root) as httpd:
        yield httpd


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
