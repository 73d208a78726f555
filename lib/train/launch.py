"""Several copies of a command on this machine, as `torchrun` would start them.

They are this program again: the copies find RANK and the like in their environment and join.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib.utils.cores import usable_cores

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_ROOT = Path(__file__).resolve().parents[2]
# Not `-m`: that would look for `lib` in the current folder first, and other trackers have one.
_CODE = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from lib.commands.entry import run_and_leave; run_and_leave(sys.argv[1], sys.argv[2:])"
)
# Those that the launcher handles, as far as this system has them.
_SIGNALS = [one for one in signal.Signals if one.name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")]
# What a checkpoint of the largest network may take on a slow disk; then SIGKILL follows.
_SECONDS_TO_SAVE = "600"


def launch(module: str, argv: Sequence[str], processes: int) -> int:
    """Run a command's module in several processes and wait for them.

    Ctrl-C and SIGTERM are passed on to all; when one process fails, the others are ended.

    Args:
        module: as for `lib.commands.entry.run`.

    Returns:
        The exit code of the process that failed first; 0 if none did.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its account of a failure is long, and the process itself has reported why.
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _SECONDS_TO_SAVE)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="seqtrack",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        elastic_launch(config, sys.executable)("-c", _CODE, str(_ROOT), module, *argv)
    except ChildFailedError as error:
        return _exit_code(list(error.failures.values()))
    except SignalException as error:
        return 128 + int(error.sigval)
    finally:
        # The launcher leaves its own handlers behind.
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    return 0


def _exit_code(failures: "list[ProcessFailure]") -> int:
    """That of the process that failed by itself; the others were ended for it, with SIGTERM."""
    ended = int(-signal.SIGTERM)
    by_itself = [failure for failure in failures if failure.exitcode != ended] or failures
    code = int(min(by_itself, key=lambda failure: failure.timestamp).exitcode)
    return code if code >= 0 else 128 - code
