"""A written video plays in a browser: frames advance, and the size is right.

Runs with the Chromium that SEQTRACK_BROWSER names, such as /usr/bin/chromium.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.commands.entry import run
from tests.helpers.browser import PATIENCE_MS, chromium, needs_browser
from tests.helpers.video_files import numbered, write_av

pytestmark = needs_browser

# Plays a video to its end and counts the pictures that the decoder gave.
PLAY = """async () => {
  const video = document.querySelector("video");
  const ended = new Promise((done, failed) => {
    video.onended = done;
    video.onerror = () => failed(new Error(video.error.message));
  });
  video.muted = true;
  await video.play();
  await ended;
  return {
    width: video.videoWidth, height: video.videoHeight, duration: video.duration,
    time: video.currentTime,
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("name", ["clip_static_box.mp4", "a.webm"])
def test_a_written_video_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # 0.8 s at 25 frames/s, then 0.8 s at 12.5.
    times = [i / 25 for i in range(20)] + [0.8 + i / 12.5 for i in range(10)]
    clip = write_av(tmp_path / "clip.mp4", numbered(30, 160, 120), times=times)
    words = [str(clip), "--box", "40,30,20,20", "--tracker", "static_box"]
    # By default, that is without --out, it is an .mp4.
    words += ["--out", name] if name == "a.webm" else []
    assert run("lib.commands.track", words) == 0
    (tmp_path / "page.html").write_text(f"<video src='{name}'></video>")
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto((tmp_path / "page.html").as_uri())
    seen = page.evaluate(PLAY)
    context.close()
    assert (seen["width"], seen["height"]) == (160, 120)
    assert seen["duration"] == pytest.approx(1.6, abs=0.09)
    assert seen["time"] == pytest.approx(seen["duration"], abs=0.09)
    assert seen["frames"] >= 25
