"""From figures and assets to one HTML file that needs nothing else."""

import base64
import hashlib
import html
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

_STYLES = ("report.css", "player.css")
# In the order in which they may use each other.
_SCRIPTS = (
    "dom.js",
    "series.js",
    "state.js",
    "curves.js",
    "summary.js",
    "table.js",
    "stage.js",
    "timeline.js",
    "player.js",
    "keys.js",
    "main.js",
)


def build_page(title: str, report: dict[str, Any], blocks: Iterable[tuple[str, Any]]) -> str:
    """The page as text.

    A policy in its head lets it load pictures from itself or, for linked frames, from files, and
    nothing else from anywhere; scripts and styles run only if they are the ones written here.

    Args:
        title: shown in the browser's tab.
        report: what is read when the page opens.
        blocks: (id, value) of what is read when it is looked at.
    """
    style = "\n".join(map(_asset, _STYLES))
    script = "(() => {\n'use strict';\n" + "\n".join(map(_asset, _SCRIPTS)) + "\n})();\n"
    data = [_block("report", report), *(_block(name, value) for name, value in blocks)]
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(_spellable(title)),
        "style": style,
        "data": "\n".join(data),
        "script": script,
    }
    head, *rest = _asset("page.html").split("{{")
    filled = [head]
    for piece in rest:
        name, _, after = piece.partition("}}")
        filled += [parts[name], after]
    return "".join(filled)


def to_json(value: Any) -> str:
    """JSON that may stand inside a script element, whatever the names in it hold.

    Example:
        >>> print(to_json({"name": "</script><!-- é"}))
        {"name":"\\u003c/script\\u003e\\u003c!-- \\u00e9"}
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _block(name: str, value: Any) -> str:
    return f'<script type="application/json" id="{html.escape(name)}">{to_json(value)}</script>'


def _asset(name: str) -> str:
    return (resources.files("lib.report") / "assets" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _spellable(text: str) -> str:
    """File names of another encoding hold what UTF-8 cannot spell."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
