"""Weights from a hub's repository and from a folder of any shape, on a server on this machine."""

import json
from pathlib import PurePosixPath

import pytest

from lib.commands.download import CHECKPOINTS
from lib.config.paths import resolve_paths
from lib.utils.download import HubRepository, MirrorFolder, RemoteFile
from tests.helpers.download_setup import TREE, call, mirror_of, plain_environment, publish, target


@pytest.fixture
def server(tmp_path, monkeypatch):
    plain_environment(monkeypatch)
    with mirror_of(tmp_path / "server") as httpd:
        httpd.root.mkdir(exist_ok=True)
        monkeypatch.setenv("HF_ENDPOINT", httpd.url + "/")
        yield httpd


@pytest.fixture
def save(tmp_path):
    return tmp_path / "save"


def put(server, repository, files, revision="main"):
    """Publish files, by path, as a hub does: a list, and addresses that lead elsewhere."""
    listed = {"id": repository, "siblings": [{"rfilename": name} for name in files]}
    page = server.root / "api/models" / repository / "revision" / revision
    page.parent.mkdir(parents=True)
    page.write_text(json.dumps(listed), encoding="utf-8")
    for number, (name, source) in enumerate(files.items()):
        stored = server.root / "store" / str(number)
        stored.parent.mkdir(exist_ok=True)
        source.replace(stored)
        server.moved[f"/{repository}/resolve/{revision}/{name}"] = f"{server.url}/store/{number}"


def test_a_repository(server, save, capsys):
    weights = publish(server.root)
    content = weights.read_bytes()
    readme = server.root / "README.md"
    readme.write_text("words")
    put(server, "me/trackers", {"README.md": readme, "seqtrack_b256/SEQTRACK.pth.tar": weights})
    code, lines, errors = call(save, "seqtrack_b256", "--source", "hf://me/trackers", capsys=capsys)
    assert (code, errors) == (0, []) and "fetched" in lines[0]
    assert target(save).read_bytes() == content
    record = json.loads((save / TREE / "downloads.json").read_text())
    address = f"{server.url}/me/trackers/resolve/main/seqtrack_b256/SEQTRACK.pth.tar"
    assert record["seqtrack_b256/SEQTRACK.pth.tar"]["url"] == address


def test_a_repository_of_one_model_at_a_revision(server, save, capsys):
    """The repository's name says whose weights they are."""
    put(server, "me/SeqTrack-B256", {"weights.pth.tar": publish(server.root)}, "v1")
    source = ("--source", "hf://me/SeqTrack-B256@v1")
    assert call(save, "seqtrack_b256", *source, capsys=capsys)[0] == 0
    assert target(save).is_file()


@pytest.mark.parametrize(
    ("names", "chosen", "kept_as"),
    [
        (["model.safetensors"], "model.safetensors", "SEQTRACK.safetensors"),
        (["SEQTRACK.safetensors", "x_ep9.pth.tar"], "SEQTRACK.safetensors", "SEQTRACK.safetensors"),
        (["model.safetensors", "SEQTRACK.pth.tar"], "SEQTRACK.pth.tar", "SEQTRACK.pth.tar"),
        (["x_ep10.pth.tar", "x_ep9.pth.tar"], "x_ep10.pth.tar", "SEQTRACK.pth.tar"),
    ],
)
def test_a_file_keeps_its_format(tmp_path, names, chosen, kept_as):
    files = [RemoteFile(PurePosixPath("seqtrack-b256", name), "") for name in names]
    (item,) = CHECKPOINTS.choose("seqtrack_b256", files, resolve_paths(save_dir=tmp_path, env={}))
    assert (item.remote.path.name, item.target.name) == (chosen, kept_as)


def test_addresses_are_those_of_the_hubs_own_library(server):
    hub = pytest.importorskip("huggingface_hub")
    name, path, revision = "me/trackers", "a folder/weights#1.pth.tar", "refs/pr/1"
    (server.root / "file").write_text("")
    put(server, name, {path: server.root / "file"}, "refs%2Fpr%2F1")
    server.faults["refs%2Fpr%2F1"] = json.dumps({"siblings": [{"rfilename": path}]}).encode()
    (found,) = HubRepository(name, revision, server.url).list_files()
    assert found.url == hub.hf_hub_url(name, path, revision=revision, endpoint=server.url)
    assert str(found.path) == "trackers/a folder/weights#1.pth.tar"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--source", "hf://me/none"], "404", id="no such repository"),
        pytest.param(["--source", "hf://me"], "hf://OWNER/NAME@REVISION", id="no name"),
        pytest.param(["--source", "hf://a/b/c"], "hf://OWNER/NAME", id="too many names"),
        pytest.param(["--source", "hf://me/x", "--logs"], "only checkpoints", id="logs"),
        pytest.param(["--source", "hf://me/broken"], "is no list of a repository", id="no list"),
        pytest.param(["--source", "hf://me/empty"], "has no checkpoint of it", id="without it"),
    ],
)
def test_what_cannot_be_had(server, save, capsys, arguments, words):
    put(server, "me/empty", {})
    put(server, "me/broken", {}, "other")
    (server.root / "api/models/me/broken/revision/main").write_text("<html>")
    code, lines, errors = call(save, "seqtrack_b256", *arguments, capsys=capsys)
    assert (code, lines, len(errors)) == (2, [], 1) and words in errors[0]
    assert not target(save).exists()


def test_a_folder_of_any_shape(server, save, capsys):
    """Without the documented tree the names of files and folders say what they are."""
    (server.root / "models/mine").mkdir(parents=True)
    publish(server.root).replace(server.root / "models/mine/seqtrack_b256_ep500.pth.tar")
    for folder in ("checkpoints/train/seqtrack/seqtrack_b256", TREE, "checkpoints/train"):
        (server.root / folder).rmdir()
    assert call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)[0] == 0
    assert target(save).is_file()


def test_the_name_of_the_folder_itself_counts(server):
    (server.root / "seqtrack_b256").mkdir()
    (server.root / "seqtrack_b256/weights.pth.tar").write_text("x")
    missing, there = f"{server.url}/{TREE}", f"{server.url}/seqtrack_b256"
    (found,) = MirrorFolder(missing, or_all_of=there).list_files()
    assert str(found.path) == "seqtrack_b256/weights.pth.tar"
