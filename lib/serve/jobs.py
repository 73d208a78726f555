"""Work that is done frame by frame in threads, as long as somebody waits for it."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lib.serve.limits import RefusedRequest, ServeLimits
from lib.utils.errors import SeqTrackError, counted, out_of_memory

_LOOK_SECONDS = 0.2
_EVENTS = "text/event-stream"
_LINES = "application/x-ndjson"
# Content types of progress, that is of one event for each step.
STREAMS = (_EVENTS, _LINES)


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def stream_type(request: Request) -> str | None:
    """The content type of the stream that a request asks for; None where it wants one answer."""
    wanted = request.headers.get("accept", "")
    return next((one for one in STREAMS if one in wanted), None)


class JobSlots:
    """Lets a few jobs run, some wait, and sends others away."""

    def __init__(self, limits: ServeLimits) -> None:
        self.limits = limits
        self.closing = False
        self._free = asyncio.Semaphore(limits.jobs)
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def slot(self, request: Request) -> AsyncIterator[float]:
        """A place for one job, and the clock's time at which it has to be done.

        Raises:
            RefusedRequest: too many wait already, or it waited too long.
            ClientGone: whoever asked went away.
        """
        until = time.monotonic() + 60 * self.limits.minutes
        if self._free.locked() and self._waiting >= self.limits.waiting:
            raise RefusedRequest(
                503,
                f"{counted(self.limits.jobs, 'job')} at work and {self._waiting} waiting; try "
                "again later (--jobs, --waiting)",
            )
        self._waiting += 1
        try:
            while not await self._acquired():
                await self.check(request, until)
        finally:
            self._waiting -= 1
        try:
            yield until
        finally:
            self._free.release()

    async def _acquired(self) -> bool:
        try:
            await asyncio.wait_for(self._free.acquire(), _LOOK_SECONDS)
        except asyncio.TimeoutError:
            return False
        return True

    async def check(self, request: Request, until: float) -> None:
        """Raise ClientGone or RefusedRequest where a job has to end."""
        if await request.is_disconnected():
            raise ClientGone
        if self.closing:
            raise RefusedRequest(503, "the server ends; start it again")
        if time.monotonic() > until:
            raise RefusedRequest(
                503,
                f"it took longer than {self.limits.minutes:g} minutes (--max-minutes); ask for "
                "fewer frames at once",
            )


class JobSteps:
    """The steps of a job, taken by threads; closing it waits for the one that is under way."""

    def __init__(self, steps: Generator[Any, None, None]) -> None:
        self._steps = steps
        self._lock = threading.Lock()

    def next(self) -> Any:
        """What the next step gives; None at the end."""
        with self._lock:
            return next(self._steps, None)

    def close(self) -> None:
        with self._lock:
            self._steps.close()


class JobResponse(Response):
    """Runs a job when it is sent; ends it when the client goes away.

    Args:
        slots: where it gets a place.
        steps: the job; a step may take long and runs in a thread.
        finish: makes the answer behind the last step, in a thread too; in a stream its last event.
        stream: content type of a stream of events, one a step; None for one answer.
        cleanup: called in any case, in the end.
    """

    def __init__(
        self,
        slots: JobSlots,
        steps: Generator[Any, None, None],
        finish: Callable[[], Any],
        stream: str | None = None,
        cleanup: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(media_type=stream)
        self.slots, self.steps, self.finish = slots, JobSteps(steps), finish
        self.stream, self.cleanup = stream, cleanup

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            async with self.slots.slot(request) as until:
                if self.stream is None:
                    async for _ in self._taken(request, until):
                        pass
                    response = await asyncio.to_thread(self.finish)
                    await response(scope, receive, send)
                else:
                    await self._send_events(self._taken(request, until), send)
        except ClientGone:
            pass
        finally:
            # Also where this task is cancelled, a thread may be at work.
            await asyncio.shield(asyncio.to_thread(self._end))

    async def _taken(self, request: Request, until: float) -> AsyncIterator[Any]:
        while True:
            await self.slots.check(request, until)
            step = await asyncio.to_thread(self.steps.next)
            if step is None:
                return
            yield step

    async def _send_events(self, steps: AsyncIterator[Any], send: Send) -> None:
        # Before the first step nothing is sent: a refusal still has a status of its own.
        events = [await anext(steps, None)]
        headers = [(b"content-type", str(self.stream).encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            if events[0] is not None:
                await self._send(events.pop(), send)
                async for event in steps:
                    await self._send(event, send)
            last = await asyncio.to_thread(self.finish)
        except Exception as error:
            if (text := spoken(error)) is None:
                raise
            last = {"error": text}
        await self._send(last, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, event: Any, send: Send) -> None:
        text = json.dumps(event)
        line = f"data: {text}\n\n" if self.stream == _EVENTS else f"{text}\n"
        await send({"type": "http.response.body", "body": line.encode(), "more_body": True})

    def _end(self) -> None:
        self.steps.close()
        self.cleanup()


def spoken(error: Exception) -> str | None:
    """One line for who asked; None for a mistake in the code."""
    if isinstance(error, OSError):
        # Where a file of the server lies is nobody's concern.
        reason = error.strerror or type(error).__name__
        return f"the server cannot use its disk ({reason}); try again later"
    return one_line(error) if isinstance(error, SeqTrackError) else out_of_memory(error)


def one_line(error: Exception) -> str:
    """The message of an error, on one line."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
