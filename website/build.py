"""Build the documentation site: `python website/build.py`, then open build/website/site/index.html.

The pages are docs/*.md and the documents of the repository's root. Links between them are turned
into links between pages; links to code become its path. What a parser knows is written where a page
has a comment such as `<!-- build: options -->`.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lib.commands.entry import run  # noqa: E402  (this repository goes first on sys.path)
from lib.utils.advice import extra  # noqa: E402
from lib.utils.errors import MissingExtraError  # noqa: E402
from website import options  # noqa: E402

# The page of each document that lies outside of docs/.
ELSEWHERE = {
    "README.md": "index.md",
    "MODEL_ZOO.md": "model_zoo.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "external/vot20/README.md": "vot.md",
    "external/AR/README.md": "alpha_refine.md",
    "integrations/cvat/README.md": "cvat.md",
    "integrations/label_studio/README.md": "label_studio.md",
}
MADE = {
    "<!-- build: options -->": options.tables,
    "<!-- build: form -->": lambda: (
        f'<script type="application/json" id="commands">{options.form()}</script>\n'
        '<div id="form"></div>'
    ),
}
LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def sources() -> dict[Path, str]:
    """The documents of the site, and the name of the page that each becomes."""
    pages = {path: path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    return pages | {ROOT / path: page for path, page in ELSEWHERE.items()}


def relinked(text: str, document: Path, pages: dict[Path, str]) -> str:
    """The text of a document with its links as they are on the site."""

    def link(match: re.Match[str]) -> str:
        picture, words, target, anchor = match.groups(default="")
        path = (document.parent / target).resolve()
        if path in pages:
            return f"[{words}]({pages[path]}{anchor})"
        if path.is_relative_to(ROOT / "docs"):
            return f"{picture}[{words}]({path.relative_to(ROOT / 'docs').as_posix()})"
        # The site has no code: what it is called is enough to find it in a checkout.
        return words if words.startswith("`") or " " in words else f"`{words}`"

    return LINK.sub(link, text)


def assemble(folder: Path) -> None:
    """Write the sources of the site, `mkdocs.yml` and `docs/`, into an empty folder."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("*.md"))
    shutil.copy(ROOT / "website/mkdocs.yml", folder)
    pages = sources()
    for document, page in pages.items():
        text = relinked(document.read_text(encoding="utf-8"), document, pages)
        for mark, make in MADE.items():
            if mark in text:
                text = text.replace(mark, make())
        (folder / "docs" / page).write_text(text, encoding="utf-8")


def build(folder: Path) -> int:
    """Build the site below `folder` and return zensical's exit code; a warning is a failure."""
    if (folder / "mkdocs.yml").exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    assemble(folder)
    words = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=environment, check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Build the site. Raises MissingExtraError: zensical is not installed."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build/website",
        metavar="DIR",
        help="folder of the site's sources and of the site (default: build/website)",
    )
    args = parser.parse_args(argv)
    if not importlib.util.find_spec("zensical"):
        raise MissingExtraError(
            f"the site needs zensical, on Python 3.11.5 or newer: {extra('docs')}"
        )
    return build(args.out.resolve())


if __name__ == "__main__":
    sys.exit(run("website.build"))
