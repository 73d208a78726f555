"""Processes that make batches ahead of time, and what becomes of them.

They live as long as the iterator, leave the signals of the terminal and of batch systems to the
main process, and go when it goes, however it goes. If one of them dies, so does the run.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from lib.utils.cores import usable_cores
from lib.utils.errors import EXIT_PARTIAL, SeqTrackError

K = TypeVar("K")
V = TypeVar("V")

_END = object()


class LoadingError(SeqTrackError):
    exit_code = EXIT_PARTIAL


@dataclass(frozen=True)
class _Made(Dataset, Generic[K, V]):
    """`make` in the form that torch's loader asks for."""

    make: Callable[[K], V]

    def __getitem__(self, key: K) -> V:
        return self.make(key)


def make_in_order(
    make: Callable[[K], V], keys: Iterable[K], workers: int, pin_memory: bool
) -> Generator[V, None, None]:
    """What `make` makes of every key, in the order of the keys. Closing it ends the processes.

    Args:
        make: picklable; what it raises is a mistake in the code and keeps its traceback.
        keys: read a few ahead.
        workers: processes, at most as many as there are cores; 0 makes it in this process.
        pin_memory: call `pin_memory()` of what is made, if it has that.

    Raises:
        LoadingError: one of the processes died.
    """
    workers = min(workers, usable_cores())
    if not workers:
        for key in keys:
            value = make(key)
            yield value.pin_memory() if pin_memory and hasattr(value, "pin_memory") else value
        return
    loader: DataLoader = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        multiprocessing_context=_context(),
        # Its own generator: the global one belongs to dropout, and to what a checkpoint restores.
        generator=torch.Generator(),
    )
    before = multiprocessing.active_children()
    with _signals_held():
        iterator = iter(loader)
    started = [child for child in multiprocessing.active_children() if child not in before]
    # Python waits for its children at the end, and these ignore its SIGTERM.
    end = Finalize(None, _kill, args=(started,), exitpriority=1)
    try:
        while (value := _next(iterator, started)) is not _END:
            yield value
    finally:
        del iterator  # an orderly end, if nobody else holds it (the traceback of an error does)
        end()


def _next(iterator: Iterator[Any], workers: list[BaseProcess]) -> Any:
    """The next of a loader with workers; `_END` after the last."""
    try:
        return next(iterator, _END)
    except (RuntimeError, OSError, EOFError) as error:
        if str(error).startswith("Caught "):
            raise  # a mistake in our code; its traceback is in the message
        raise LoadingError(f"no more samples come: {_death(workers) or error}") from error


def _death(workers: list[BaseProcess]) -> str:
    """What happened to the first worker that is dead; nothing if all live."""
    ended = wait([worker.sentinel for worker in workers], timeout=5)
    code = next((w.exitcode or 0 for w in workers if w.sentinel in ended), None)
    if code is None:
        return ""
    if code >= 0:
        return f"a data-loading process ended by itself (exit code {code}); see above why"
    names = {number.value: number.name for number in signal.Signals}
    how = names.get(-code, f"signal {-code}")
    short = {"SIGKILL": "memory", "SIGBUS": "shared memory (/dev/shm)"}.get(how)
    advice = f"; out of {short}? With a smaller TRAIN.NUM_WORKER there are fewer of them"
    return f"a data-loading process died ({how})" + (advice if short else "")


def _as_it_is(value: V) -> V:
    return value


def _kill(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join(1)


def _context() -> multiprocessing.context.BaseContext:
    """How workers are started: never by forking this process, which has threads of its own.

    A server process that has imported what takes long forks them instead, where there is one.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "cv2"])
    return context


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait while the block starts processes, which inherit that they wait.

    Both reach the whole process group (`torchrun` and batch systems do that), and the main
    process wants to finish its step and write a checkpoint, for which it needs its workers and
    the server that watches them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # It would let the signals through again when it starts itself, halfway through the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(index: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the main one is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
