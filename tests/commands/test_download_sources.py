"""What is taken from where to where, and Google Drive, played by what gdown answers."""

import collections
from pathlib import PurePosixPath

import gdown
import gdown.exceptions
import pytest
import requests

from lib.commands.download import CHECKPOINTS, LOGS, RAW_RESULTS
from lib.config.paths import resolve_paths
from lib.utils.download import DriveFolder, RemoteFile
from tests.helpers.download_setup import TREE, call, target

Listed = collections.namedtuple("Listed", ("id", "path", "local_path"))


@pytest.fixture
def save(tmp_path, monkeypatch):
    monkeypatch.delenv("SEQTRACK_DOWNLOAD_SOURCE", raising=False)
    return tmp_path / "save"


def test_drive_folder_is_listed(monkeypatch):
    def download_folder(id, skip_download, quiet):
        assert (id, skip_download) == ("abc", True)
        return [Listed("1", "seqtrack_b256/SEQTRACK.pth.tar", ""), Listed("2", "../x", "")]

    monkeypatch.setattr(gdown, "download_folder", download_folder)
    url = "https://drive.google.com/uc?id=1"
    expected = [RemoteFile(PurePosixPath("seqtrack_b256/SEQTRACK.pth.tar"), url)]
    assert DriveFolder("abc").list_files() == expected


def test_offline(monkeypatch, save, capsys):
    def download_folder(**arguments):
        raise requests.exceptions.ConnectionError("Name or service not known")

    monkeypatch.setattr(gdown, "download_folder", download_folder)
    code, _, errors = call(save, "all", capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert "https://drive.google.com/drive/folders/10PKs6aqSbVtb6aloYmtaN4aKMnmPF58P" in errors[0]
    assert "Name or service not known" in errors[0] and str(save / TREE) in errors[0]


def test_quota_exceeded(monkeypatch, save, capsys):
    listed = [Listed("1", f"{c}/SEQTRACK.pth.tar", "") for c in ("seqtrack_b256", "seqtrack_l384")]

    def download(**arguments):
        raise gdown.exceptions.FileURLRetrievalError(
            "Failed to retrieve file url:\n\n\tToo many users have viewed or downloaded\n\n"
            "You may still be able to access the file from the browser:\n\n\thttps://x\n"
        )

    monkeypatch.setattr(gdown, "download_folder", lambda **arguments: listed)
    monkeypatch.setattr(gdown, "download", download)
    code, _, errors = call(save, "seqtrack_l384", capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert "Too many users" in errors[0] and "by hand: https://drive.google.com" in errors[0]
    assert str(target(save, "seqtrack_l384")) in errors[0]


@pytest.mark.parametrize(
    ("collection", "config", "offered", "expected"),
    [
        pytest.param(
            CHECKPOINTS,
            "seqtrack_b256",
            ["seqtrack_b256_got/SEQTRACK.pth.tar", "models/seqtrack_b256/SEQTRACK_ep0500.pth.tar"],
            {"models/seqtrack_b256/SEQTRACK_ep0500.pth.tar": f"{TREE}/seqtrack_b256"},
            id="not the twin's; another name of the file",
        ),
        pytest.param(
            CHECKPOINTS,
            "seqtrack_b256",
            ["seqtrack_b256/SEQTRACK_ep0500.pth.tar", "seqtrack_b256/SEQTRACK.pth.tar"],
            {"seqtrack_b256/SEQTRACK.pth.tar": f"{TREE}/seqtrack_b256"},
            id="the final one first",
        ),
        pytest.param(
            RAW_RESULTS,
            "seqtrack_b256",
            [
                "test/tracking_results/seqtrack/seqtrack_b256/lasot/a-1.txt",
                "SeqTrack-B256/uav/b.txt",
                "external/vot20/seqtrack/results/seqtrack_b256_ar/c.txt",
                "seqtrack_b256.zip",
                "seqtrack_b2560/d.txt",
            ],
            {
                "test/tracking_results/seqtrack/seqtrack_b256/lasot/a-1.txt": (
                    "test/tracking_results/seqtrack/seqtrack_b256/lasot"
                ),
                "SeqTrack-B256/uav/b.txt": "test/tracking_results/seqtrack/seqtrack_b256/uav",
                "external/vot20/seqtrack/results/seqtrack_b256_ar/c.txt": (
                    "external/vot20/seqtrack/results/seqtrack_b256_ar"
                ),
                "seqtrack_b256.zip": "test/tracking_results/seqtrack/seqtrack_b256",
            },
            id="raw results, VOT's in their own tree",
        ),
        pytest.param(
            LOGS,
            "seqtrack_l384",
            ["seqtrack-seqtrack_l384.log", "seqtrack_l384/train.log", "seqtrack_l384_got.log"],
            {"seqtrack-seqtrack_l384.log": "logs", "seqtrack_l384/train.log": "logs/seqtrack_l384"},
            id="logs",
        ),
    ],
)
def test_places(save, collection, config, offered, expected):
    files = [RemoteFile(PurePosixPath(path), "") for path in offered]
    items = collection.choose(config, files, resolve_paths(save_dir=save, env={}))
    folders = {
        str(item.remote.path): item.target.parent.relative_to(save).as_posix() for item in items
    }
    assert folders == expected
    if collection is CHECKPOINTS:
        assert all(item.target.name == "SEQTRACK.pth.tar" for item in items)
