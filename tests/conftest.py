"""What all tests share: no network, none of the user's settings, few threads, and at the very
end of a run the list of what was not run, with the reason."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from lib.utils.cores import usable_cores
from tests.helpers.dataset_files import make_got10k_val, make_lasot

# Before anything imports torch. More threads than this only get in each other's way here.
_CORES = usable_cores()
_THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else min(_CORES, 4)
os.environ.setdefault("OMP_NUM_THREADS", str(_THREADS))
os.environ["HF_HUB_OFFLINE"] = "1"
# A shell starts its background jobs with Ctrl-C ignored, and programs started here inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Where the user keeps data and results is no business of the tests.
for _name in [n for n in os.environ if n.startswith(("SEQTRACK_DATA", "SEQTRACK_SAVE"))]:
    del os.environ[_name]

# How long an example takes is the machine's affair: a busy one must not fail a test.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

_WHY_DESELECTED = {
    "vot": "they need the VOT toolkit: bash scripts/setup_vot.sh makes its environment",
    "gpu": "a CUDA device is needed, and bash scripts/test.sh --all",
    "slow": "bash scripts/test.sh --all runs them",
}


class NotRun:
    """Collects deselected and skipped tests, and reports them after pytest's closing line.

    Under pytest-xdist only the workers collect, all of them the same tests: the first one that
    ends tells the controller what was deselected. Skips reach the controller as reports.
    """

    def __init__(self) -> None:
        self.deselected: dict[str, int] = {}
        self.skipped: dict[str, list[str]] = {}

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        for item in items:
            expression = item.config.option.markexpr
            for marker in _WHY_DESELECTED:
                if item.get_closest_marker(marker) and f"not {marker}" in expression:
                    self.deselected[marker] = self.deselected.get(marker, 0) + 1
                    break

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["deselected"] = self.deselected

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # A worker that crashed has no output.
        self.deselected = self.deselected or getattr(node, "workeroutput", {}).get("deselected", {})

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            detail = report.longrepr
            reason = detail[2] if isinstance(detail, tuple) else str(detail)
            self.skipped.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def lines(self) -> list[str]:
        found = [
            f"  {count} marked {marker}: {_WHY_DESELECTED[marker]}"
            for marker, count in self.deselected.items()
        ]
        for reason, names in self.skipped.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            found.append(f"  {len(names)} skipped: {reason} ({', '.join(names[:3])}{more})")
        return ["not run:", *found] if found else ["not run: none"]

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        if hasattr(config, "workerinput"):
            return
        if target := os.environ.get("SEQTRACK_SKIPPED"):  # scripts/test.sh prints it last
            Path(target).write_text("\n".join(self.lines()) + "\n", encoding="utf-8")
        else:
            for line in self.lines():
                config.get_terminal_writer().line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out kit tests without a case: a kit may hold any subset of the files.

    Not so in the default kits: there a pattern without a file is a case that fails.
    """
    empty = [
        item
        for item in items
        if any(
            "empty parameter set" in mark.kwargs.get("reason", "")
            for mark in item.iter_markers("skip")
        )
    ]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: a worker for each core that may be used; xdist counts the machine's."""
    return min(_CORES, 16)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NotRun(), "not-run")


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Refuses every connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0]) if isinstance(address, tuple) else str(address)
            if host not in ("localhost", "::1") and not host.startswith("127."):
                raise OSError(f"a test tried to reach the network: {host}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture
def lasot(tmp_path: Path) -> Path:
    """LaSOT with a few of its sequences, as `make_lasot` writes it."""
    return make_lasot(tmp_path)


@pytest.fixture
def got10k_val(tmp_path: Path) -> Path:
    """GOT-10k val with a few sequences, as `make_got10k_val` writes it."""
    return make_got10k_val(tmp_path)


@pytest.fixture
def one_process() -> Iterator[None]:
    """A process group of this process alone."""
    from torch import distributed

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()
