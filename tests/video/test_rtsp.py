"""A camera of RTSP, really played: the newest frame, a stall, and a server that vanishes."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from lib.api import Tracker
from lib.commands.entry import run
from lib.utils.errors import PartialFailure
from lib.video import live
from lib.video.open import open_source
from tests.helpers.rtsp_server import RtspServer, h264_pictures
from tests.helpers.video_files import number_in, numbered, write_av

BOX = (10, 10, 30, 30)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(live, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(live, "STALL_SECONDS", 2.0)


def pictures(folder: Path, count: int, first: int = 0, large: bool = False) -> list[bytes]:
    """Coded pictures with their numbers, a key frame every ten; large ones have noise on top."""
    images = numbered(count, *((288, 192) if large else ()), first=first)
    if large:
        for image in images:
            image[:40] = np.random.default_rng(0).integers(0, 255, image[:40].shape)
    options = {"g": "10", "keyint_min": "10", "bf": "0"}
    return h264_pictures(write_av(folder / f"{first}.h264", images, options=options))


def readers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("reader of")]


def test_a_slow_tracker_gets_the_newest_frame_and_the_skipped_ones_are_counted(tmp_path):
    scripts = [(pictures(tmp_path, 100), "half")]
    with RtspServer(scripts) as server, Tracker("static_box/default") as tracker:
        stream = tracker.stream(server.address, BOX, reconnect=0)
        first = next(stream)
        # The tracker takes its time: meanwhile all the rest comes, and the server goes.
        server.go_on.set()
        for thread in readers():
            thread.join(30)
        last = next(stream)
        with pytest.raises(PartialFailure, match=r"lost after \d+ pictures \(the server hung up"):
            next(stream)
    assert number_in(last.image) == 99
    assert last.frame == 99 - number_in(first.image) == last.skipped + 1
    assert last.targets[1].box == BOX
    assert not readers()


def test_pictures_larger_than_a_packet_are_whole(tmp_path):
    coded = pictures(tmp_path, 30, large=True)
    assert max(map(len, coded)) > 4000
    with RtspServer([(coded, "vanish")]) as server:
        frames = list(open_source(server.address, live=False).frames())
    assert [number_in(frame.image) for frame in frames] == list(range(30))


def test_a_stall_and_a_server_that_vanishes(tmp_path, monkeypatch, capsys, caplog):
    """The command connects again, as often as it may; then it ends with one line and its files."""
    monkeypatch.chdir(tmp_path)
    scripts = [(pictures(tmp_path, 40), "stall"), (pictures(tmp_path, 40, 100), "vanish")]
    with RtspServer(scripts) as server:
        by = ["--tracker", "static_box", "--out", "a.mp4"]
        assert run("lib.commands.track", [server.address, "--box", "10,10,30,30", *by]) == 1
    captured = capsys.readouterr()
    said = [record.getMessage() for record in caplog.records]
    assert [line.split("; ")[-1] for line in said] == [
        "connecting again (1 of 3)",
        "connecting again (1 of 3)",
        "connecting again (2 of 3)",
        "connecting again (3 of 3)",
    ]
    assert "nothing came in time" in said[0] and "the server hung up" in said[1]
    lost = captured.err.strip().splitlines()[-1]
    assert re.search(r"/cam: lost after \d+ pictures \(cannot be opened", lost)
    table = (tmp_path / "a.csv").read_text().splitlines()
    written = [line for line in captured.out.splitlines() if line.startswith("written: ")]
    assert len(table) > 2 and written == ["written: a.mp4", "written: a.csv"]
    assert not readers()
