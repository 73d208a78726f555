"""Downloads against a server on this machine, through gdown as users have it."""

import hashlib
import json
import os
import re

import pytest
import requests
import torch

from lib.utils import download
from lib.utils.checkpoint import save_checkpoint
from lib.utils.download import MirrorFolder
from tests.helpers.download_setup import TREE, call, mirror_of, plain_environment, publish, target


@pytest.fixture(autouse=True)
def no_proxy_no_retries(monkeypatch):
    plain_environment(monkeypatch)


@pytest.fixture
def server(tmp_path):
    """A mirror of the documented tree, without files yet."""
    folders = (TREE, "test/tracking_results/seqtrack", "logs")
    with mirror_of(tmp_path / "mirror", *folders) as httpd:
        yield httpd


@pytest.fixture
def save(tmp_path):
    return tmp_path / "save"


def test_fetch_record_and_check(server, save, capsys):
    """First use records size and hash; the second finds the file intact and fetches nothing."""
    source = publish(server.root)
    code, lines, errors = call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)
    assert (code, errors) == (0, [])
    assert target(save).read_bytes() == source.read_bytes()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert digest in lines[0]
    record = json.loads((save / TREE / "downloads.json").read_text())
    assert record["seqtrack_b256/SEQTRACK.pth.tar"]["sha256"] == digest
    assert record["seqtrack_b256/SEQTRACK.pth.tar"]["size"] == source.stat().st_size

    server.requests.clear()
    code, lines, _ = call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)
    assert code == 0 and "unchanged: nothing to do" in lines[0]
    assert not [path for path, _ in server.requests if path.endswith(".tar")]
    assert sorted(p.name for p in target(save).parent.iterdir()) == ["SEQTRACK.pth.tar"]


def test_a_pipe_in_its_place_is_left_alone(server, save, capsys):
    publish(server.root)
    target(save).parent.mkdir(parents=True)
    os.mkfifo(target(save))
    code, _, errors = call(save, "seqtrack_b256", "--source", server.url, "--force", capsys=capsys)
    assert code == 2 and "is a named pipe and is never replaced" in errors[0]
    assert target(save).is_fifo() and not any(path.endswith(".tar") for path, _ in server.requests)


def test_source_from_the_environment(server, save, capsys, monkeypatch):
    publish(server.root)
    monkeypatch.setenv("SEQTRACK_DOWNLOAD_SOURCE", server.url + "/")
    assert call(save, "seqtrack_b256", capsys=capsys)[0] == 0
    assert target(save).is_file()


def test_all_and_the_got_twin(server, save, capsys):
    """`all` is the eight; a file of the plain configuration never serves its twin."""
    publish(server.root, "seqtrack_b256", value=1.0)
    publish(server.root, "seqtrack_b256_got", value=2.0)
    code, lines, errors = call(save, "all", "--source", server.url, capsys=capsys)
    assert code == 1 and len(lines) == 2
    assert len(errors) == 6 and all("no checkpoint of it" in line for line in errors)
    value = torch.load(target(save, "seqtrack_b256_got"))["net"]["pos_embed"].flatten()[0]
    assert value == 2


def test_resume_after_a_cut_connection(server, save, capsys):
    """What came stays beside the target; the next run asks for the rest only."""
    source = publish(server.root, extra=400_000)
    server.faults["SEQTRACK.pth.tar"] = 1_000_000
    arguments = ["seqtrack_b256", "--source", server.url]
    code, _, errors = call(save, *arguments, capsys=capsys)
    assert code == 2 and len(errors) == 1 and not target(save).exists()
    kept = re.search(r"; (\d+) bytes are kept, the same command continues", errors[0])
    assert 0 < int(kept[1]) <= 1_000_000
    server.faults.clear()
    server.requests.clear()
    code, _, errors = call(save, *arguments, capsys=capsys)
    assert (code, errors) == (0, [])
    assert f"bytes={kept[1]}-" in [wanted for _, wanted in server.requests]
    assert target(save).read_bytes() == source.read_bytes()
    assert [p.name for p in target(save).parent.iterdir()] == ["SEQTRACK.pth.tar"]


@pytest.mark.parametrize("whole", [True, False], ids=["it is the whole file", "no ranges there"])
def test_a_part_that_cannot_be_continued_is_fetched_anew(server, save, capsys, whole):
    source = publish(server.root, extra=400_000)
    server.faults["SEQTRACK.pth.tar"] = 1_000_000
    arguments = ["seqtrack_b256", "--source", server.url]
    assert call(save, *arguments, capsys=capsys)[0] == 2
    server.faults.clear()
    (part,) = target(save).parent.glob("*.part")
    if whole:
        # Killed when all had come, before the file got its name.
        part.write_bytes(source.read_bytes())
    else:
        server.faults["SEQTRACK.pth.tar"] = source.read_bytes()
    code, _, errors = call(save, *arguments, capsys=capsys)
    assert (code, errors) == (0, [])
    assert target(save).read_bytes() == source.read_bytes()
    assert [p.name for p in target(save).parent.iterdir()] == ["SEQTRACK.pth.tar"]


def test_force_does_not_continue_an_old_part(server, save, capsys):
    publish(server.root, extra=400_000)
    server.faults["SEQTRACK.pth.tar"] = 1_000_000
    arguments = ["seqtrack_b256", "--source", server.url]
    call(save, *arguments, capsys=capsys)
    server.faults.clear()
    server.requests.clear()
    newer = publish(server.root, value=1.0, extra=400_000)
    assert call(save, *arguments, "--force", capsys=capsys)[0] == 0
    assert {wanted for _, wanted in server.requests} == {None}
    assert target(save).read_bytes() == newer.read_bytes()


def hostile(path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {path.parent / 'PWNED'}",)

    torch.save({"net": {"w": torch.ones(1)}, "x": Evil()}, path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda p: p.write_text("<!doctype html>quota"), "a web page", id="web page"),
        pytest.param(lambda p: p.write_bytes(b""), "empty", id="empty"),
        pytest.param(
            lambda p: p.write_bytes(p.read_bytes()[:5000]), "truncated or damaged", id="truncated"
        ),
        pytest.param(hostile, "asks for posix.system", id="hostile"),
        pytest.param(
            lambda p: publish(p.parents[4], "seqtrack_b256", network="seqtrack_l384"),
            "holds the network of seqtrack_l384, not of seqtrack_b256",
            id="another network",
        ),
        pytest.param(
            lambda p: save_checkpoint(p, {"net": {"w": torch.ones(1)}}),
            "no published configuration",
            id="no tracker",
        ),
    ],
)
def test_wrong_content(server, save, capsys, spoil, words):
    """What came is looked at before it gets its name; one line, and nothing stays behind."""
    spoil(publish(server.root))
    code, _, errors = call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert words in errors[0] and f"by hand: {server.url}/{TREE}" in errors[0]
    assert str(target(save)) in errors[0]
    assert list(target(save).parent.iterdir()) == []
    assert not list(server.root.rglob("PWNED"))


def test_part_failed(server, save, capsys):
    publish(server.root, "seqtrack_b256")
    publish(server.root, "seqtrack_b384").write_text("<html>no</html>")
    arguments = ["seqtrack_b384", "seqtrack_b256", "--source", server.url]
    code, lines, errors = call(save, *arguments, capsys=capsys)
    assert code == 1 and len(errors) == 1 and "seqtrack_b384" in errors[0]
    assert len(lines) == 1 and target(save).is_file()


def test_404(server, save, capsys):
    """A link on the folder's page without a file behind it."""
    (server.root / TREE / "index.html").write_text('<a href="seqtrack_b256.pth.tar">x</a>')
    code, _, errors = call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert "404" in errors[0] or "web page" in errors[0]  # gdown 5 keeps the error page


def test_folder_missing_on_the_mirror(server, save, capsys):
    source = server.url + "/nothing"
    code, _, errors = call(save, "seqtrack_b256", "--source", source, capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert "cannot be listed: 404" in errors[0] and "by hand" in errors[0]


def test_connection_refused(server, save, capsys):
    """One line for all eight."""
    server.shutdown()
    server.server_close()
    code, lines, errors = call(save, "all", "--source", server.url, capsys=capsys)
    assert (code, lines) == (2, []) and len(errors) == 1
    assert "cannot be reached" in errors[0] and str(save / TREE) in errors[0]


def test_a_host_without_a_name_is_said_in_short(save, capsys, monkeypatch):
    """The reason is wrapped twice, with a quote and brackets behind it."""
    asked = "HTTPSConnection(host='drive.google.com', port=443)"
    reason = "Failed to resolve 'drive.google.com' ([Errno -2] Name or service not known)"
    wrapped = f'Max retries exceeded with url: /x (Caused by Error("{asked}: {reason}"))'

    def fail(self):
        with download._explained("the folder cannot be listed"):
            raise requests.exceptions.ConnectionError(wrapped)

    monkeypatch.setattr(download.DriveFolder, "list_files", fail)
    code, _, errors = call(save, "seqtrack_b256", capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert f"cannot be listed: {reason}; by hand" in errors[0]


def test_server_goes_away_in_between(server, save, capsys, monkeypatch):
    """Refused at the file, not at the list: still one line, not one per file."""
    publish(server.root, "seqtrack_b256")
    publish(server.root, "seqtrack_b384")
    listed = MirrorFolder(f"{server.url}/{TREE}").list_files()
    monkeypatch.setattr(MirrorFolder, "list_files", lambda self: listed)
    server.shutdown()
    server.server_close()
    code, _, errors = call(save, "all", "--source", server.url, capsys=capsys)
    assert code == 2 and len(errors) == 1
    assert "could not be fetched" in errors[0]


def test_changed_on_disk(server, save, capsys):
    source = publish(server.root)
    arguments = ["seqtrack_b256", "--source", server.url]
    call(save, *arguments, capsys=capsys)
    target(save).write_bytes(source.read_bytes()[:-1] + b"x")
    code, _, errors = call(save, *arguments, capsys=capsys)
    assert code == 2 and "has changed since it was recorded" in errors[0]
    assert "--overwrite" in errors[0]
    assert call(save, *arguments, "--force", capsys=capsys)[0] == 0
    assert target(save).read_bytes() == source.read_bytes()


def test_changed_at_the_source(server, save, capsys):
    """The hash of the first use decides, also when the file has to be fetched again."""
    publish(server.root)
    arguments = ["seqtrack_b256", "--source", server.url]
    call(save, *arguments, capsys=capsys)
    target(save).unlink()
    newer = publish(server.root, value=3.0)
    code, _, errors = call(save, *arguments, capsys=capsys)
    assert code == 2 and "another file than the one recorded" in errors[0]
    assert not target(save).exists()
    assert call(save, *arguments, "--force", capsys=capsys)[0] == 0
    assert target(save).read_bytes() == newer.read_bytes()


def test_file_put_there_by_hand(server, save, capsys):
    """Checked and recorded like a fetched one, without fetching it."""
    publish(save)
    publish(server.root, value=9.0)
    code, lines, _ = call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)
    assert code == 0 and "was there already" in lines[0]
    assert (save / TREE / "downloads.json").is_file()


def test_wrong_file_put_there_by_hand(server, save, capsys):
    publish(save, "seqtrack_b256", network="seqtrack_l256")
    publish(server.root)
    code, _, errors = call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)
    assert code == 2 and "holds the network of seqtrack_l256" in errors[0]
    assert target(save).is_file()


def test_damaged_record(server, save, capsys):
    publish(server.root)
    (save / TREE).mkdir(parents=True)
    (save / TREE / "downloads.json").write_text('{"a": 3')
    code, _, errors = call(save, "seqtrack_b256", "--source", server.url, capsys=capsys)
    assert code == 2 and "downloads.json is damaged" in errors[0]


def test_raw_results_and_logs(server, save, capsys):
    results = server.root / "test/tracking_results/seqtrack"
    for name in ("seqtrack_b256/lasot/airplane-1.txt", "seqtrack_b256_got/got10k/a b.txt"):
        (results / name).parent.mkdir(parents=True)
        (results / name).write_text("1\t2\t3\t4\n")
    (results / "seqtrack_b256/lasot/airplane-2.txt").write_text("5\t6\t7\t8\n")
    (server.root / "logs/seqtrack-seqtrack_b256_got.log").write_text("[train: 1]\n")
    (server.root / "logs/seqtrack-seqtrack_b256.log").write_text("[train: 2]\n")
    arguments = ["seqtrack_b256", "seqtrack_b256_got", "--source", server.url]
    code, _, errors = call(save, *arguments, "--raw-results", "--logs", capsys=capsys)
    assert (code, errors) == (0, [])
    found = sorted(p.relative_to(save).as_posix() for p in save.rglob("*.*") if p.is_file())
    assert found == [
        "logs/downloads.json",
        "logs/seqtrack-seqtrack_b256.log",
        "logs/seqtrack-seqtrack_b256_got.log",
        "test/tracking_results/seqtrack/downloads.json",
        "test/tracking_results/seqtrack/seqtrack_b256/lasot/airplane-1.txt",
        "test/tracking_results/seqtrack/seqtrack_b256/lasot/airplane-2.txt",
        "test/tracking_results/seqtrack/seqtrack_b256_got/got10k/a b.txt",
    ]
    server.requests.clear()
    assert call(save, *arguments, "--raw-results", capsys=capsys)[0] == 0
    assert not [path for path, _ in server.requests if path.endswith(".txt")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seqtrack_b255"], "did you mean 'seqtrack_b256'?"),
        (["zzz"], "there are all, seqtrack_b256"),
        (["seqtrack_b256", "--source", "ftp://x"], "http(s)://"),
    ],
)
def test_wrong_input(save, capsys, arguments, words):
    code, _, errors = call(save, *arguments, capsys=capsys)
    assert code == 2 and len(errors) == 1 and words in errors[0]
    assert not save.exists()


def test_links_that_leave_the_folder(server):
    """The page of a folder may link anywhere; only what lies in it counts."""
    server.faults[""] = (
        b'<a href="../">up</a><a href="?C=N">sort</a><a href="/etc/passwd">x</a>'
        b'<a href="http://127.0.0.1:9/evil">y</a><a href="%2e%2e/z">z</a>'
        b'<a href="a%20b.txt">ok</a><a href="..%2fc.txt">no</a>'
    )
    files = MirrorFolder(f"{server.url}/logs").list_files()
    assert [str(file.path) for file in files] == ["logs/a b.txt"]
