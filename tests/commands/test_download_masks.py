"""Fetching the mask network: one file, from a mirror or from Google Drive."""

from pathlib import Path

import gdown
import pytest

from lib.commands.download import MASK_WEIGHTS
from lib.utils.download import DriveFile
from tests.helpers.download_setup import TREE as TRACKERS
from tests.helpers.download_setup import call, mirror_of, plain_environment, publish
from tests.helpers.mask_setup import NAME, TREE, write_mask_weights

DRIVE_ID = "1qOQRfaRMbQ2nmgX1NFjoQHfXOAn609QM"


@pytest.fixture(autouse=True)
def no_proxy_no_retries(monkeypatch):
    plain_environment(monkeypatch)


@pytest.fixture
def server(tmp_path):
    with mirror_of(tmp_path / "mirror", TREE, TRACKERS) as httpd:
        yield httpd


def test_from_a_mirror(server, tmp_path, capsys):
    """To the documented place, recorded there; trackers are not asked for."""
    source = write_mask_weights(server.root / TREE / NAME)
    save = tmp_path / "save"
    code, lines, errors = call(save, "alpha_refine", "--source", server.url, capsys=capsys)
    assert (code, errors) == (0, []) and "fetched" in lines[0]
    assert (save / TREE / NAME).read_bytes() == source.read_bytes()
    assert (save / TREE / "downloads.json").is_file()
    assert not [path for path, _ in server.requests if "seqtrack" in path]
    code, lines, _ = call(save, "alpha_refine", "--source", server.url, capsys=capsys)
    assert code == 0 and "unchanged: nothing to do" in lines[0]


def test_beside_a_tracker(server, tmp_path, capsys):
    """One command for both; what is not there is said, the other is fetched."""
    publish(server.root)
    save, arguments = tmp_path / "save", ["seqtrack_b256", "alpha_refine", "--source", server.url]
    code, lines, errors = call(save, *arguments, capsys=capsys)
    assert code == 1 and len(lines) == 1 and len(errors) == 1
    assert "alpha_refine" in errors[0] and "has no weights of it" in errors[0]
    write_mask_weights(server.root / TREE / NAME)
    assert call(save, *arguments, capsys=capsys)[0] == 0
    assert (save / TREE / NAME).is_file()


def test_all_are_the_trackers(server, tmp_path, capsys):
    publish(server.root)
    write_mask_weights(server.root / TREE / NAME)
    call(tmp_path / "save", "all", "--source", server.url, capsys=capsys)
    assert not (tmp_path / "save" / TREE).exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda p: p.write_text("<html>quota"), "a web page", id="web page"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:9000]), "truncated", id="truncated"),
        pytest.param(
            lambda p: p.write_bytes(publish(p.parents[9]).read_bytes()), "SeqTrack tracker", id="x"
        ),
    ],
)
def test_wrong_content(server, tmp_path, capsys, spoil, words):
    spoil(write_mask_weights(server.root / TREE / NAME))
    save = tmp_path / "save"
    code, _, errors = call(save, "alpha_refine", "--source", server.url, capsys=capsys)
    assert code == 2 and len(errors) == 1 and words in errors[0]
    assert f"by hand: {server.url}/{TREE}" in errors[0] and str(save / TREE / NAME) in errors[0]
    assert list((save / TREE).iterdir()) == []


def test_from_google_drive(monkeypatch, tmp_path, capsys):
    """The published file by its id, without listing a folder."""
    asked = []

    def download(url, output, quiet, resume, use_cookies):
        asked.append((url, use_cookies))
        write_mask_weights(Path(output))
        return output

    monkeypatch.setattr(gdown, "download", download)
    save = tmp_path / "save"
    assert call(save, "alpha_refine", capsys=capsys)[0] == 0
    assert asked == [(f"https://drive.google.com/uc?id={DRIVE_ID}", True)]
    assert (save / TREE / NAME).is_file()
    assert MASK_WEIGHTS.drive == DriveFile(DRIVE_ID, NAME)


def test_drive_fails(monkeypatch, tmp_path, capsys):
    """One line, with the page for a browser and the place to put the file."""
    monkeypatch.setattr(gdown, "download", lambda **arguments: None)
    code, _, errors = call(tmp_path, "alpha_refine", capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert f"https://drive.google.com/file/d/{DRIVE_ID}/view" in errors[0]
    assert str(tmp_path / TREE / NAME) in errors[0]


@pytest.mark.parametrize("option", ["--logs", "--raw-results"])
def test_nothing_but_weights(tmp_path, capsys, option):
    code, _, errors = call(tmp_path / "save", "alpha_refine", option, capsys=capsys)
    assert code == 2 and "only the weights are published" in errors[0]
    assert not (tmp_path / "save").exists()


def test_spelling(tmp_path, capsys):
    code, _, errors = call(tmp_path, "alpha_refin", capsys=capsys)
    assert code == 2 and "did you mean 'alpha_refine'?" in errors[0]
