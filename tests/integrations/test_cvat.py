"""integrations/cvat: cvat-cli's own agent code drives the function; see the README there."""

import json
import threading
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from lib.config.paths import repository_root
from tests.helpers.tiny import draw_sequence
from tests.helpers.tracked_clip import LENGTH, SIZE, tracked, write_clip

sdk = pytest.importorskip("cvat_sdk", reason="cvat-cli is not installed: pip install cvat-cli")
agent = pytest.importorskip("cvat_cli._internal.agent")
common = pytest.importorskip("cvat_cli._internal.common")
FUNCTION = repository_root() / "integrations/cvat/function.py"


class Here:
    """The agent's executor, without a process of its own."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future

    def result(self, future):
        return future.result()


@pytest.fixture(scope="module")
def function():
    return common.FunctionLoader(None, FUNCTION, {"device": "cpu", "engine": "torch"}).load()


@pytest.fixture
def ask(function, monkeypatch):
    """Sends a request as CVAT does to an agent whose task has these frames."""
    kind = agent.get_function_driver_class(function.spec)
    names = iter("abcdefgh")
    agent.set_worker_current_function(function)
    kind.init_worker(lambda: next(names))
    driver = kind(None, Here(), function.spec)
    frames, _ = draw_sequence(LENGTH, **SIZE)

    def sample(self, request):
        image = PIL.Image.fromarray(frames[request["frame"]])
        return SimpleNamespace(media=SimpleNamespace(load_image=lambda: image)), []

    monkeypatch.setattr(kind, "_get_sample_from_ar_params", sample)

    def ask(what, frame, **more):
        return driver.calculate_result_for_ar(
            {"type": what, "task": 1, "frame": frame, **more}, lambda **_: None
        )

    return ask


def test_boxes_are_those_of_the_command(ask, tmp_path):
    _, truth = draw_sequence(LENGTH, **SIZE)
    boxes = [truth[0].tolist(), [60.0, 50.0, 30.0, 24.0]]
    shapes = [{"type": "rectangle", "points": [x, y, x + w, y + h]} for x, y, w, h in boxes]
    states = ask("init_tracking", 0, shapes=shapes)["states"]
    assert states == ["a", "b"]
    expected = tracked(write_clip(tmp_path / "clip"), boxes)
    for frame in range(1, LENGTH):
        answer = json.loads(json.dumps(ask("track", frame, states=states)))
        assert answer["states"] == states
        for target, shape in enumerate(answer["shapes"], 1):
            if expected[target, frame] is None:
                assert shape is None
                continue
            assert shape["type"] == "rectangle"
            x1, y1, x2, y2 = shape["points"]
            assert [x1, y1, x2 - x1, y2 - y1] == pytest.approx(expected[target, frame], abs=0.006)
    assert any(expected[1, frame] for frame in range(1, LENGTH))


def test_other_shapes_are_refused_by_the_agent(ask):
    with pytest.raises(Exception, match="Unsupported shape type 'polygon'"):
        ask("init_tracking", 0, shapes=[{"type": "polygon", "points": [0, 0, 5, 0, 5, 5]}])


def test_a_lost_target_has_no_shape(function, monkeypatch):
    found = SimpleNamespace(state="lost", box=(1.0, 2.0, 3.0, 4.0))
    state = SimpleNamespace(step=lambda image: {1: found})
    assert function.track(None, np.zeros((9, 9, 3), np.uint8), state) is None
    found.state = "uncertain"
    assert function.track(None, np.zeros((9, 9, 3), np.uint8), state).points == [1, 2, 4, 6]


def test_it_is_registered_as_a_tracker_of_rectangles():
    """`cvat-cli function create-native` against a server on this machine."""
    got = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, json.loads(body)))
            answer = json.dumps({"id": 42, **got[-1][1]}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            pass

    from cvat_cli._internal.commands_functions import FunctionCreateNative

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        client = sdk.Client(address, check_server_version=False)
        loader = common.FunctionLoader(None, FUNCTION, {"device": "cpu", "engine": "torch"})
        FunctionCreateNative().execute(
            client, name="SeqTrack", visibility="private", function_loader=loader
        )
        server.shutdown()
    ((path, body),) = got
    assert path == "/api/functions"
    assert (body["kind"], body["supported_shape_types"]) == ("tracker", ["rectangle"])
