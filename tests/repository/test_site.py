"""The documentation site: its pages, what is made from the parsers, and what else ships with it."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from lib import __version__
from lib.config.paths import resolve_paths
from lib.utils.errors import MissingExtraError
from tests.helpers.browser import PATIENCE_MS, chromium, needs_browser
from tests.repository.test_readme import code_blocks, command_module, parse
from website import build, options

ROOT = Path(__file__).parents[2]
needs_zensical = pytest.mark.skipif(
    not importlib.util.find_spec("zensical"), reason='zensical is not installed (extra "docs")'
)
PARSERS = dict(options.parsers())


def navigation(part: Any) -> list[str]:
    """The pages of a part of the navigation, in order."""
    if isinstance(part, str):
        return [part]
    children = part.values() if isinstance(part, dict) else part
    return [page for child in children for page in navigation(child)]


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((ROOT / "website/mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(navigation(settings["nav"])) == sorted(build.sources().values())


def test_links_become_those_of_the_site() -> None:
    pages = {ROOT / "README.md": "index.md", ROOT / "docs/video.md": "video.md"}
    text = "[a](docs/video.md#x) [b](lib/cli.py) [c c](lib/cli.py) [d](https://x.y/z.md) [e](#f)"
    assert build.relinked(text, ROOT / "README.md", pages) == (
        "[a](video.md#x) `b` c c [d](https://x.y/z.md) [e](#f)"
    )
    assert build.relinked("![p](assets/p.png)", ROOT / "docs/video.md", pages) == (
        "![p](assets/p.png)"
    )


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_is_on_the_page_and_in_the_form(name: str) -> None:
    page = options.tables().split(f"## seqtrack {name}\n")[1].split("\n## ")[0]
    (command,) = [one for one in json.loads(options.form()) if one["name"] == name]
    parser = PARSERS[name]
    shown = [one for group in parser._action_groups for one in options.shown(group)]
    assert shown and len(command["options"]) == len(shown)
    for option, described in zip(shown, command["options"], strict=True):
        assert all(word in page for word in option.option_strings if word.startswith("--"))
        assert described["label"] == options.spelled(option)
        assert options._cell(options.meaning(parser, option)) in page


def test_the_pages_have_places_for_what_is_made() -> None:
    for mark, page in (("options", "commands"), ("form", "form")):
        assert f"<!-- build: {mark} -->" in (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    assert set(build.MADE) == {"<!-- build: options -->", "<!-- build: form -->"}


def spoken() -> str:
    """All texts of the program, `…` where a value is filled in."""
    texts = []
    for path in (ROOT / "lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_troubleshooting_has_messages_of_this_program() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    messages = [m for m in re.findall(r"^### `(.*)`$", page, re.MULTILINE) if " " in m]
    assert len(messages) > 15
    known = spoken()
    unknown = [m for m in messages if not all(part in known for part in m.split("…"))]
    assert not unknown


def test_the_image_is_built_from_what_is_there_by_the_lines_of_the_page() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [w for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for w in line.split()]
    assert "lib" in copied and "constraints.txt" in copied
    assert not [word for word in copied if word != "./" and not (ROOT / word).exists()]
    lines = re.findall(r"^RUN (.*)$", text, re.MULTILINE)
    page = [line for block in code_blocks("docs/start.md", "bash") for line in block.splitlines()]
    assert len(lines) == 4 and set(lines) <= set(page)
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", text, re.MULTILINE)
    assert stages == [("python:3.12-slim", "cpu"), ("cpu", "cuda")]
    targets = re.findall(r"^docker build --target (\w+)", "\n".join(page), re.MULTILINE)
    assert targets == ["cpu", "cuda"]
    # Results must not be lost with the container.
    (settings,) = re.findall(r"^ENV (SEQTRACK_.*)$", text, re.MULTILINE)
    paths = resolve_paths(env=dict(word.split("=") for word in settings.split()))
    assert (paths.data_dir, paths.save_dir) == (Path("/data"), Path("/data"))
    assert "WORKDIR /data" in text
    # What the packages are built from is not kept out of the image.
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not set(ignored) & set(copied)


def test_extras_that_documents_install_are_there() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    known = set(re.findall(r"^([\w-]+) = \[", extras, re.MULTILINE))
    named = {
        extra
        for document in [*build.sources(), ROOT / "Dockerfile"]
        for words in re.findall(r"\.\[([\w,-]+)\]", document.read_text(encoding="utf-8"))
        for extra in words.split(",")
    }
    assert {"serve", "onnx"} <= named and named <= known


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__ and citation["license"] == "MIT"
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}] - {citation['date-released']}" in changes
    assert citation["preferred-citation"]["title"] in (ROOT / "README.md").read_text(
        encoding="utf-8"
    ).replace("\n", " ")


def notebook_cells() -> list[dict[str, Any]]:
    return json.loads((ROOT / "docs/first_steps.ipynb").read_text(encoding="utf-8"))["cells"]


def test_the_notebook_is_committed_without_output() -> None:
    cells = [cell for cell in notebook_cells() if cell["cell_type"] == "code"]
    assert len(cells) >= 4
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cells in one namespace, as a kernel runs them."""
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for cell in notebook_cells():
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "first_steps.ipynb", "exec"), namespace)
    assert "mean overlap" in capsys.readouterr().out
    assert len(namespace["boxes"]) == 40


@pytest.mark.slow
def test_the_pictures_can_be_made_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from website import figures

    assert figures.main(["--out", str(tmp_path)]) == 0
    drawn = sorted(tmp_path.iterdir())
    assert [path.name for path in drawn] == [
        path.name
        for path in sorted((ROOT / "docs/assets").iterdir())
        if path.suffix in (".png", ".gif")
    ]
    assert len(drawn) == 4
    assert all(10_000 < path.stat().st_size < 1_500_000 for path in drawn)


class Page(HTMLParser):
    """What a page links to and loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("script", "img", "link", "iframe") and given.get("rel") != "canonical":
            self.loaded += [given[name] for name in ("src", "href") if name in given]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("website")
    assert build.build(folder) == 0, "zensical has a warning: run python website/build.py"
    return folder / "site"


@pytest.mark.slow
@needs_zensical
def test_the_site_is_built_without_a_warning_and_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) >= len(build.sources())
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert link in page.links, f"{path.name} loads {link} from elsewhere"
                continue
            # The page of errors is served at any path, so its links begin at the root.
            base = site if parts.path.startswith("/") else path.parent
            target = (base / unquote(parts.path).lstrip("/")) if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in {*pages[target].ids, "__skip"}, (
                    f"{path.name}: {link}"
                )


@pytest.mark.slow
@needs_zensical
@needs_browser
def test_the_form_writes_lines_that_parse(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "form.html").as_uri())
        line = page.locator("#line")
        unfold = "document.querySelectorAll('#form details').forEach((one) => (one.open = true))"
        page.evaluate(unfold)
        page.get_by_label("clip", exact=False).first.fill('"my clip.mp4"')
        page.get_by_label("--box X,Y,W,H").fill("1,2,30,40")
        page.get_by_label("--overwrite").check()
        words = shlex.split(line.inner_text())
        assert words[:3] == ["seqtrack", "track", "my clip.mp4"]
        found = command_module(words)
        assert found is not None
        assert parse(*found).overwrite
        assert words[words.index("--box") + 1] == "1,2,30,40"
        page.locator("#command").select_option("test")
        page.evaluate(unfold)
        assert "--dataset" in page.locator("#missing").inner_text()
        page.get_by_label("--dataset").fill("otb")
        page.get_by_label("--config").fill("seqtrack_b256 seqtrack_l384")
        found = command_module(shlex.split(line.inner_text()))
        assert found is not None
        args = parse(*found)
        assert args.dataset == "otb" and args.config == ["seqtrack_b256", "seqtrack_l384"]
        assert page.locator("#missing").inner_text() == ""
        assert all(url.startswith("file:") for url in asked)


@pytest.mark.parametrize(("script", "package"), [("build", "zensical"), ("figures", "matplotlib")])
def test_a_missing_package_is_said_with_the_line_that_installs_it(
    script: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    module = importlib.import_module(f"website.{script}")
    with pytest.raises(MissingExtraError, match=f"need.* {package}.*: pip install -e "):
        module.main(["--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
