"""`POST /track`: the boxes of the command line, the right refusals, and nothing left behind."""

import errno
import io
import itertools
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx2
import pytest
import torch
from starlette.testclient import TestClient

from lib.commands.entry import run
from lib.serve.jobs import JobSteps
from lib.serve.models import SharedTracker
from lib.serve.service import Service
from lib.serve.track_route import _FIELDS
from tests.helpers.page_server import (
    BOX,
    HOST,
    MODEL,
    client_of,
    left_files,
    make_service,
    serving,
    write_clip,
)
from tests.helpers.tiny import draw_sequence
from tests.video.test_video import spoil
from tests.video.test_video import write_clip as write_mpeg4

CLIP = "clip.mp4"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return make_service(tmp_path)


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Iterator[TestClient]:
    write_clip(tmp_path / CLIP)
    with client_of(service) as client:
        yield client
        assert left_files(tmp_path) == []
    assert not (tmp_path / "uploads").exists() or not list((tmp_path / "uploads").iterdir())


def send(client: Any, path: Path, boxes: Any = (BOX,), **fields: Any) -> Any:
    headers = {"accept": fields.pop("accept")} if "accept" in fields else {}
    boxes = boxes if isinstance(boxes, str) else json.dumps(boxes)
    files = {"video": (path.name, path.read_bytes())}
    return client.post("/track", files=files, data={"boxes": boxes, **fields}, headers=headers)


def boxes_of(answer: Any) -> list[Any]:
    return [row["box"] for row in answer.json()["rows"]]


def track(tmp_path: Path, *words: str) -> str:
    """The JSON that `seqtrack track` writes."""
    given = [str(tmp_path / CLIP), "--out", str(tmp_path / "out.mp4"), "--overwrite", *words]
    given += ["--annotations", str(tmp_path / "out.json"), "--device", "cpu"]
    assert run("lib.commands.track", given) == 0
    return (tmp_path / "out.json").read_text()


@pytest.mark.parametrize(
    ("boxes", "fields", "words"),
    [
        pytest.param([BOX], {}, ["--box", BOX], id="one box"),
        pytest.param(
            {"cat": f"1:{BOX}", "7": [f"0:{BOX}", f"4:{BOX}"]},
            {"end": "5"},
            ["--box", f"cat@1:{BOX}", "--box", f"7@{BOX}", "--box", f"7@4:{BOX}", "--end", "5"],
            id="targets that join, and a correction",
        ),
        pytest.param(
            f"6:{BOX}", {"backward": "true"}, ["--box", f"6:{BOX}", "--backward"], id="backward"
        ),
        pytest.param(
            [[10, 20, 18, 14]], {"start": "3"}, ["--box", BOX, "--start", "3"], id="four numbers"
        ),
    ],
)
def test_the_answer_is_that_of_the_command(
    client: TestClient, tmp_path: Path, boxes: Any, fields: Any, words: list[str]
) -> None:
    answer = send(client, tmp_path / CLIP, boxes, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.text == track(tmp_path, "--tracker", "template_match", *words)


@pytest.mark.slow
def test_the_shipped_network_answers_as_the_command(tmp_path: Path) -> None:
    write_clip(tmp_path / CLIP)
    with client_of(make_service(tmp_path, "seqtrack_nano")) as client:
        answer = send(client, tmp_path / CLIP)
    assert answer.text == track(tmp_path, "--box", BOX)
    assert {row["state"] for row in answer.json()["rows"]} <= {"tracked", "uncertain", "lost"}


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_progress_as_a_stream(client: TestClient, tmp_path: Path, accept: str) -> None:
    answer = send(client, tmp_path / CLIP, accept=accept)
    assert answer.headers["content-type"].startswith(accept)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n") if line]
    assert [event["frame"] for event in events[:-1]] == list(range(8))
    assert events[-1] == {"done": True, "rows": 8, "warning": None}
    rows = [row for event in events[:-1] for row in event["rows"]]
    assert rows == send(client, tmp_path / CLIP).json()["rows"]


def test_every_format(client: TestClient, tmp_path: Path) -> None:
    for format in client.get("/limits").json()["annotations"]:
        answer = send(client, tmp_path / CLIP, format=format)
        assert answer.status_code == 200 and "clip" in answer.headers["content-disposition"]
        if format == "yolo":
            names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
            assert "data.yaml" in names and "labels/clip_000007.txt" in names
    assert send(client, tmp_path / CLIP, format="xml").status_code == 422


def test_pictures_instead_of_a_video(client: TestClient) -> None:
    images, _ = draw_sequence(5)
    pictures = [
        ("frames", (f"img{9 - number}.png", cv2.imencode(".png", image[..., ::-1])[1].tobytes()))
        for number, image in enumerate(images)
    ]
    answer = client.post("/track", files=pictures, data={"boxes": BOX, "fps": "10"})
    assert [row["time_s"] for row in answer.json()["rows"]] == [0, 0.1, 0.2, 0.3, 0.4]
    answer = client.post("/track", files=pictures, data={"boxes": BOX, "format": "coco"})
    names = [image["file_name"] for image in answer.json()["images"]]
    assert names == ["img9.png", "img8.png", "img7.png", "img6.png", "img5.png"], "in their order"


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        pytest.param("a.txt", b"hello", 415, "a.txt is no video that is read here", id="text"),
        pytest.param(
            "a.mp4", b"#EXTM3U\nfile:///etc/passwd\n", 415, "a.mp4 is no video", id="playlist"
        ),
        pytest.param("a.mp4", b"", 400, "a.mp4: the video file is empty (0 bytes)", id="empty"),
        pytest.param(
            "a.mp4", b"\0\0\0\x18ftypisom" + bytes(600), 422, "a.mp4: not a video", id="broken"
        ),
        pytest.param("../../b.mp4", b"x", 415, "b.mp4 is no video", id="a path in the name"),
    ],
)
def test_wrong_and_broken_files(
    client: TestClient, name: str, content: bytes, status: int, words: str
) -> None:
    answer = client.post("/track", files={"video": (name, content)}, data={"boxes": BOX})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(words.split()[0]) and words in answer.json()["error"]
    assert "\n" not in answer.json()["error"] and "upload-" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("boxes", "fields", "status", "words"),
    [
        pytest.param("[]", {}, 422, "no target is given", id="no box"),
        pytest.param(["1,2,3"], {}, 422, "'1,2,3' is no box; write x,y,w,h", id="three numbers"),
        pytest.param(["1,2,0,9"], {}, 422, "is no box", id="without area"),
        pytest.param("[1", {}, 422, "boxes: not JSON", id="no JSON"),
        pytest.param("[" * 50_000 + "]" * 50_000, {}, 422, "nested too deeply", id="nested"),
        pytest.param(
            f'{{"\\ud800": "{BOX}"}}', {}, 422, "a name cannot hold", id="half a character"
        ),
        pytest.param(
            ["900,20,9,9"], {}, 422, "lies outside of the first frame, which is 96", id="outside"
        ),
        pytest.param([f"99:{BOX}"], {}, 422, "has no frame 99", id="no such frame"),
        pytest.param([BOX, f"2@50:{BOX}"], {}, 422, "no frame 50; it has 8", id="a later box"),
        pytest.param([f"3:{BOX}"], {"start": "5"}, 422, "lies before the start", id="early box"),
        pytest.param([BOX], {"start": "5", "end": "2"}, 422, "--end 2 lies before", id="end"),
        pytest.param([BOX], {"backward": "true"}, 422, "--backward needs --start", id="backward"),
        pytest.param([BOX], {"start": "x"}, 422, "'x' is not a whole number", id="start"),
        pytest.param([BOX], {"backward": "maybe"}, 422, "neither true nor false", id="flag"),
        pytest.param([BOX], {"model": "seqtrak_tiny"}, 422, "did you mean", id="model"),
        pytest.param([BOX], {"modle": "mil"}, 422, "no field of /track", id="field"),
        pytest.param([f"1@{BOX}", f"1@{BOX}"], {}, 422, "two boxes in frame 0", id="twice"),
    ],
)
def test_wrong_values(
    client: TestClient, tmp_path: Path, boxes: Any, fields: Any, status: int, words: str
) -> None:
    answer = send(client, tmp_path / CLIP, boxes, **fields)
    assert answer.status_code == status and words in answer.json()["error"], answer.text


def test_neither_a_video_nor_pictures(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/track", data={"boxes": BOX})
    assert answer.status_code == 400 and "send one file" in answer.json()["error"]
    answer = client.post("/track", content=b"x", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    files = {"frames": ("a.txt", b"hello")}
    answer = client.post("/track", files=files, data={"boxes": BOX})
    assert answer.status_code == 415 and "JPEG, PNG or WebP" in answer.json()["error"]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        pytest.param({"megabytes": 0.001}, "at most 0.001 MB", id="bytes"),
        pytest.param({"pixels": 5000}, "clip.mp4 is 96 x 80", id="pixels"),
        pytest.param({"seconds": 0.1}, "clip.mp4 lasts", id="seconds"),
        pytest.param({"frames": 5}, "clip.mp4 has 8 frames; at most 5", id="frames"),
    ],
)
def test_what_is_too_large(tmp_path: Path, limits: Any, words: str) -> None:
    clip = write_clip(tmp_path / CLIP)
    with client_of(make_service(tmp_path, **limits)) as client:
        answer = send(client, clip)
        assert answer.status_code == 413 and words in answer.json()["error"]

        def chunks() -> Iterator[bytes]:
            yield b"--b\r\n"
            yield from [b"x" * 1000] * 3

        if "megabytes" in limits:  # also where nobody says how long it is
            headers = {"content-type": "multipart/form-data; boundary=b"}
            answer = client.post("/track", content=chunks(), headers=headers)
            assert answer.status_code in (400, 413)
        assert left_files(tmp_path) == []


def test_a_picture_that_would_not_fit_into_memory_is_not_decoded(
    tmp_path: Path, client: TestClient
) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + bytes(20)
    answer = client.post("/track", files={"frames": ("a.png", header)}, data={"boxes": BOX})
    assert answer.status_code == 413 and "60000 x 60000" in answer.json()["error"]


def test_a_file_that_breaks_off_gives_what_there_is_and_a_warning(
    client: TestClient, tmp_path: Path
) -> None:
    path = spoil(write_mpeg4(tmp_path / CLIP, draw_sequence(20)[0]), 0.5)
    answer = send(client, path, [BOX])
    assert 2 <= len(boxes_of(answer)) < 18
    assert answer.headers["x-seqtrack-warning"].startswith("clip.mp4 breaks off: ")


def test_eight_clients_at_once(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / CLIP)
    with serving(make_service(tmp_path)) as port:

        def ask(number: int) -> Any:
            with httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=300) as client:
                return send(client, clip, [f"{10 + number % 2},20,18,14"])

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(8)))
        assert {answer.status_code for answer in answers} == {200}
        for number, answer in enumerate(answers):
            assert boxes_of(answer) == boxes_of(answers[number % 2]), "each its own target"
        assert boxes_of(answers[0]) != boxes_of(answers[1])
        until(lambda: left_files(tmp_path) == [])


class SlowSteps:
    """Lets a frame of any tracking pass only when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        self.go = threading.Semaphore(0)
        original = SharedTracker.in_turn

        def in_turn(shared: SharedTracker, results: Any) -> Iterator[Any]:
            for result in original(shared, results):
                self.taken += 1
                self.go.acquire()
                yield result

        monkeypatch.setattr(SharedTracker, "in_turn", in_turn)

    def wait(self, count: int) -> None:
        until(lambda: self.taken >= count)


def until(done: Any) -> None:
    """Wait for what the server does after its answer, a minute at most."""
    ended = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ended
        time.sleep(0.01)


def test_too_many_are_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / CLIP)
    steps = SlowSteps(monkeypatch)
    service = make_service(tmp_path, jobs=1, waiting=1)
    with serving(service) as port:

        def ask() -> Any:
            with httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=300) as client:
                return send(client, clip)

        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(ask)
            steps.wait(1)
            second = pool.submit(ask)
            until(lambda: service.slots._waiting == 1)
            refused = ask()
            steps.go.release(100)
            assert refused.status_code == 503 and "1 job at work and 1 waiting" in refused.text
            assert refused.headers["retry-after"]
            assert first.result().status_code == second.result().status_code == 200


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            "CUDA out of memory; end what else uses the device",
            id="memory of the device",
        ),
        pytest.param(
            OSError(errno.EIO, "Input/output error", "/secret/upload-1/a"),
            "the server cannot use its disk (Input/output error)",
            id="disk",
        ),
    ],
)
def test_a_machine_that_fails_is_one_line(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accept: str, error: Any,
    words: str,
) -> None:  # fmt: skip
    """Before the first frame it is a refusal; after it, the last event of a stream."""

    def failing(shared: SharedTracker, results: Any) -> Iterator[Any]:
        yield from itertools.islice(results, failed_at)
        raise error

    monkeypatch.setattr(SharedTracker, "in_turn", failing)
    for failed_at in (0, 2):
        answer = send(client, tmp_path / CLIP, accept=accept)
        began = failed_at and "ndjson" in accept
        assert answer.status_code == (200 if began else 503)
        said = json.loads(answer.text.splitlines()[-1])["error"]
        assert said.startswith(words) and "secret" not in said


def test_what_takes_too_long_ends(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / CLIP)
    with client_of(make_service(tmp_path, minutes=1e-9)) as client:
        answer = send(client, clip)
        assert answer.status_code == 503 and "--max-minutes" in answer.json()["error"]
        until(lambda: left_files(tmp_path) == [])


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_a_client_that_goes_away_ends_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    clip = write_clip(tmp_path / CLIP)
    steps = SlowSteps(monkeypatch)
    ended = threading.Event()
    close = JobSteps.close

    def closing(self: JobSteps) -> None:
        close(self)
        ended.set()

    monkeypatch.setattr(JobSteps, "close", closing)
    with serving(make_service(tmp_path)) as port:
        request = httpx2.Request(
            "POST",
            f"http://{HOST}:{port}/track",
            files={"video": (CLIP, clip.read_bytes())},
            data={"boxes": BOX},
            headers={"accept": accept},
        )
        body = request.read()
        head = "".join(f"{key}: {value}\r\n" for key, value in request.headers.items())
        with socket.create_connection((HOST, port)) as connection:
            connection.sendall(f"POST /track HTTP/1.1\r\n{head}\r\n".encode() + body)
            steps.go.release()
            steps.wait(2)
        steps.go.release(100)
        assert ended.wait(60)
        assert steps.taken <= 4, "of 8 frames"
        until(lambda: left_files(tmp_path) == [])


def test_it_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    operation = described["paths"]["/track"]["post"]
    fields = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(fields) == set(_FIELDS)
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    assert {"400", "413", "415", "422", "429", "503"} <= set(operation["responses"])
    assert client.get("/docs").status_code == 404, "it would load scripts from elsewhere"
    assert client.get("/models").json()[0] == MODEL
    assert "seqtrack_tiny" in client.get("/models").json()
