"""A page's session: frames, tracking that pauses and goes on exactly, corrections, downloads."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from lib.annotations.read import read_boxes
from lib.serve.pictures import FramePictures
from lib.serve.service import Service
from lib.video.open import open_clip
from seqtrack import Tracker
from tests.helpers.page_server import MODEL, client_of, left_files, make_service, write_clip
from tests.helpers.video_files import number_in, numbered, read_av, write_av

BOX, OTHER = [10.0, 20.0, 18.0, 14.0], [30.0, 30.0, 20.0, 16.0]
LENGTH = 12


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return make_service(tmp_path)


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as client:
        yield client


@pytest.fixture
def session(client: TestClient, tmp_path: Path) -> str:
    clip = write_clip(tmp_path / "clip.mp4", LENGTH)
    answer = client.post("/sessions?name=my clip.mp4", content=clip.read_bytes())
    assert answer.status_code == 200, answer.text
    facts = answer.json()
    assert facts | {"id": ""} == {
        **{"id": "", "name": "my clip.mp4", "width": 96, "height": 80, "fps": 25.0},
        **{"frames": LENGTH, "suggested": None},
    }
    return facts["id"]


def track(client: TestClient, session: str, **wanted: Any) -> dict[int, dict[str, list[float]]]:
    """Boxes by frame and target."""
    answer = client.post(f"/sessions/{session}/track", json=wanted)
    assert answer.status_code == 200, answer.text
    *events, last = [json.loads(line) for line in answer.text.splitlines()]
    assert last == {"done": True}
    return {
        event["frame"]: {str(row["target"]): row["box"] for row in event["rows"]}
        for event in events
    }


def rows(client: TestClient, session: str, model: str = MODEL) -> dict[int, dict[Any, Any]]:
    answer = client.get(f"/sessions/{session}/annotations?format=json&model={model}")
    assert answer.status_code == 200, answer.text
    found: dict[int, dict[Any, Any]] = {}
    for row in answer.json()["rows"]:
        found.setdefault(row["frame"], {})[row["target"]] = row["box"]
    return found


def test_what_was_paused_goes_on_as_if_it_had_not_been(client: TestClient, session: str) -> None:
    whole = track(client, session, frame=0, boxes={0: {"1": BOX}})
    assert list(whole) == list(range(LENGTH))
    first = track(client, session, frame=0, boxes={0: {"1": BOX}}, end=5)
    assert rows(client, session).keys() == first.keys(), "what lay beyond is forgotten"
    rest = track(client, session, frame=5, others=["1"])
    assert {**first, **rest} == whole
    assert {
        n: {str(t): box for t, box in some.items()} for n, some in rows(client, session).items()
    } == whole


def test_a_target_that_joins_and_a_correction_leave_the_others_alone(
    client: TestClient, session: str
) -> None:
    alone = track(client, session, frame=0, boxes={0: {"1": BOX}})
    both = track(client, session, frame=4, boxes={4: {"cat": OTHER}, 6: {"cat": BOX}})
    assert list(both) == list(range(4, LENGTH)) and both[4]["cat"] == OTHER
    assert both[6]["cat"] == BOX, "a correction that lies ahead"
    found = rows(client, session)
    assert all(found[n][1] == alone[n]["1"] for n in alone)
    corrected = track(client, session, frame=8, boxes={8: {"cat": OTHER}}, others=["1"])
    assert corrected[8] == {"1": alone[8]["1"], "cat": OTHER}
    # Target 1 was tracked to the end: here it begins anew from what was found.
    assert corrected.keys() == set(range(8, LENGTH))


def test_backward(client: TestClient, session: str, tmp_path: Path) -> None:
    back = track(client, session, frame=7, boxes={7: {"1": BOX}}, backward=True)
    assert list(back) == list(range(7, -1, -1))
    with Tracker(MODEL, device="cpu") as tracker:
        stream = tracker.stream(tmp_path / "clip.mp4", BOX, start=7, backward=True)
        for result in stream:
            np.testing.assert_allclose(back[result.frame]["1"], result.targets[1].box, atol=0.006)
    on = track(client, session, frame=7, boxes={7: {"1": BOX}})
    assert rows(client, session).keys() == back.keys() | on.keys()


def test_two_models_keep_what_each_found(client: TestClient, session: str) -> None:
    follows = track(client, session, frame=0, boxes={0: {"1": BOX}})
    stays = track(client, session, frame=0, boxes={0: {"1": BOX}}, model="static_box/default")
    assert {tuple(some["1"]) for some in stays.values()} == {tuple(BOX)}
    assert rows(client, session)[5][1] == follows[5]["1"] != BOX
    assert rows(client, session, "static_box/default")[5][1] == BOX
    client.delete(f"/sessions/{session}/targets/1")
    for model in (MODEL, "static_box/default"):
        answer = client.get(f"/sessions/{session}/annotations?model={model}")
        assert answer.status_code == 422 and "has tracked nothing" in answer.json()["error"]


def test_frames_by_their_numbers(client: TestClient, tmp_path: Path) -> None:
    clip = write_av(tmp_path / "clip.mp4", numbered(40))
    answer = client.post("/sessions?name=clip.mp4", content=clip.read_bytes())
    session = answer.json()["id"]
    for index in (0, 1, 39, 20, 19, 18, 5, 6):
        answer = client.get(f"/sessions/{session}/frames/{index}")
        assert answer.headers["content-type"] == "image/jpeg"
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert number_in(picture[..., ::-1]) == index
    answer = client.get(f"/sessions/{session}/frames/40")
    assert answer.status_code == 404 and "has no frame 40" in answer.json()["error"]
    assert client.get(f"/sessions/{session}/frames/-1").status_code == 404


def test_few_pictures_are_kept_and_large_ones_are_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.serve.pictures._CACHE_BYTES", 400_000)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (200, 2000, 3), dtype=np.uint8)] * 8
    pictures = FramePictures(open_clip(write_av(tmp_path / "a.mp4", noise)))
    for index in range(8):
        picture = cv2.imdecode(np.frombuffer(pictures.jpeg(index), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (160, 1600, 3)
    assert 0 < sum(map(len, pictures._cache.values())) == pictures._bytes <= 400_000
    assert 1 <= len(pictures._cache) < 8
    pictures.close()


def test_downloads(client: TestClient, session: str, tmp_path: Path) -> None:
    found = track(client, session, frame=2, boxes={2: {"1": BOX, "cat": OTHER}})
    for format in ("csv", "json", "mot", "coco", "cvat"):
        answer = client.get(f"/sessions/{session}/annotations?format={format}")
        (tmp_path / "boxes").write_bytes(answer.content)
        read = read_boxes(tmp_path / "boxes", format)
        assert read.keys() == found.keys() and read[2].popitem()[1] == tuple(OTHER)
    answer = client.get(f"/sessions/{session}/annotations?format=xls")
    assert answer.status_code == 422 and "'xls' is no format" in answer.json()["error"]
    for suffix in (".mp4", ".webm", ".gif"):
        answer = client.get(f"/sessions/{session}/video?suffix={suffix}")
        assert answer.status_code == 200, answer.text
        assert f"template_match_default_boxes{suffix}" in answer.headers["content-disposition"]
        (tmp_path / f"drawn{suffix}").write_bytes(answer.content)
    drawn = read_av(tmp_path / "drawn.mp4")
    assert len(drawn) == LENGTH - 2
    plain = read_av(tmp_path / "clip.mp4")[2:]
    pairs = zip(drawn, plain, strict=True)
    assert all(np.abs(a.astype(int) - b).max() > 60 for (_, a), (_, b) in pairs)


def test_the_sample_is_here_and_suggests_its_box(client: TestClient) -> None:
    facts = client.post("/sessions?sample=true").json()
    assert facts["frames"] > 50 and len(facts["suggested"]) == 4
    found = track(client, facts["id"], frame=0, boxes={0: {"1": facts["suggested"]}}, end=2)
    assert list(found) == [0, 1, 2]
    assert client.get(f"/sessions/{facts['id']}/frames/2").status_code == 200


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        pytest.param({"frame": 0}, "no target is given; draw a box in frame 0", id="no box"),
        pytest.param({"frame": 0, "others": ["1"]}, "target 1 has no box in frame 0", id="unknown"),
        pytest.param(
            {"frame": 0, "boxes": {0: {"1": [200, 1, 9, 9]}}}, "lies outside of", id="outside"
        ),
        pytest.param({"frame": 0, "boxes": {0: {"1": [1, 1, 0, 9]}}}, "box", id="empty box"),
        pytest.param({"frame": 0, "boxes": {0: {"1": [1, 1, 9]}}}, "boxes.0.1", id="three numbers"),
        pytest.param({"frame": 99, "boxes": {99: {"1": BOX}}}, "has no frame 99", id="no frame"),
        pytest.param({"frame": 5, "boxes": {2: {"1": BOX}}}, "lies before the start", id="early"),
        pytest.param({"frame": -1}, "frame:", id="negative"),
        pytest.param({"frame": 5, "end": 2, "boxes": {5: {"1": BOX}}}, "before the", id="end"),
        pytest.param({"frame": 0, "model": "x"}, "unknown model 'x'", id="model"),
        pytest.param({}, "frame: Field required", id="nothing"),
    ],
)
def test_wrong_wishes(client: TestClient, session: str, wanted: Any, words: str) -> None:
    answer = client.post(f"/sessions/{session}/track", json=wanted)
    assert answer.status_code == 422 and words in answer.json()["error"], answer.text


def test_wrong_uploads(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/sessions?name=a.txt", content=b"hello")
    assert answer.status_code == 415 and answer.json()["error"].startswith("a.txt is no video")
    assert client.post("/sessions?name=a.mp4", content=b"").status_code == 400
    answer = client.post("/sessions?name=a.mp4", content=b"\0\0\0\x18ftypisom" + bytes(600))
    assert answer.status_code == 422 and answer.json()["error"].startswith("a.mp4: not a video")
    assert left_files(tmp_path) == []


def test_too_many_targets_and_sessions(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4").read_bytes()
    with client_of(make_service(tmp_path, sessions=1, targets=2)) as client:
        session = client.post("/sessions", content=clip).json()["id"]
        boxes = {0: {str(number): BOX for number in range(3)}}
        answer = client.post(f"/sessions/{session}/track", json={"frame": 0, "boxes": boxes})
        assert answer.status_code == 422 and "3 targets; at most 2" in answer.json()["error"]
        answer = client.post("/sessions", content=clip)
        assert answer.status_code == 429 and "1 session" in answer.json()["error"]
        client.post(f"/sessions/{session}/end")
        assert client.post("/sessions", content=clip).status_code == 200


def test_a_session_ends_and_leaves_nothing(
    client: TestClient, session: str, tmp_path: Path
) -> None:
    assert [path.name for path in left_files(tmp_path)] == ["my clip.mp4"]
    assert client.post(f"/sessions/{session}/end").status_code == 200
    assert left_files(tmp_path) == []
    answer = client.get(f"/sessions/{session}/frames/0")
    assert answer.status_code == 404 and "this session has ended" in answer.json()["error"]


def test_an_idle_session_ends(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4").read_bytes()
    with client_of(make_service(tmp_path, idle_minutes=0.001)) as client:
        session = client.post("/sessions", content=clip).json()["id"]
        ended = time.monotonic() + 60
        while left_files(tmp_path) and time.monotonic() < ended:
            time.sleep(0.01)
        assert left_files(tmp_path) == []
        assert client.get(f"/sessions/{session}/frames/0").status_code == 404


def test_a_server_that_ends_leaves_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4").read_bytes()
    with contextlib.closing(make_service(tmp_path)) as service:
        with client_of(service) as client:
            client.post("/sessions", content=clip)
            assert left_files(tmp_path)
        assert not list((tmp_path / "uploads").iterdir())
