"""The VOT toolkit, called as a program in an environment of its own.

It is never imported: its licence is another one, and it wants other packages. `.venv-vot` of the
checkout, or the folder that SEQTRACK_VOT_VENV names, is made by `scripts/setup_vot.sh`.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.config.paths import repository_root
from lib.utils.errors import ConfigError, MissingExtraError

# The last release whose own experiment from anchors works; scripts/setup_vot.sh installs it.
TOOLKIT_VERSION = "0.7.4"
VARIABLE = "SEQTRACK_VOT_VENV"
_SETUP = "`bash scripts/setup_vot.sh` makes it"
# The toolkit asks for a newer version of itself at every start, and waits for the answer.
_NOWHERE = "http://127.0.0.1:9"
_GRACE_SECONDS = 15
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Toolkit:
    """A toolkit that can be called."""

    python: Path  # interpreter of its environment

    def run(
        self,
        arguments: Sequence[str],
        log: Path,
        cwd: Path | None = None,
        online: bool = False,
        watch: Callable[[], None] | None = None,
    ) -> int:
        """Call it; its output goes to a file.

        Args:
            arguments: those of `vot`.
            cwd: folder to call it in.
            online: let it use the network.
            watch: called every second while it runs.

        Returns:
            Its exit code, which is 0 after most failures too: look for what it should have made.

        Raises:
            OSError: it cannot be started, or the log cannot be written.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                [str(self.python), "-m", "vot", *arguments],
                cwd=cwd,
                env=_environment(online),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # Ctrl-C is ours to hand on: the trackers below it should end in good order.
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    if watch is not None:
                        watch()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(1.0)
            finally:
                _stop(process)
        return process.returncode


def find_toolkit() -> Toolkit:
    """The toolkit of the environment that `scripts/setup_vot.sh` makes.

    Raises:
        MissingExtraError: there is none, or it is of another version.
    """
    folder = Path(os.environ.get(VARIABLE) or repository_root() / ".venv-vot")
    python = folder / "bin" / "python"
    if not python.exists():
        raise MissingExtraError(
            f"the VOT toolkit's environment {folder} is not there; {_SETUP} (40 seconds)"
        )
    question = "from importlib.metadata import version; print(version('vot-toolkit'))"
    try:
        asked = subprocess.run(
            [str(python), "-c", question],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(False),
        )
    except OSError as error:
        raise MissingExtraError(f"{python}: cannot be run ({error}); {_SETUP} anew") from error
    version = asked.stdout.strip()
    if asked.returncode or not version:
        raise MissingExtraError(f"{folder}: the VOT toolkit is not installed in it; {_SETUP} anew")
    if version != TOOLKIT_VERSION:
        raise MissingExtraError(
            f"{folder}: vot-toolkit {version} is installed, and {TOOLKIT_VERSION} is needed, the "
            f"last one whose experiments start from anchors; {_SETUP} anew"
        )
    return Toolkit(python)


def is_plain(path: object) -> bool:
    """Whether TraX can carry a path: ASCII without a percent sign, with which it begins codes."""
    text = str(path)
    return text.isascii() and text.isprintable() and "%" not in text


@contextlib.contextmanager
def plain_path(root: Path) -> Iterator[Path]:
    """A path of a workspace that TraX can carry: its own, or that of a link which lives meanwhile.

    Raises:
        ConfigError: the folder of temporary files has no plain path either.
        OSError: no link can be made.
    """
    if is_plain(root):
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="seqtrack-vot-") as folder:
        if not is_plain(folder):
            raise ConfigError(
                f"{root}: the VOT toolkit needs a path of ASCII letters without %, and the folder "
                f"of temporary files has none, {folder}: set TMPDIR, or move the workspace"
            )
        link = Path(folder) / "workspace"
        link.symlink_to(root.absolute(), target_is_directory=True)
        yield link


def log_lines(log: Path) -> list[str]:
    """The lines of a log without colours and progress bars."""
    text = _COLOURS.sub("", log.read_text(encoding="utf-8", errors="replace"))
    lines = (line.rpartition("\r")[2].strip() for line in text.split("\n"))
    return [line for line in lines if line]


def last_trouble(lines: Sequence[str]) -> str:
    """The last line of a log about an error, else the last one."""
    errors = [line for line in lines if "rror" in line or "xception" in line]
    return (errors or lines or ["nothing"])[-1][:200]


def _environment(online: bool) -> Mapping[str, str]:
    """The environment of the toolkit: ours without what would reach into its packages."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VOT_")) and name != "VIRTUAL_ENV"
    }
    # Binary results tell when they are cut short. The cache of the analysis is kept by names,
    # not by content: it would outlive the results it was made of.
    kept |= {"VOT_RESULTS_BINARY": "1", "VOT_PERSISTENT_CACHE": "0", "PYTHONUNBUFFERED": "1"}
    if not online:
        kept |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NOWHERE)
        kept |= {"NO_PROXY": "", "no_proxy": ""}
    return kept


def _stop(process: subprocess.Popen) -> None:
    """End a toolkit that still runs, and whatever it has left behind."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        end = time.monotonic() + _GRACE_SECONDS
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
