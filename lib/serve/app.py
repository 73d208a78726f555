"""The application of `seqtrack serve`: the page, its routes, and errors as one line of JSON."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from lib import __version__
from lib.serve.guard import Gate, Guard
from lib.serve.jobs import one_line, spoken
from lib.serve.limits import RefusedRequest
from lib.serve.service import ANNOTATIONS, Service
from lib.serve.session_routes import add_session_routes
from lib.serve.track_route import add_track_route
from lib.utils.errors import SeqTrackError
from lib.video.write import SUFFIXES

PAGE = Path(__file__).with_name("page")
_DESCRIPTION = (
    "Tracks targets in videos on this machine. `POST /track` does it in one request; what is below "
    "`/sessions` is what the page uses. Where the server has a token, send `Authorization: Bearer "
    "TOKEN`."
)
_WORDS = {
    400: "The request is not as it should be.",
    413: "Too large, or too long.",
    415: "No video, or no picture, of a kind that is read.",
    422: "A value is wrong, or the clip cannot be tracked so.",
    429: "Too many sessions are open.",
    503: "Too much work at once, or it took too long.",
}


class ErrorAnswer(BaseModel):
    """Every error: one line."""

    error: str


def create_app(service: Service, gate: Gate | None = None) -> FastAPI:
    """The application.

    Args:
        service: its state, which is closed with it.
        gate: who is let in; by default whoever asks for the loopback.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    # Interactive documents would fetch their scripts from elsewhere.
    app = FastAPI(
        title="SeqTrack",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={
            status: {"description": text, "model": ErrorAnswer} for status, text in _WORDS.items()
        },
    )
    app.add_exception_handler(SeqTrackError, _seqtrack_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(OSError, _unable)
    # PyTorch's lack of memory is one of these.
    app.add_exception_handler(RuntimeError, _unable)
    _add_facts(app, service)
    add_track_route(app, service)
    add_session_routes(app, service)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    app.add_middleware(Guard, gate=gate or Gate(bytes=service.limits.bytes))
    return app


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/models", summary="Models that track here, the default first")
    def models() -> list[str]:
        return service.models.names()

    @app.get("/limits", summary="What is taken at most, formats of annotations and of videos")
    def limits() -> dict[str, Any]:
        formats = {"annotations": list(ANNOTATIONS), "videos": list(SUFFIXES)}
        return {**asdict(service.limits), **formats}


def _answer(status: int, text: str) -> JSONResponse:
    headers = {"retry-after": "10"} if status in (429, 503) else {}
    return JSONResponse({"error": text}, status, headers)


async def _seqtrack_error(request: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, RefusedRequest) else 422
    return _answer(status, one_line(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """What pydantic finds, in one line."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    words = [f"{'.'.join(map(str, one['loc'][1:])) or 'body'}: {one['msg']}" for one in found]
    return _answer(422, "; ".join(words[:5]))


async def _gone(request: Request, error: Exception) -> JSONResponse:
    """For nobody: an upload broke off."""
    return _answer(400, "the upload broke off")


async def _unable(request: Request, error: Exception) -> JSONResponse:
    """The disk or the device fails, not the request. A mistake in the code keeps its traceback."""
    if (text := spoken(error)) is None:
        raise error
    return _answer(503, text)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return _answer(500, one_line(error))
    return _answer(error.status_code, f"{request.url.path}: {error.detail}")
