"""What the page asks for: a session with a clip, its frames, tracking, downloads."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, Response

from lib.annotations.rows import json_row
from lib.annotations.write import check_format
from lib.api import frame_boxes, target_rows
from lib.serve.jobs import JobResponse, stream_type
from lib.serve.limits import RefusedRequest
from lib.serve.service import ANNOTATIONS, Service, annotations
from lib.serve.session import ClipSession, TrackRequest
from lib.serve.uploads import file_name, open_upload, receive_video, remove_folder
from lib.utils.errors import DataError, SeqTrackError
from lib.utils.targets import target_id
from lib.video.placed import check_end
from lib.video.write import SUFFIXES

_KINDS = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-ndjson": {}, "text/event-stream": {}}}
}
FourNumbers = Annotated[list[float], Field(min_length=4, max_length=4)]


class SessionTrack(BaseModel):
    """What `POST /sessions/{name}/track` takes."""

    frame: int = Field(ge=0, description="Index of the first frame.")
    boxes: dict[int, dict[str, FourNumbers]] = Field(
        default={}, description="Boxes that were drawn, xywh in pixels, by frame and target."
    )
    others: list[str] = Field(
        default=[], description="Targets that go on from what was found in the first frame."
    )
    backward: bool = Field(default=False, description="Toward frame 0.")
    end: int | None = Field(default=None, ge=0, description="Index of the last frame.")
    model: str | None = Field(default=None, description="One of `GET /models`.")

    def request(self) -> TrackRequest:
        """The same with targets by their ids.

        Raises:
            DataError: something of it contradicts itself, or is no box.
        """
        check_end(self.end, self.frame, self.backward)
        named = {
            frame: {target_id(target): box for target, box in some.items()}
            for frame, some in self.boxes.items()
        }
        sign = -1 if self.backward else 1
        if early := [one for one in named if sign * one < sign * self.frame]:
            side = "after" if self.backward else "before"
            raise DataError(f"the box of frame {early[0]} lies {side} the start, {self.frame}")
        others = tuple(map(target_id, self.others))
        return TrackRequest(self.frame, frame_boxes(named), others, self.backward, self.end)


def add_session_routes(app: FastAPI, service: Service) -> None:
    """Add all routes below `/sessions` to an application."""
    _add_beginning(app, service)
    _add_tracking(app, service)
    _add_downloads(app, service)


def _add_beginning(app: FastAPI, service: Service) -> None:
    @app.post("/sessions", summary="Begin a session: a video as the body, or the sample")
    async def begin(request: Request, name: str = "clip.mp4", sample: bool = False) -> Any:
        service.check_sessions()
        folder = service.uploads.make()
        try:
            if sample:
                session = await asyncio.to_thread(service.sample, folder)
            else:
                path = folder / file_name(name, "clip")
                await receive_video(request.stream(), path)
                session = await asyncio.to_thread(_opened, path, service)
        except BaseException:
            remove_folder(folder)
            raise
        return service.add_session(session).facts()

    @app.get("/sessions/{name}/frames/{index}", response_class=Response, summary="A frame as JPEG")
    def frame(name: str, index: int) -> Response:
        try:
            content = service.session(name).pictures.jpeg(index)
        except DataError as error:
            raise RefusedRequest(404, str(error)) from error
        # A frame of a clip never changes.
        headers = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.delete("/sessions/{name}/targets/{target}", summary="Forget a target")
    def remove(name: str, target: str) -> None:
        service.session(name).remove(target_id(target))

    @app.post("/sessions/{name}/end", summary="End a session and remove its video")
    def end(name: str) -> None:
        service.end_session(name)


def _opened(path: Path, service: Service) -> ClipSession:
    """A session of an uploaded file; messages call it as its owner does."""
    try:
        return ClipSession(open_upload(path, service.limits), path.parent)
    except DataError as error:
        raise DataError(str(error).replace(f"{path.parent}/", "")) from error


def _add_tracking(app: FastAPI, service: Service) -> None:
    @app.post(
        "/sessions/{name}/track",
        summary="Track from a frame on; an event for each frame. Closing the request pauses.",
        response_class=Response,
        responses=_EVENTS,
    )
    async def track(request: Request, name: str, wanted: Annotated[SessionTrack, Body()]) -> Any:
        session = service.session(name)
        model = service.models.check(wanted.model)
        asked = wanted.request()
        drawn = {target for some in asked.boxes.values() for target in some}
        service.limits.check_targets(len(drawn | set(asked.others)))

        def steps() -> Generator[dict[str, Any], None, None]:
            for result in session.track(service.models.get(model), asked):
                rows = [json_row(row) for row in target_rows(result)]
                yield {"frame": result.frame, "time_s": round(result.time, 6), "rows": rows}

        stream = stream_type(request) or "application/x-ndjson"
        return JobResponse(service.slots, steps(), lambda: {"done": True}, stream)


def _add_downloads(app: FastAPI, service: Service) -> None:
    @app.get(
        "/sessions/{name}/annotations",
        response_class=Response,
        summary="All that a model found, in a format for annotation tools",
    )
    def download(name: str, format: str = "json", model: str | None = None) -> Response:
        session = service.session(name)
        check_format(format, tuple(ANNOTATIONS))
        rows = session.rows(service.models.check(model))
        folder = service.uploads.make()
        try:
            return annotations(rows, format, session.clip_facts(), folder)
        finally:
            remove_folder(folder)

    @app.get(
        "/sessions/{name}/video",
        response_class=Response,
        summary="A video of the tracked frames with the boxes of a model drawn",
    )
    async def video(name: str, suffix: str = ".mp4", model: str | None = None) -> Response:
        session = service.session(name)
        model = service.models.check(model)
        if suffix not in SUFFIXES:
            raise RefusedRequest(422, f"{suffix!r} is no video; one of {', '.join(SUFFIXES)}")
        session.rows(model)
        folder = service.uploads.make()
        stem = f"{Path(session.clip.name).stem}_{model.replace('/', '_')}"
        path = folder / f"boxes{suffix}"

        def finish() -> FileResponse:
            if not path.is_file():
                raise SeqTrackError("the video could not be written")
            saved = f"{stem}_boxes{suffix}"
            return FileResponse(path, media_type=_KINDS[suffix], filename=saved)

        steps = session.paint(model, path)
        return JobResponse(service.slots, steps, finish, cleanup=lambda: remove_folder(folder))
