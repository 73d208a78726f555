"""The file of what was chosen by measurement on this machine, in the user's cache.

It is a convenience: without it, or with a damaged one, things are measured again.
"""

import contextlib
import hashlib
import json
import logging
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.utils.errors import SeqTrackError
from lib.utils.files import atomic_write_text, user_cache

logger = logging.getLogger(__name__)


class ThreadChoice:
    """A number of threads from 1 to `most`, and its place in the file.

    Args:
        key: all that the choice depends on besides the processor, `most` included; for JSON.
        about: more words for a reader of the file.
        most: the largest number.
    """

    def __init__(self, key: Mapping[str, Any], about: Mapping[str, Any], most: int) -> None:
        self.most = most
        self.about = {"cpu": cpu_name(), **about}
        whole = json.dumps([cpu_name(), key], sort_keys=True)
        self.key = hashlib.sha256(whole.encode()).hexdigest()[:16]
        self.path: Path | None = None
        with contextlib.suppress(SeqTrackError):
            # Without a home folder nothing is kept, and `keep` says so.
            self.path = choices_file()

    def find(self, warn: bool = True) -> int | None:
        """The choice, if it was made before; `warn` of a damaged file."""
        entry = self._read(warn).get(self.key)
        threads = entry.get("threads") if isinstance(entry, dict) else None
        return threads if type(threads) is int and 1 <= threads <= self.most else None

    def keep(self, threads: int, seconds: Mapping[int, float]) -> bool:
        """Write a choice down; whether that was possible. It is no error if not."""
        ms = {str(count): round(1e3 * value, 3) for count, value in seconds.items()}
        entry = {"threads": threads, "ms": ms, **self.about}
        try:
            if self.path is None:
                raise OSError("no home folder is known")
            text = json.dumps({**self._read(warn=False), self.key: entry}, indent=1)
            atomic_write_text(self.path, text + "\n")
        except OSError as error:
            logger.warning(
                "the number of CPU threads cannot be kept in %s (%s): each run measures it again, "
                "and may come to another one; --cpu-threads N sets it",
                self.path or "the cache", error.strerror or error,
            )  # fmt: skip
            return False
        return True

    def _read(self, warn: bool) -> dict[str, Any]:
        """All choices; none if the file is damaged, which is said once."""
        if self.path is None:
            return {}
        try:
            choices = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(choices, dict):
                return choices
        except OSError:
            # Not there, or not readable; then writing fails as well, and says it.
            return {}
        except (ValueError, RecursionError):
            pass
        if warn:
            logger.warning("%s is damaged: it is written anew", self.path)
        return {}


def choices_file() -> Path:
    """Where choices are kept: in the user's cache, beside the exported networks.

    Raises:
        SeqTrackError: there is no home folder.
    """
    return user_cache() / "cpu_threads.json"


def cpu_name() -> str:
    """The processor's own name, as far as the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
