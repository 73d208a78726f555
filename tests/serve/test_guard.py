"""Who may ask: names, origins, tokens; and folders of uploads that outlive nobody."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lib.commands import serve
from lib.commands.entry import run
from lib.serve import uploads
from lib.serve.guard import COOKIE, Gate
from lib.serve.kinds import is_video, picture_size
from lib.serve.uploads import UploadFolder, file_name
from tests.helpers.page_server import HOST, client_of, make_service
from tests.helpers.video_files import numbered, write_av

HERE = f"{HOST}:8642"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return client_of(make_service(tmp_path))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HERE, 200),
        ("localhost:8642", 200),
        ("LOCALHOST", 200),
        ("[::1]:8642", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example:8642", 400),
        ("", 400),
    ],
)
def test_a_name_that_is_not_the_servers(client: TestClient, host: str, status: int) -> None:
    """DNS rebinding: a page of elsewhere whose name leads here."""
    answer = client.get("/models", headers={"host": host})
    assert answer.status_code == status
    assert status == 200 or "--allow-host" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": f"http://{HERE}"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": f"http://{HOST}:9000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_a_page_of_elsewhere(client: TestClient, headers: dict[str, str], status: int) -> None:
    with client:
        assert client.post("/sessions/none/end", headers=headers).status_code == status


def test_a_length_of_thousands_of_digits(client: TestClient) -> None:
    answer = client.post("/track", content=b"", headers={"content-length": "9" * 4400})
    assert answer.status_code == 413 and "--max-mb" in answer.json()["error"]


def test_a_token(tmp_path: Path) -> None:
    client = client_of(make_service(tmp_path), Gate(token="secret"))
    for headers in ({}, {"authorization": "Bearer no"}, {"cookie": f"{COOKIE}=no"}):
        answer = client.get("/", headers=headers)
        assert answer.status_code == 401 and "token" in answer.json()["error"]
    assert client.get("/?token=no").status_code == 401
    bearer = {"authorization": "Bearer secret"}
    assert client.get("/models", headers=bearer).status_code == 200
    answer = client.get("/?token=secret", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    assert "HttpOnly" in answer.headers["set-cookie"] and "Strict" in answer.headers["set-cookie"]
    assert client.get("/models").status_code == 200, "the link has set the cookie"


def test_nothing_of_elsewhere_may_be_loaded(client: TestClient) -> None:
    answer = client.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert 'src="main.js"' in answer.text


def _head(path: Path, codec: str, pixels: str) -> bytes:
    return write_av(path, numbered(4), codec, pix_fmt=pixels).read_bytes()[:512]


def test_what_a_file_is(tmp_path: Path) -> None:
    codecs = {"mp4": "libx264", "mkv": "libx264", "avi": "mpeg4", "webm": "libvpx-vp9"}
    for suffix, codec in {**codecs, "ts": "mpeg2video", "flv": "flv", "gif": "gif"}.items():
        name, pixels = f"a.{suffix}", "rgb8" if suffix == "gif" else "yuv420p"
        assert is_video(_head(tmp_path / name, codec, pixels)), name
    for text in (b"", b"#EXTM3U\n", b"ffconcat version 1.0", b"<?xml?>", b"v=0\r\n", b"%PDF-1.4"):
        assert not is_video(text)


def test_the_size_of_a_picture_without_decoding_it() -> None:
    import cv2
    import numpy as np

    image = np.zeros((37, 61, 3), np.uint8)
    for suffix in (".png", ".jpg", ".webp"):
        data = cv2.imencode(suffix, image)[1].tobytes()
        assert picture_size(data) == (61, 37), suffix
        assert picture_size(data[:12]) is None
    lossless = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    assert picture_size(lossless) == (61, 37)
    assert picture_size(b"GIF89a") is None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\a b.mov", "a b.mov"),
        ("猫.mp4", "猫.mp4"),
        ("a\0\n*?.mp4", "a_.mp4"),
        ("..", "clip"),
        (None, "clip"),
        ("x" * 300 + ".mp4", "x" * 50 + ".mp4"),
    ],
)
def test_names_of_uploads(given: str | None, name: str) -> None:
    assert file_name(given, "clip") == name


def test_what_a_killed_server_left_goes_at_the_next_start(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from lib.serve.uploads import UploadFolder\n"
        "folder = UploadFolder(Path(sys.argv[1]))\n"
        "(folder.make() / 'a.mp4').write_bytes(b'x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    (above,) = tmp_path.iterdir()
    assert list(above.rglob("a.mp4")) and (above.stat().st_mode & 0o777) == 0o700
    running = UploadFolder(tmp_path)
    kept = running.make()
    assert not list(above.rglob("a.mp4"))
    UploadFolder(tmp_path).close()
    assert kept.is_dir(), "that of a server that runs stays"
    running.close()
    assert not above.exists()


def test_two_servers_that_start_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second looks for dead ones when the folder of the first is there, and its lock not."""
    take, others = uploads._lock, []

    def late(stream: object) -> bool | None:
        monkeypatch.setattr(uploads, "_lock", take)
        others.append(UploadFolder(tmp_path))
        return take(stream)

    monkeypatch.setattr(uploads, "_lock", late)
    first = UploadFolder(tmp_path)
    assert first.make().is_dir() and others[0].make().is_dir()
    for one in (first, *others):
        one.close()


# ---- the command ----


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the command would serve; nothing is served."""
    seen: dict[str, Any] = {}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    class Server:
        def __init__(self, config: Any) -> None:
            seen["app"] = config.app

        def run(self, sockets: Any) -> None:
            seen["address"] = sockets[0].getsockname()[:2]

    monkeypatch.setattr(serve._uvicorn(), "Server", Server)
    return seen


def test_the_command_prints_where_it_is(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("lib.commands.serve", ["--port", "0", "--max-mb", "3", "--jobs", "1"]) == 0
    host, port = started["address"]
    assert f"open http://127.0.0.1:{port}/ (" in capsys.readouterr().out and host == HOST
    client = TestClient(started["app"], base_url=f"http://{HOST}:{port}")
    with client:
        limits = client.get("/limits").json()
    assert (limits["megabytes"], limits["jobs"], limits["sessions"]) == (3, 1, 8)


def test_elsewhere_needs_a_token(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("lib.commands.serve", ["--port", "0", "--host", "0.0.0.0"]) == 0
    link = capsys.readouterr().out.split()[1]
    token = link.partition("?token=")[2]
    assert len(token) >= 20
    with TestClient(started["app"], base_url="http://192.168.1.7:8642") as client:
        assert client.get("/models").status_code == 401
        headers = {"authorization": f"Bearer {token}"}
        assert client.get("/models", headers=headers).status_code == 200
        assert client.get("/models", headers={**headers, "host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "nowhere.invalid"], "cannot listen there"),
        (["--port", "70000"], "is no port"),
        (["--max-mb", "-1"], "is not a number above zero"),
        (["--config", "seqtrack_tini"], "did you mean 'seqtrack_tiny'"),
        (["--config", "seqtrack_b256"], "no checkpoint for seqtrack_b256"),
    ],
)
def test_wrong_words(
    started: dict[str, Any], words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run("lib.commands.serve", ["--port", "0", *words])
    except SystemExit as end:
        code = end.code
    assert code == 2 and says in capsys.readouterr().err
    assert not started


def test_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    assert run("lib.commands.serve", []) == 2
    assert 'serve needs python_multipart: pip install -e ".[serve]"' in capsys.readouterr().err


@pytest.mark.slow
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "lib.cli", "serve", "--port", "0"]
    with subprocess.Popen(words, cwd=root, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("open http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode in (0, 130)
    assert list(tmp_path.iterdir()) == []
