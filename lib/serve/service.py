"""What all requests of a server share: models, uploads, places for jobs, sessions."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from starlette.responses import FileResponse, Response

from lib.annotations.rows import ClipFacts, TargetRow
from lib.annotations.write import write_annotations
from lib.datasets.benchmarks.open import open_dataset
from lib.serve.jobs import JobSlots
from lib.serve.limits import RefusedRequest, ServeLimits
from lib.serve.models import ModelPool
from lib.serve.session import ClipSession
from lib.serve.uploads import UploadFolder, remove_folder
from lib.utils.errors import counted
from lib.video.open import open_source

SAMPLE = "synthetic"
# How often idle sessions are looked for.
_LOOK_SECONDS = 20.0
# Format of annotations -> suffix behind the clip's name, and content type.
ANNOTATIONS = {
    "csv": (".csv", "text/csv"),
    "json": (".json", "application/json"),
    "mot": ("_mot.txt", "text/plain"),
    "coco": ("_coco.json", "application/json"),
    "cvat": ("_cvat.xml", "application/xml"),
    "yolo": ("_yolo.zip", "application/zip"),
}


class Service:
    """The state of a server.

    Args:
        models: that it tracks with.
        limits: what it takes and gives.
        parent: folder for the folder of uploads; by default the system's for temporary files.
    """

    def __init__(
        self, models: ModelPool, limits: ServeLimits | None = None, parent: Path | None = None
    ) -> None:
        self.models, self.limits = models, limits or ServeLimits()
        self.uploads = UploadFolder(parent)
        self.slots = JobSlots(self.limits)
        self.sessions: dict[str, ClipSession] = {}

    def add_session(self, session: ClipSession) -> ClipSession:
        """Keep a session."""
        self.sessions[session.id] = session
        return session

    def check_sessions(self) -> None:
        """Raise RefusedRequest where no further session may begin."""
        if len(self.sessions) >= self.limits.sessions:
            raise RefusedRequest(
                429,
                f"{counted(len(self.sessions), 'session')} are open already (--sessions); close a "
                "page, or try again later",
            )

    def session(self, name: str) -> ClipSession:
        """A session that is open.

        Raises:
            RefusedRequest: it is not.
        """
        if name not in self.sessions:
            raise RefusedRequest(404, "this session has ended; load the video again")
        session = self.sessions[name]
        session.used = time.monotonic()
        return session

    def end_session(self, name: str) -> None:
        """Close a session and remove its file; there may be none."""
        session = self.sessions.pop(name, None)
        if session is not None:
            session.close()
            remove_folder(session.folder)

    def sample(self, folder: Path) -> ClipSession:
        """A session on the first built-in sequence, with the box of its target."""
        dataset = open_dataset(SAMPLE, self.models.paths)
        video = dataset.load(dataset.sequence_names[0])
        return ClipSession(open_source(video), folder, video.init_box)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The time in which the server runs; in the end nothing of it is left."""
        look = asyncio.create_task(self._end_idle())
        try:
            yield
        finally:
            look.cancel()
            self.close()

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, 15 * self.limits.idle_minutes))
            oldest = time.monotonic() - 60 * self.limits.idle_minutes
            for session in list(self.sessions.values()):
                if session.used < oldest:
                    await asyncio.to_thread(self.end_session, session.id)

    def close(self) -> None:
        """End everything; may be called again."""
        self.slots.closing = True
        for name in list(self.sessions):
            self.end_session(name)
        self.models.close()
        self.uploads.close()


def annotations(
    rows: Sequence[TargetRow],
    format: str,
    facts: ClipFacts,
    folder: Path,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The rows as a file to download; one that is not text as an archive.

    Args:
        rows: of the targets.
        format: a key of `ANNOTATIONS`.
        facts: of the clip.
        folder: for what is written on the way.
        headers: of the answer.
    """
    suffix, kind = ANNOTATIONS[format]
    stem = Path(facts.name).stem or "clip"
    path = folder / f"answer{suffix}"
    if format == "yolo":
        write_annotations(folder / "yolo", rows, format, facts)
        shutil.make_archive(str(path.with_suffix("")), "zip", folder / "yolo")
    else:
        write_annotations(path, rows, format, facts)
    saved = {**attached(stem + suffix), **(headers or {})}
    return Response(path.read_bytes(), media_type=kind, headers=saved)


def attached(name: str) -> dict[str, str]:
    """The header of an answer that browsers save under a name."""
    return {"content-disposition": FileResponse("", filename=name).headers["content-disposition"]}
