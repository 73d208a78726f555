"""integrations/label_studio: regions to boxes and back, and the backend behind the real package.

SEQTRACK_LABEL_STUDIO_PYTHON names the Python of an environment that has label-studio-ml beside
SeqTrack; it pins old packages, so it has one of its own (the README there).
"""

import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest

from lib.config.paths import repository_root
from lib.utils.errors import DataError
from lib.video.clip import TargetResult
from tests.helpers.tiny import draw_sequence
from tests.helpers.tracked_clip import LENGTH, SIZE, tracked, write_clip

ROOT = repository_root()
FOLDER = ROOT / "integrations/label_studio"
CONFIG = (
    '<View><Labels name="labels" toName="video"><Label value="Ball"/></Labels>'
    '<Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/></View>'
)


@pytest.fixture(scope="module")
def regions():
    spec = importlib.util.spec_from_file_location("regions", FOLDER / "regions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def region(name, frame, box, **value):
    x, y, w, h = box
    drawn = {
        "frame": frame + 1,
        "enabled": True,
        "rotation": 0,
        "x": 100 * x / SIZE["width"],
        "y": 100 * y / SIZE["height"],
        "width": 100 * w / SIZE["width"],
        "height": 100 * h / SIZE["height"],
        "time": 0.04,
    }
    return {
        "id": name,
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "value": {"sequence": [drawn], "labels": ["Ball"], **value},
    }


def test_boxes_of_regions(regions):
    one, other = region("a", 0, (16, 12, 32, 24)), region("b", 3, (0, 0, 8, 6))
    one["value"]["sequence"] += [
        {"frame": 4, "enabled": False, "x": 0, "y": 0, "width": 9, "height": 9},
        {"frame": 5, "x": 50, "y": 50, "width": 10, "height": 10},
    ]
    found = regions.drawn_boxes([one, {"type": "labels"}, other], **SIZE)
    assert found == {
        0: {"a": pytest.approx((16, 12, 32, 24))},
        3: {"b": pytest.approx((0, 0, 8, 6))},
        4: {"a": pytest.approx((80, 60, 16, 12))},
    }


def test_a_broken_region_is_named(regions):
    with pytest.raises(DataError, match=r"a region cannot be read .KeyError.*'id': 'a'"):
        regions.drawn_boxes([{"id": "a", "type": "videorectangle", "value": {}}], **SIZE)


def test_a_lost_target_is_not_enabled(regions):
    found = [TargetResult((16, 12, 32, 24), 0.5, state) for state in ("lost", "uncertain", None)]
    rows = [regions.keyframe(one, 24, 25, **SIZE) for one in found]
    assert [row["enabled"] for row in rows] == [False, True, True]
    place = ("frame", "time", "x", "y", "width", "height")
    assert [rows[0][name] for name in place] == pytest.approx([25, 1, 10, 10, 20, 20])


def test_a_tracked_region_keeps_what_was_drawn(regions):
    made = regions.tracked_region(region("a", 0, (1, 1, 9, 9)), [{"frame": 1}], 50, 25)
    assert (made["id"], made["from_name"], made["to_name"]) == ("a", "box", "video")
    value = {"sequence": [{"frame": 1}], "labels": ["Ball"], "framesCount": 50, "duration": 2}
    assert made["value"] == value


def test_a_missing_package_is_one_line(tmp_path):
    """As in the environment of SeqTrack itself, also where the package is installed."""
    (tmp_path / "label_studio_ml.py").write_text("")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, FOLDER / "_wsgi.py"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch("error: label_studio_ml.* is not installed .*README.md .*\n", done.stderr)


@pytest.fixture(scope="module")
def python():
    """The Python that has the package."""
    found = os.environ.get("SEQTRACK_LABEL_STUDIO_PYTHON")
    if found is None and importlib.util.find_spec("label_studio_ml") is None:
        pytest.skip(
            "label-studio-ml is not installed: make an environment of its own "
            "(integrations/label_studio/README.md), name it with SEQTRACK_LABEL_STUDIO_PYTHON"
        )
    # It is started in another folder. A link stays one: it is what makes an environment.
    return os.path.abspath(found) if found else sys.executable


def post(address, content):
    request = urllib.request.Request(address, json.dumps(content).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read())


@contextlib.contextmanager
def served(python, folder):
    """The address of the backend, started as the README says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ours = {"PYTHONPATH": str(ROOT), "SEQTRACK_DEVICE": "cpu", "MODEL_DIR": str(folder)}
    env = {**os.environ, **ours, "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder)}
    with open(folder / "log", "w", encoding="utf-8") as log:
        words = [python, str(FOLDER / "_wsgi.py"), "--port", port]
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{address}/health", timeout=600).close()
                    break
                time.sleep(0.2)
            assert process.poll() is None, (folder / "log").read_text()
            yield address
        finally:
            process.terminate()
            process.wait()


def test_boxes_are_those_of_the_command(python, tmp_path):
    """As Label Studio asks: set up, then the regions of the page, in one request."""
    _, truth = draw_sequence(LENGTH, **SIZE)
    boxes = [truth[0].tolist(), [60.0, 50.0, 30.0, 24.0]]
    clip = write_clip(tmp_path / "clip.avi")
    expected = tracked(clip, boxes)
    drawn = [region(str(n), 0, box, framesCount=LENGTH) for n, box in enumerate(boxes, 1)]
    task = {"id": 3, "data": {"video": f"/data/local-files/?d={clip.name}"}}
    base = {"project": "1.1700000000", "label_config": CONFIG}
    with served(python, tmp_path) as address:
        post(f"{address}/setup", {**base, "schema": CONFIG, "hostname": "", "access_token": ""})
        asked = {**base, "tasks": [task], "params": {"context": {"result": drawn}}}
        (answer,) = post(f"{address}/predict", asked)["results"]
        nothing = post(f"{address}/predict", {**base, "tasks": [task], "params": {}})["results"]
    assert [one["result"] for one in nothing] == [[]]
    assert [one["id"] for one in answer["result"]] == ["1", "2"]
    for one in answer["result"]:
        assert one["value"]["labels"] == ["Ball"] and one["type"] == "videorectangle"
        assert [row["frame"] for row in one["value"]["sequence"]] == list(range(1, LENGTH + 1))
        for row in one["value"]["sequence"]:
            place = expected[int(one["id"]), row["frame"] - 1]
            assert row["enabled"] == (place is not None)
            if place is not None:
                found = SimpleNamespace(**row)
                wide, high = SIZE["width"] / 100, SIZE["height"] / 100
                box = [found.x * wide, found.y * high, found.width * wide, found.height * high]
                assert box == pytest.approx(place, abs=0.006)
