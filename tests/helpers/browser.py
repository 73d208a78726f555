"""The Chromium that pages and written videos are tested in; SEQTRACK_BROWSER names it."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

BROWSER = os.environ.get("SEQTRACK_BROWSER", "")
# A busy machine is no reason to fail.
PATIENCE_MS = 180_000
needs_browser = pytest.mark.skipif(
    not BROWSER, reason="SEQTRACK_BROWSER does not name a Chromium, such as /usr/bin/chromium"
)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window; a missing driver is a failure, as a browser was promised."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # A container has no sandbox to start; the page is our own.
        browser = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield browser
        browser.close()
