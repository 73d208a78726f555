"""The page in a browser: what people do with it, by mouse, keys and finger, in light and dark.

Runs with the Chromium that SEQTRACK_BROWSER names, such as /usr/bin/chromium.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqtrack import Tracker
from tests.helpers.browser import PATIENCE_MS, chromium, needs_browser
from tests.helpers.page_server import HOST, MODEL, left_files, make_service, serving
from tests.helpers.tiny import draw_sequence
from tests.helpers.video_files import write_av

pytestmark = [needs_browser, pytest.mark.slow]
LENGTH, SIZE = 24, (160, 120)
BOX = [10.0, 20.0, 18.0, 14.0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_av(folder / "clip.mp4", draw_sequence(LENGTH, *SIZE)[0])
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Of a server whose first model is the shipped network."""
    with serving(make_service(folder, "seqtrack_tiny")) as port:
        yield f"http://{HOST}:{port}"


class OpenedPage:
    """The page in its own window; what it asks for and what goes wrong is kept."""

    def __init__(self, browser: Any, address: str, folder: Path, **window: Any) -> None:
        window = {"viewport": {"width": 1300, "height": 860}, **window}
        self.context = browser.new_context(**window)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.address, self.folder = address, folder
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(address)
        self.page.wait_for_selector("#model-0 option", state="attached")

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def upload(self) -> None:
        self.page.set_input_files("#file", str(self.folder / "clip.mp4"))
        self.wait_frame(0)

    def wait_frame(self, frame: int) -> None:
        self.wait("#where", f"Frame {frame + 1} of {LENGTH}")

    def wait(self, selector: str, text: str) -> None:
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)",
            arg=[selector, text],
        )

    def drag(self, box: list[float], view: int = 0) -> None:
        """Draw a box, in pixels of the clip."""
        corners = [self.at(box[0], box[1], view), self.at(box[0] + box[2], box[1] + box[3], view)]
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        self.page.mouse.move(*corners[1], steps=4)
        self.page.mouse.up()

    def at(self, x: float, y: float, view: int = 0) -> tuple[float, float]:
        """Where a point of the clip is on the screen."""
        canvas = self.page.locator(f'.view[data-view="{view}"] canvas')
        canvas.scroll_into_view_if_needed()
        place = canvas.bounding_box()
        scale = min(place["width"] / SIZE[0], place["height"] / SIZE[1])
        left = place["x"] + (place["width"] - scale * SIZE[0]) / 2
        top = place["y"] + (place["height"] - scale * SIZE[1]) / 2
        return left + scale * x, top + scale * y

    def box(self, target: str = "1", view: int = 0) -> list[float]:
        """The box that the list of targets says for the frame that is shown."""
        where = f'#targets [data-target="{target}"] [data-view="{view}"] .box'
        return [float(word) for word in self.page.locator(where).inner_text().split(",")]

    def track(self, button: str = "#track") -> None:
        """Track to the end."""
        self.page.evaluate("() => (document.querySelector('#status').textContent = '')")
        self.page.click(button)
        self.wait("#status", "Tracked.")

    def go(self, frame: int) -> None:
        self.page.fill("#frame", str(frame))
        self.wait_frame(frame)

    def download(self, button: str) -> Path:
        with self.page.expect_download() as waiting:
            self.page.click(button)
        path = self.folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def fits(self) -> bool:
        """Whether nothing has to be scrolled sideways."""
        return self.page.evaluate(
            "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.folder / f"{name}.png", full_page=True)

    def close(self) -> None:
        self.context.close()
        assert self.errors == []
        assert all(url.startswith((self.address, "blob:")) for url in self.requests)


def test_upload_draw_track_correct_compare_download(
    browser: Any, address: str, folder: Path
) -> None:
    opened = OpenedPage(browser, address, folder, color_scheme="light")
    page = opened.page
    opened.picture("start_light")
    opened.upload()
    opened.drag(BOX)
    assert opened.box() == pytest.approx(BOX, abs=0.5)
    drawn = opened.box()
    opened.track()
    opened.wait_frame(LENGTH - 1)
    with Tracker("seqtrack_tiny", device="cpu") as tracker:
        # The list says tenths of a pixel; the page sends hundredths.
        alone = [one.targets[1].box for one in tracker.stream(folder / "clip.mp4", drawn)]
    for frame in (LENGTH - 1, 12):
        opened.go(frame)
        assert opened.box() == pytest.approx(alone[frame], abs=2)
    opened.go(8)
    before = opened.box()
    opened.drag([60, 50, 30, 24])
    opened.wait("#targets .values", "drawn")
    opened.track("#track-back")
    opened.wait_frame(0)
    opened.go(8)
    opened.track()
    opened.go(8)
    assert opened.box() == pytest.approx([60, 50, 30, 24], abs=0.5) != before
    page.select_option("#model-1", MODEL)
    opened.track()
    opened.go(12)
    assert opened.box("1", 1) != opened.box("1", 0)
    assert page.locator(".view:visible").count() == 2
    opened.picture("compare_light")
    page.select_option("#format", "json")
    saved = json.loads(opened.download("#save-boxes").read_text(encoding="utf-8"))
    assert len(saved["rows"]) == LENGTH
    assert saved["rows"][8]["box"] == pytest.approx([60, 50, 30, 24], abs=0.5)
    page.select_option("#save-model", MODEL)
    video = opened.download("#save-video")
    assert "template_match" in video.name and video.read_bytes()[4:8] == b"ftyp"
    page.click("#other")
    page.wait_for_selector("#start", state="visible")
    opened.close()
    assert left_files(folder) == []


def test_all_of_it_by_keys_in_the_dark(browser: Any, address: str, folder: Path) -> None:
    opened = OpenedPage(browser, address, folder, color_scheme="dark")
    page = opened.page
    opened.upload()
    page.select_option("#model-0", MODEL)
    page.focus('.view[data-view="0"] canvas')
    press = page.keyboard.press
    press("Enter")
    placed = opened.box()
    press("ArrowRight")
    press("Shift+ArrowDown")
    assert opened.box() == [placed[0] + 4, placed[1], placed[2], placed[3] + 4]
    press("Enter")
    press("n")
    press("Enter")
    press("ArrowUp")
    press("Enter")
    assert page.locator("#targets li").count() == 2
    press("Space")
    opened.wait_frame(LENGTH - 1)
    opened.wait("#track", "Track")
    press("Home")
    opened.wait_frame(0)
    press("Shift+ArrowRight")
    opened.wait_frame(10)
    press("ArrowLeft")
    opened.wait_frame(9)
    opened.picture("keys_dark")
    press("1")
    assert page.locator('#targets [aria-pressed="true"]').inner_text() == "1"
    press("?")
    page.wait_for_selector("#help[open]")
    opened.picture("help_dark")
    press("Escape")
    press("Delete")
    assert page.locator("#targets li").count() == 1
    page.click("#theme")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "light"
    opened.close()


def test_a_phone(browser: Any, address: str, folder: Path) -> None:
    opened = OpenedPage(
        browser, address, folder, viewport={"width": 360, "height": 740}, has_touch=True,
        is_mobile=True, device_scale_factor=2, color_scheme="light",
    )  # fmt: skip
    page = opened.page
    assert opened.fits()
    opened.picture("phone_start")
    opened.upload()
    page.select_option("#model-0", MODEL)
    touch = opened.context.new_cdp_session(page)
    x, y, w, h = BOX
    path = [opened.at(x, y), opened.at(20, 30), opened.at(x + w, y + h)]
    for kind, points in (
        *(("touchMove" if place else "touchStart", [point]) for place, point in enumerate(path)),
        ("touchEnd", []),
    ):
        points = [{"x": across, "y": down} for across, down in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert opened.box() == pytest.approx(BOX, abs=1)
    opened.track()
    assert opened.fits()
    opened.picture("phone_tracked")
    opened.close()


def test_pausing_ends_the_work_and_goes_on(browser: Any, address: str, folder: Path) -> None:
    opened = OpenedPage(browser, address, folder)
    page = opened.page
    page.click("#sample")
    opened.wait("#where", "Frame 1 of")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    page.wait_for_function("() => Number(document.querySelector('#frame').value) >= 3")
    page.keyboard.press("Space")
    opened.wait("#status", "Paused")
    page.wait_for_timeout(300)  # what was on its way
    frame = int(page.input_value("#frame"))
    page.wait_for_timeout(500)
    assert int(page.input_value("#frame")) == frame, "nothing is tracked during a pause"
    page.keyboard.press("Space")
    page.wait_for_function(
        "(frame) => Number(document.querySelector('#frame').value) > frame + 2", arg=frame
    )
    page.keyboard.press("Space")
    assert int(page.input_value("#frame")) > frame + 2
    opened.picture("sample")
    opened.close()


def test_what_is_wrong_is_said(browser: Any, address: str, folder: Path) -> None:
    opened = OpenedPage(browser, address, folder)
    (folder / "notes.txt").write_text("hello")
    opened.page.set_input_files("#file", str(folder / "notes.txt"))
    opened.wait("#status.error", "notes.txt is no video that is read here")
    opened.upload()
    opened.page.click("#track")
    opened.wait("#status.error", "Draw a box first")
    # The browser says of its own that a request was refused, and of nothing else.
    (refused,) = opened.errors
    assert "415" in refused
    opened.errors = []
    opened.close()
