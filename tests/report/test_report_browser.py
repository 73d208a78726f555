"""The report in a browser: what people do with it, and that nothing leaves the file.

Runs with the Chromium that SEQTRACK_BROWSER names, such as /usr/bin/chromium.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.commands.entry import run
from lib.datasets.text.boxes import read_boxes
from tests.helpers.browser import PATIENCE_MS, chromium, needs_browser
from tests.helpers.report_files import CALM, FRAMES, WILD, World

pytestmark = needs_browser
LOST = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("report"))
    world.track("good")
    world.track("default", tracker="other", lost=LOST, confidence=False)
    record = world.results("default", "other") / "run.json"
    record.write_text(json.dumps({"max_frames": 25}), encoding="utf-8")
    # On the first sequence the second tracker is the better one after all.
    boxes = read_boxes(world.data / CALM / "groundtruth.txt")
    boxes[15:, 0] += 6
    np.savetxt(world.results("good") / f"{CALM}.txt", boxes, fmt="%d", delimiter="\t")
    write(world, "whole.html")
    write(world, "few.html", "--max-mb", "0.12")
    write(world, "linked.html", "--link-frames")
    return world


def write(world: World, name: str, *arguments: str) -> None:
    words = ["--config", "good", "other/default", "--dataset", str(world.data), "--out"]
    words += [str(world.root / name), "--save_dir", str(world.save), *arguments]
    assert run("lib.commands.report", words) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


class Opened:
    """A page in its own window; what it asks for and what goes wrong is kept."""

    def __init__(self, browser: Any, file: Path, **window: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **window})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.file = file
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("#boxes rect.box")

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def box(self, tracker: int | None) -> list[float] | None:
        """The box drawn for a tracker, for None the ground truth."""
        which = "data-truth" if tracker is None else f'data-tracker="{tracker}"'
        return self.page.evaluate(
            """(selector) => {
                 const one = document.querySelector(selector);
                 return one && ["x", "y", "width", "height"].map((key) => +one.getAttribute(key));
               }""",
            f"#boxes rect.box[{which}]",
        )

    def frame(self) -> int:
        """The 0-based frame whose boxes are drawn."""
        return int(self.page.get_attribute("#boxes", "data-frame"))

    def level(self) -> float:
        """Grey level in the corner of the picture, which says which frame it is of."""
        return self.page.evaluate(
            "() => document.querySelector('.stage canvas').getContext('2d')"
            ".getImageData(2, 2, 1, 1).data[0]"
        )

    def names(self) -> list[str]:
        """The sequences in the order of the table."""
        return self.page.eval_on_selector_all(
            "#table tbody tr", "(rows) => rows.map((row) => row.dataset.sequence)"
        )

    def choose(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()
        self.page.wait_for_function(
            "(name) => document.querySelector('#sequence-name')?.textContent === name", arg=name
        )

    def drag_to(self, frame: int) -> None:
        """Take the cursor of the timeline to a frame."""
        self.page.locator("#timeline").scroll_into_view_if_needed()
        timeline = self.page.locator("#timeline").bounding_box()
        cursor = self.page.locator("#timeline [data-cursor] line").bounding_box()
        start, end = timeline["x"] + 44, timeline["x"] + timeline["width"] - 10
        height = timeline["y"] + 60
        self.page.mouse.move(cursor["x"], height)
        self.page.mouse.down()
        self.page.mouse.move((start + end) / 2, height)
        self.page.mouse.move(start + (end - start) * frame / (FRAMES - 1), height, steps=4)
        self.page.mouse.up()

    def close(self) -> None:
        self.context.close()
        assert self.errors == []


@pytest.fixture
def opened(browser: Any, world: World) -> Iterator[Opened]:
    one = Opened(browser, world.root / "whole.html")
    yield one
    one.close()


def results(world: World, tracker: str, sequence: str) -> np.ndarray:
    config, name = ("good", "seqtrack") if tracker == "good" else ("default", "other")
    return read_boxes(world.results(config, name) / f"{sequence}.txt")


def test_a_sequence_its_cursor_and_the_boxes_at_a_frame(opened: Opened, world: World) -> None:
    opened.choose(WILD)
    opened.drag_to(14)
    assert opened.frame() == 14
    assert opened.box(0) == results(world, "good", WILD)[14].tolist()
    assert opened.box(1) == results(world, "default", WILD)[14].tolist()
    truth = read_boxes(world.data / WILD / "groundtruth.txt")[14]
    np.testing.assert_allclose(opened.box(None), truth, atol=0.051)
    opened.page.wait_for_function(
        "() => document.querySelector('.stage canvas').getContext('2d')"
        f".getImageData(2, 2, 1, 1).data[0] >= {40 + 3 * 14 - 2}"
    )
    assert abs(opened.level() - (40 + 3 * 14)) <= 2
    assert opened.page.input_value("#frame") == "15", "people count from 1"
    values = opened.page.locator('#values [data-tracker="1"]').inner_text()
    assert "other/default" in values and "0.00" in values, "it is lost here"


SPANS = """() => {
  const seen = [];
  for (const one of document.querySelectorAll("#differences *, #notes *")) {
    if (one.children.length || !one.textContent.trim() || one.closest(".gone")) continue;
    const range = document.createRange();
    range.selectNodeContents(one);
    const { left, right } = range.getBoundingClientRect();
    seen.push([one.textContent, left, right]);
  }
  return seen;
}"""


def test_the_page_says_what_its_scores_are(browser: Any, world: World) -> None:
    one = Opened(browser, world.root / "whole.html")
    about = one.page.inner_text("#about")
    for name in one.page.locator("#scores thead th").all_inner_texts()[1:6]:
        assert name in about
    assert "AUC is the mean height of the success curve" in about
    one.close()


def test_the_answer_stands_where_a_phone_shows_it(browser: Any, world: World) -> None:
    """The table scrolls sideways there; its heading, the verdict and the cautions do not."""
    one = Opened(browser, world.root / "whole.html", viewport={"width": 390, "height": 844})
    spans = {text: (left, right) for text, left, right in one.page.evaluate(SPANS)}
    caution = "other/default: only the first 25 frames of each sequence were tracked."
    for wanted in ("paired bootstrap over the sequences", "Could be chance, on 2 sequences."):
        left, right = spans[wanted]
        assert left >= 0 and right <= 390, wanted
    assert spans[caution][0] >= 0 and spans[caution][1] <= 390
    assert one.page.evaluate("document.documentElement.scrollWidth") == 390
    one.page.evaluate("document.querySelector('#differences .scroll').scrollLeft = 1000")
    moved = {text: left for text, left, _ in one.page.evaluate(SPANS)}
    assert moved["Could be chance, on 2 sequences."] == pytest.approx(
        spans["Could be chance, on 2 sequences."][0], abs=1
    ), "it stays when the table is scrolled"
    one.close()


def test_no_request_leaves_the_file(opened: Opened) -> None:
    opened.choose(WILD)
    opened.drag_to(20)
    opened.page.keyboard.press("t")
    opened.page.wait_for_timeout(300)
    outside = [url for url in opened.requests if not url.startswith("data:")]
    assert outside == [opened.file.as_uri()]


def test_not_even_a_page_that_wants_to_gets_out(browser: Any, world: World) -> None:
    """The policy in its head holds, whatever a name might smuggle in."""
    asked: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    one = Opened(browser, world.root / "whole.html")
    one.page.evaluate(
        """async (address) => {
             const loaded = (node) => new Promise((done) => {
               node.onload = node.onerror = done; document.body.append(node);
             });
             await loaded(Object.assign(new Image(), { src: address + "image" }));
             const script = document.createElement("script");
             script.src = address + "script";
             await loaded(script);
             await fetch(address + "fetch").catch(() => {});
           }""",
        f"http://127.0.0.1:{server.server_port}/",
    )
    server.shutdown()
    server.server_close()
    assert asked == []
    assert len([text for text in one.errors if "Content Security Policy" in text]) >= 3
    one.context.close()


def test_names_are_text_and_never_markup(opened: Opened) -> None:
    assert opened.names() == [CALM, WILD]
    assert opened.page.locator("#table tbody tr").nth(1).locator("th").inner_text() == WILD
    assert opened.page.title() == "good, other/default on videos"
    assert opened.page.locator("img").count() == 0


def test_the_table_sorts_both_ways(opened: Opened) -> None:
    heading = opened.page.locator('#table [data-sort="t0"]')
    heading.click()
    assert opened.names() == [WILD, CALM], "the highest score first"
    assert opened.page.locator("#table th[aria-sort=descending]").count() == 1
    heading.click()
    assert opened.names() == [CALM, WILD]
    opened.page.locator('#table [data-sort="gap"]').click()
    assert opened.names() == [WILD, CALM]
    opened.page.locator('#table [data-sort="name"]').click()
    assert opened.names() == [WILD, CALM], "signs before figures before letters"
    assert opened.page.locator("#table th[aria-sort=ascending]").inner_text() == "Sequence\n▲"
    opened.page.keyboard.press("n")
    opened.page.wait_for_function(
        "(name) => document.querySelector('#sequence-name').textContent === name", arg=WILD
    )


def test_another_score_in_the_table(opened: Opened) -> None:
    before = opened.page.locator("#table tbody").inner_text()
    opened.page.select_option("#metric", label="OP75")
    assert opened.page.locator("#table tbody").inner_text() != before


def test_a_tracker_is_switched_off_everywhere_and_on_again(opened: Opened) -> None:
    parts = {
        "summary": '#scores [data-tracker="1"]',
        "curves": '#curves path[data-tracker="1"]',
        "timeline": '#timeline path[data-overlap="1"]',
        "boxes": '#boxes rect[data-tracker="1"]',
        "table": '#table [data-sort="t1"]',
        "segments": '#segments [data-segment="1"]',
    }

    def seen() -> set[str]:
        return {name for name, what in parts.items() if opened.page.locator(what).count()}

    assert seen() == set(parts)
    switch = opened.page.locator('[data-switch="1"]')
    switch.click()
    assert seen() == set()
    assert switch.get_attribute("aria-pressed") == "false"
    assert opened.box(0) is not None and opened.box(None) is not None
    switch.click()
    assert seen() == set(parts)
    opened.page.keyboard.press("1")
    assert opened.box(0) is None and seen() == set(parts)
    opened.page.keyboard.press("2")
    assert seen() == set() and opened.box(None) is not None, "only the ground truth is left"


def test_a_plot_says_its_values(opened: Opened) -> None:
    figures = json.loads(opened.page.locator("#report").inner_text())["datasets"][0]
    plot = opened.page.locator('[data-curve="success"] > svg')
    tip = opened.page.locator('[data-curve="success"] .tip')
    assert tip.is_hidden()
    plot.hover()
    assert "Overlap above" in tip.inner_text() and "other/default" in tip.inner_text()
    opened.page.mouse.move(0, 0)
    assert tip.is_hidden()
    plot.focus()
    opened.page.keyboard.press("Home")
    for _ in range(12):
        opened.page.keyboard.press("ArrowRight")
    said = tip.inner_text()
    assert "Overlap above: 0.6" in said
    for line in figures["curves"][0]["lines"]:
        assert f"{line[12]:.1f}" in said


def test_the_worst_segment_is_a_click_away(opened: Opened, world: World) -> None:
    opened.page.locator('#segments [data-segment="1"]').click()
    assert opened.frame() == LOST
    assert opened.box(1) == results(world, "default", CALM)[LOST].tolist()
    assert opened.page.locator("#timeline rect.segment").count() == 1


def test_the_keyboard_does_it_all(opened: Opened) -> None:
    page = opened.page
    page.locator("#timeline").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert opened.frame() == 11
    page.keyboard.press("ArrowLeft")
    assert opened.frame() == 10
    page.keyboard.press("PageUp")
    page.keyboard.press("PageDown")
    assert opened.frame() == 10
    page.keyboard.press("End")
    assert opened.frame() == FRAMES - 1
    assert page.get_attribute("#timeline", "aria-valuenow") == str(FRAMES)
    page.keyboard.press("ArrowRight")
    assert opened.frame() == FRAMES - 1, "there is nothing beyond the end"
    page.keyboard.press("Home")
    page.keyboard.press("w")
    assert opened.frame() > 0
    page.keyboard.press("z")
    assert page.get_attribute("#zoom", "aria-pressed") == "true"
    assert float(page.get_attribute("#boxes", "viewBox").split()[2]) < 96
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
    page.locator("#frame").fill("7")
    page.keyboard.press("Tab")
    assert opened.frame() == 6


def test_it_plays_to_the_end_and_stops(opened: Opened) -> None:
    opened.drag_to(FRAMES - 4)
    opened.page.get_by_role("button", name="Play (space)").click()
    opened.page.get_by_role("button", name="Pause (space)").wait_for()
    opened.page.wait_for_function(
        f"() => document.querySelector('#boxes').dataset.frame === '{FRAMES - 1}'"
    )
    opened.page.get_by_role("button", name="Play (space)").wait_for()
    assert opened.frame() == FRAMES - 1
    assert opened.page.get_by_role("button", name="Pause (space)").count() == 0


def test_a_frame_without_a_picture_says_so(browser: Any, world: World) -> None:
    one = Opened(browser, world.root / "few.html")
    pictures = {
        frame for frame, _ in json.loads(one.page.locator("#s0-0").inner_text())["pictures"]
    }
    missing = next(frame for frame in range(1, FRAMES) if frame not in pictures)
    assert one.page.locator(".stage-note").is_hidden(), "the first frame has one"
    one.drag_to(missing)
    one.page.wait_for_selector("text=No picture of frame")
    assert one.box(0) == results(world, "good", CALM)[missing].tolist()
    one.page.keyboard.press(".")
    assert one.frame() in pictures
    one.page.locator(".stage-note").wait_for(state="hidden")
    one.close()


def test_linked_frames_are_shown(browser: Any, world: World) -> None:
    one = Opened(browser, world.root / "linked.html")
    one.drag_to(20)
    one.page.wait_for_function(
        "() => document.querySelector('.stage canvas').width === 96 && "
        "!document.querySelector('.stage canvas').classList.contains('dim') && "
        "document.querySelector('.stage-note').hidden"
    )
    wanted = (world.data / CALM / "00000021.jpg").as_uri()
    assert wanted in one.requests
    folder = world.root.as_uri()
    assert all(url.startswith((folder, "data:")) for url in one.requests)
    one.close()


CONTRAST = """() => {
  const light = (text) => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((one) => one / 255)
      .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const colours = (selector) => getComputedStyle(document.querySelector(selector));
  const card = colours(".card").backgroundColor;
  const page = colours("body").backgroundColor;
  return {
    page: light(page),
    text: ratio(colours("#summary td").color, card),
    note: ratio(colours(".note").color, page),
    interval: ratio(colours(".between").color, card),
    axis: ratio(colours("#curves svg text").fill, card),
    badge: ratio(colours(".badge").color, colours(".badge").backgroundColor),
    lines: Math.min(...[...document.querySelectorAll("#curves path.line")]
      .map((line) => ratio(getComputedStyle(line).stroke, card))),
  };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_light_and_dark(browser: Any, world: World, scheme: str) -> None:
    one = Opened(browser, world.root / "whole.html", color_scheme=scheme)
    seen = one.page.evaluate(CONTRAST)
    assert (seen["page"] > 0.5) == (scheme == "light")
    assert min(seen[name] for name in ("text", "note", "interval", "axis", "badge")) >= 4.5
    assert seen["lines"] >= 3
    one.page.click("#theme")
    one.page.click("#theme")
    assert one.page.evaluate(CONTRAST)["page"] < 0.1, "auto, light, dark"
    one.close()


def test_a_narrow_window_does_not_scroll_sideways(browser: Any, world: World) -> None:
    one = Opened(browser, world.root / "whole.html", viewport={"width": 380, "height": 800})
    sizes = one.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1]
    one.choose(WILD)
    one.close()


def test_everything_that_can_be_used_has_a_name(opened: Opened) -> None:
    nameless = opened.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, [role], [tabindex]")]
             .filter((one) => !one.closest("[hidden], dialog") && one.id !== "sequences"
               && !(one.innerText || "").trim() && !one.getAttribute("aria-label")
               && !one.labels?.length).map((one) => one.outerHTML)"""
    )
    assert nameless == []
