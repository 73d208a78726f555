"""Requests to `seqtrack serve` as files: head and body as they come over a wire, asked in process.

The head is parsed as uvicorn does it; the application gets the body as it is, in several parts.
"""

import asyncio
import functools
import json
import mimetypes
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h11

# A compiled module that is loaded while a request is answered, or the system's list of content
# types, would be an escape.
import lib.tracker.build  # noqa: F401
from lib.serve.app import create_app
from lib.serve.guard import Gate
from lib.serve.service import Service
from lib.serve.session import ClipSession
from lib.utils.errors import SeqTrackError
from lib.video.open import open_clip
from tests.fuzz.sandbox import Parser
from tests.helpers.page_server import BOX, make_service, write_clip

mimetypes.init()
_TOKEN = "word"
_HOST = b"Host: localhost:8642\r\nAuthorization: Bearer word\r\n"
_BOUNDARY = b"b0undary"
_FORM = b"Content-Type: multipart/form-data; boundary=" + _BOUNDARY + b"\r\n"
_JSON = b"Content-Type: application/json\r\n"
# Refused because there is too much, or the time is up.
_BUSY = 503
# Bytes that come at once.
_PART = 700


class InlineExecutor(ThreadPoolExecutor):
    """Runs what is handed to it at once, in the thread that the sandbox watches."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


def request(line: str, head: bytes = b"", body: bytes = b"") -> bytes:
    """The bytes of a request whose first line begins so."""
    return line.encode() + b" HTTP/1.1\r\n" + _HOST + head + b"\r\n" + body


def part(name: str, content: bytes, file: str = "") -> bytes:
    """A field of a form."""
    named = f'; filename="{file}"' if file else ""
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return b"--" + _BOUNDARY + b"\r\n" + head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + _BOUNDARY + b"--\r\n"


@functools.lru_cache(maxsize=1)
def _service(folder: Path) -> Service:
    return make_service(folder)


def ask(folder: Path, file: Path) -> None:
    """Send the request of a file to a server that has one open session.

    Raises:
        SeqTrackError: it is refused.
    """
    service = _service(folder)
    session = ClipSession(open_clip(folder / "clip.mp4"), service.uploads.make())
    session.id = "open"
    service.add_session(session)
    app = create_app(service, Gate(token=_TOKEN))
    loop = asyncio.new_event_loop()
    loop.set_default_executor(InlineExecutor(1))
    try:
        status, kind, body = loop.run_until_complete(_answer(app, file.read_bytes()))
    finally:
        loop.close()
        for name in list(service.sessions):
            service.end_session(name)
    left = [path for path in service.uploads.path.iterdir() if path.name != "lock"]
    assert not left, f"left behind: {left}"
    assert status < 500 or status == _BUSY, f"status {status}"
    if status >= 400:
        # The server of static files says in plain words what is wrong with a range.
        assert kind.startswith(("application/json", "text/plain")), f"an error of type {kind}"
        is_json = kind.startswith("application/json")
        raise SeqTrackError(json.loads(body)["error"] if is_json else body.decode())
    if kind.startswith("application/json"):
        json.loads(body)


async def _answer(app: Any, raw: bytes) -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    scope, body = _scope(raw)
    messages = [
        {"type": "http.request", "body": body[at : at + _PART], "more_body": True}
        for at in range(0, len(body), _PART)
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        # Whoever asked waits for the answer.
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = dict(sent[0]["headers"])
    content = b"".join(one.get("body", b"") for one in sent[1:])
    return sent[0]["status"], headers.get(b"content-type", b"").decode("latin-1"), content


def _scope(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """What uvicorn makes of a head, and the body.

    Raises:
        SeqTrackError: uvicorn refuses it.
    """
    head, _, body = raw.partition(b"\r\n\r\n")
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(head + b"\r\n\r\n")
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise SeqTrackError(f"no request: {error}") from None
    if not isinstance(event, h11.Request):
        raise SeqTrackError("no request")
    path, _, query = event.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": event.http_version.decode(),
        "method": event.method.decode(),
        "scheme": "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in event.headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8642),
    }, body


def _make_track(folder: Path) -> Sequence[Path]:
    clip = write_clip(folder / "clip.mp4", 3).read_bytes()
    boxes = json.dumps({"cat": [f"0:{BOX}", f"2:{BOX}"], "7": BOX}).encode()
    one = form(part("video", clip, "a.mp4"), part("boxes", boxes), part("end", b"2"))
    events = b"Accept: text/event-stream\r\n"
    words = form(part("boxes", f"1:{BOX}".encode()), part("backward", b"true"),
                 part("start", b"1"), part("video", clip, "a.mp4"))  # fmt: skip
    return _write(folder, request("POST /track", _FORM, one),
                  request("POST /track", _FORM + events, words))  # fmt: skip


def _make_sessions(folder: Path) -> Sequence[Path]:
    clip = write_clip(folder / "clip.mp4", 3).read_bytes()
    boxes = {"0": {"1": [10, 20, 18, 14]}, "1": {"cat": [10, 20, 18, 14]}}
    wanted = json.dumps({"frame": 0, "boxes": boxes, "others": [], "end": 2}).encode()
    back = json.dumps({"frame": 1, "boxes": {"1": boxes["0"]}, "backward": True}).encode()
    return _write(
        folder,
        request("POST /sessions/open/track", _JSON, wanted),
        request("POST /sessions/open/track", _JSON + b"Accept: text/event-stream\r\n", back),
        request("POST /sessions?name=a.mp4", b"", clip),
    )


def _make_heads(folder: Path) -> Sequence[Path]:
    write_clip(folder / "clip.mp4", 3)
    own = b"Origin: http://localhost:8642\r\nContent-Length: 0\r\nCookie: seqtrack_token=word\r\n"
    return _write(
        folder,
        request("POST /sessions/open/end", own),
        request("GET /sessions/open/frames/1"),
        request("GET /?token=word"),
        request("GET /limits", b"Range: bytes=0-3\r\nIf-None-Match: a\r\n"),
        request("DELETE /sessions/open/targets/1", own),
    )


def _write(folder: Path, *contents: bytes) -> list[Path]:
    paths = [folder / f"request{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


_FORM_WORDS = (
    b"--b0undary\r\n", b"--b0undary--", b"\r\n\r\n", b'; filename="../../x.mp4"', b'; name="boxes"',
    b'; filename="a\\"b"', b"filename*=utf-8''%ff", b'name="frames"; filename="a.png"',
    b"boundary=", b'"\\ud800"', b"nan,1,1,1", b"1e308,1,1e308,1", b"cat@",
    b"Content-Type: a; charset=utf-7\r\n",
)  # fmt: skip
_JSON_WORDS = (
    b"NaN", b"Infinity", b"1e308", b'"\\ud800"', b'"\\u0000"', b"[]", b"{}", b"null", b"true",
    b'"frame": 99999999999999999999', b'"end": 9223372036854775807', b'"model": "mil/default"',
    b",", b'"boxes": {"99999999999": {"1": [1,1,1,1]}}', b'"others": ["1"]', b"\xff",
)  # fmt: skip
_HEAD_WORDS = (
    b"Origin: http://[\r\n", b"Content-Length: " + b"9" * 4400 + b"\r\n", b"Host: [::1\r\n", b"%00",
    b"Cookie: seqtrack_token=\xff\r\n", b"Authorization: Bearer \xff\r\n",
    b"Range: bytes=9-1,5-\r\n", b"%2e%2e%2f", b"%ff", b"?token=%ff", b"HEAD",
    b"Accept: text/event-stream\r\n", b"/static/..",
    b"Content-Type: multipart/form-data\r\n", b"X-Forwarded-For: a\r\n",
    b"If-Modified-Since: 0\r\n",
)  # fmt: skip

REQUESTS = (
    Parser("http-track", _make_track, ask, _FORM_WORDS),
    Parser("http-sessions", _make_sessions, ask, _JSON_WORDS),
    Parser("http-heads", _make_heads, ask, _HEAD_WORDS),
)
