"""`POST /track`: a video or pictures and boxes in, boxes of all frames out, in one request."""

import asyncio
import contextlib
import json
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lib.annotations.rows import ClipFacts, TargetRow, json_row
from lib.annotations.write import check_format
from lib.api import target_rows
from lib.serve.jobs import STREAMS, JobResponse, one_line, stream_type
from lib.serve.limits import RefusedRequest
from lib.serve.service import ANNOTATIONS, Service, annotations
from lib.serve.uploads import (
    check_pictures,
    copy_picture,
    copy_video,
    file_name,
    open_upload,
    remove_folder,
)
from lib.utils.boxes import Box
from lib.utils.errors import DataError, PartialFailure, counted
from lib.utils.targets import TargetId
from lib.video.clip import FPS_RANGE, Clip
from lib.video.open import FrameClip
from lib.video.placed import PlacedBox, check_end, first_frame, parse_box, place_boxes

_NUMBER = re.compile(r"\d{1,9}")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
_FIELDS = ("video", "frames", "boxes", "start", "end", "backward", "model", "format", "fps")
# Room for the boxes of every frame.
_FIELD_BYTES = 4_000_000


@dataclass
class TrackAnswer:
    """A job of `POST /track`, and what it has found so far.

    Attributes:
        service: that does it.
        clip: the frames.
        folder: of the files, which goes away with the job.
        boxes: by frame and target.
        start: index of the first frame.
        end: of the last one; None for all.
        backward: toward the first frame.
        model: that tracks.
        format: of the answer.
        names: of pictures, as they were sent.
    """

    service: Service
    clip: Clip
    folder: Path
    boxes: Mapping[int, Mapping[TargetId, Box]]
    start: int
    end: int | None
    backward: bool
    model: str
    format: str
    names: list[str]
    rows: list[TargetRow] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    warning: str = ""

    def steps(self) -> Generator[dict[str, Any], None, None]:
        """Track; an event for each frame."""
        shared = self.service.models.get(self.model)
        given = self.boxes, self.start, self.backward
        try:
            with contextlib.closing(
                shared.tracker.stream(self.clip, *given, end=self.end)
            ) as stream:
                for number, result in enumerate(shared.in_turn(stream)):
                    if number == self.service.limits.frames:
                        raise PartialFailure(
                            f"the clip goes on after {counted(number, 'frame')}; no more are "
                            "tracked (--max-frames)"
                        )
                    rows = target_rows(result)
                    self.rows += rows
                    self.size = result.image.shape[1], result.image.shape[0]
                    yield {"frame": result.frame, "rows": [json_row(row) for row in rows]}
        except PartialFailure as error:
            if not self.rows:
                raise
            self.warning = self.spoken(error)
        except DataError as error:
            raise DataError(self.spoken(error)) from error

    def spoken(self, error: Exception) -> str:
        """The message of an error, in which files are called as they were sent."""
        return one_line(error).replace(f"{self.folder}/", "")

    def last_event(self) -> dict[str, Any]:
        """What a stream ends with."""
        return {"done": True, "rows": len(self.rows), "warning": self.warning or None}

    def file(self) -> Response:
        """The one answer."""
        facts = ClipFacts(self.clip.name, *self.size, self.clip.fps, self.clip.length, self.names)
        warning = self.warning.encode("ascii", "backslashreplace").decode()
        headers = {"x-seqtrack-warning": warning} if warning else {}
        return annotations(self.rows, self.format, facts, self.folder, headers)


def add_track_route(app: FastAPI, service: Service) -> None:
    """Add `POST /track` to an application."""

    @app.post(
        "/track",
        summary="Track targets through a video, or pictures, in one request",
        response_class=Response,
        openapi_extra={"requestBody": _BODY},
        responses=_RESPONSES,
    )
    async def track(request: Request) -> Response:
        folder = service.uploads.make()
        try:
            async with request.form(
                max_files=service.limits.pictures, max_part_size=_FIELD_BYTES
            ) as form:
                answer = await asyncio.to_thread(_read, form, folder, service)
            stream = stream_type(request)
            if stream and "format" in form:
                raise RefusedRequest(422, "a stream has rows as JSON; leave out format")
        except HTTPException as error:
            remove_folder(folder)
            raise RefusedRequest(413 if "Too many" in error.detail else 400, error.detail) from None
        except BaseException:
            remove_folder(folder)
            raise
        finish = answer.last_event if stream else answer.file
        return JobResponse(
            service.slots, answer.steps(), finish, stream, lambda: remove_folder(folder)
        )


def _read(form: FormData, folder: Path, service: Service) -> TrackAnswer:
    """The job that a form describes.

    Raises:
        SeqTrackError: something of it is wrong.
    """
    if unknown := [name for name in form if name not in _FIELDS]:
        raise RefusedRequest(
            422, f"{unknown[0]!r} is no field of /track; there are {', '.join(_FIELDS)}"
        )
    format = _text(form, "format") or "json"
    check_format(format, tuple(ANNOTATIONS))
    model = service.models.check(_text(form, "model"))
    backward = _flag(form, "backward")
    start, end = _number(form, "start"), _number(form, "end")
    given = _boxes(form)
    begin = first_frame(given, (), backward) if start is None else start
    check_end(end, begin, backward)
    placed = place_boxes(given, begin)
    service.limits.check_targets(len({target for some in placed.values() for target in some}))
    clip, names = _clip(form, folder, service)
    if not placed:
        raise DataError(
            'no target is given; add boxes such as ["0:120,80,60,40"]: the frame, then left, top, '
            "width and height in pixels"
        )
    return TrackAnswer(service, clip, folder, placed, begin, end, backward, model, format, names)


def _clip(form: FormData, folder: Path, service: Service) -> tuple[Clip, list[str]]:
    """The uploaded clip, and the names of its pictures."""
    videos = [one for one in form.getlist("video") if isinstance(one, UploadFile)]
    pictures = [one for one in form.getlist("frames") if isinstance(one, UploadFile)]
    if len(videos) + bool(pictures) != 1:
        raise RefusedRequest(
            400, "send one file in the field video, or pictures in the fields frames"
        )
    fps = _rate(form)
    if videos:
        path = folder / file_name(videos[0].filename, "clip")
        copy_video(videos[0].file, path)
        return _opened(path, service, fps), []
    check_pictures(len(pictures), service.limits)
    inner = folder / "frames"
    inner.mkdir()
    names = []
    for number, one in enumerate(pictures):
        names.append(file_name(one.filename, f"{number:06d}"))
        copy_picture(one.file, inner, number, names[-1], service.limits)
    clip = _opened(inner, service, fps)
    if not isinstance(clip, FrameClip):
        raise DataError("these pictures are no clip")
    return clip, names if len(set(names)) == len(names) else []


def _opened(path: Path, service: Service, fps: float | None) -> Clip:
    try:
        return open_upload(path, service.limits, fps)
    except DataError as error:
        raise DataError(one_line(error).replace(f"{path.parent}/", "")) from error


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise RefusedRequest(400, f"{name} is a file; send it as text")
    return value


def _number(form: FormData, name: str) -> int | None:
    text = _text(form, name)
    if text is None or text == "":
        return None
    if not (text.isascii() and _NUMBER.fullmatch(text)):
        raise RefusedRequest(422, f"{name} {text[:40]!r} is not a whole number from 0 on")
    return int(text)


def _flag(form: FormData, name: str) -> bool:
    text = (_text(form, name) or "").lower()
    if text not in (*_TRUE, *_FALSE):
        raise RefusedRequest(422, f"{name} {text[:40]!r} is neither true nor false")
    return text in _TRUE


def _rate(form: FormData) -> float | None:
    text = _text(form, "fps")
    if not text:
        return None
    low, high = FPS_RANGE
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not low <= rate <= high:
        raise RefusedRequest(422, f"{text[:40]!r} is no frame rate from {low:g} to {high:g}")
    return rate


def _boxes(form: FormData) -> list[PlacedBox]:
    """The boxes of all fields of that name: typed as on the command line, or JSON of such words."""
    found: list[PlacedBox] = []
    for text in form.getlist("boxes"):
        if isinstance(text, UploadFile):
            raise RefusedRequest(400, "boxes is a file; send it as text")
        if text.lstrip()[:1] not in ("[", "{"):
            found += [parse_box(word) for word in text.split()]
            continue
        try:
            found += _from_json(json.loads(text))
        except ValueError as error:
            raise RefusedRequest(422, f"boxes: not JSON ({error})") from None
        except RecursionError:
            raise RefusedRequest(422, "boxes: nested too deeply") from None
    return found


def _from_json(content: Any) -> list[PlacedBox]:
    if not isinstance(content, dict):
        return [parse_box(one) for one in _words(content)]
    return [
        parse_box(f"{target}@{one}") for target, some in content.items() for one in _words(some)
    ]


def _words(value: Any) -> list[str]:
    """Boxes as they are typed, of a word, of four numbers, or of a list of either."""
    if not isinstance(value, list):
        return [str(value)]
    if value and not any(isinstance(one, (str, list)) for one in value):
        return [",".join(map(str, value))]
    return [word for one in value for word in _words(one)]


_BOXES = (
    'Boxes as `[TARGET@][FRAME:]x,y,w,h`, a JSON list of them, such as `["0:120,80,60,40"]`, or a '
    'JSON object from targets to boxes, such as `{"cat": ["0:120,80,60,40", "30:130,80,60,40"]}`. '
    "x, y is the upper left corner, in pixels; frames count from 0. The first box of a target is "
    "where it joins, further ones correct it."
)
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["boxes"],
                "properties": {
                    "video": {"type": "string", "format": "binary", "description": "A video file."},
                    "frames": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "description": "Pictures (JPEG, PNG, WebP) in order, without a video.",
                    },
                    "boxes": {"type": "string", "description": _BOXES},
                    "start": {"type": "integer", "description": "First frame."},
                    "end": {"type": "integer", "description": "Last frame."},
                    "backward": {"type": "boolean", "description": "From start to frame 0."},
                    "model": {"type": "string", "description": "One of `GET /models`."},
                    "format": {"type": "string", "enum": list(ANNOTATIONS), "default": "json"},
                    "fps": {"type": "number", "description": "Rate of pictures, by default 25."},
                },
            }
        }
    },
}
_ROW = {
    "type": "object",
    "properties": {
        "frame": {"type": "integer"},
        "time_s": {"type": "number"},
        "target": {"type": ["integer", "string"]},
        "box": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        "confidence": {"type": ["number", "null"]},
        "state": {"type": ["string", "null"], "enum": ["tracked", "uncertain", "lost", None]},
    },
}
_EVENT = {
    "type": "object",
    "description": "One for each frame; the last one has done, or error.",
    "properties": {
        "frame": {"type": "integer"},
        "rows": {"type": "array", "items": _ROW},
        "done": {"type": "boolean"},
        "warning": {"type": ["string", "null"]},
        "error": {"type": "string"},
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Boxes of all frames. With `Accept: text/event-stream` or "
        "`application/x-ndjson` they come as events, frame by frame.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "clip": {"type": "object"},
                        "rows": {"type": "array", "items": _ROW},
                    },
                }
            },
            **{kind: {"schema": _EVENT} for kind in STREAMS},
            **{kind: {} for _, kind in ANNOTATIONS.values() if kind != "application/json"},
        },
    }
}
