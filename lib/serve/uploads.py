"""Uploaded files: a folder of this server, which goes away with it, also after a crash."""

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, TextIO

from lib.serve.kinds import HEAD, is_video, picture_size
from lib.serve.limits import RefusedRequest, ServeLimits
from lib.utils.errors import SeqTrackError, counted
from lib.utils.files import is_disk_full
from lib.video.check import frame_count
from lib.video.clip import Clip
from lib.video.decode import VideoFile, best_stream, has_pyav, open_container
from lib.video.open import open_clip

_LOCK = "lock"
# In characters, of which a file system may count each as four bytes.
_LONGEST_NAME, _LONGEST_SUFFIX = 50, 10
_COPY_BYTES = 1 << 20
_DAY = 86_400.0


class UploadFolder:
    """A folder for the files of one server; those that killed servers left are removed.

    A lock of the system tells a server that runs from one that was killed. Where a system has
    none, what is older than a day goes.

    Args:
        parent: where it is made; by default the system's folder for temporary files.

    Raises:
        SeqTrackError: the parent belongs to somebody else, or cannot be written.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._above = (parent or Path(tempfile.gettempdir())) / f"seqtrack-serve-{_user()}"
        try:
            self._above.mkdir(mode=0o700, parents=True, exist_ok=True)
            if hasattr(os, "getuid") and self._above.stat().st_uid != os.getuid():
                raise SeqTrackError(f"{self._above} belongs to another user; set TMPDIR")
            for left in self._above.iterdir():
                _remove_dead(left)
            self.path = Path(tempfile.mkdtemp(prefix="run-", dir=self._above))
            self._lock = self._locked()
        except OSError as error:
            reason = error.strerror or error
            raise SeqTrackError(f"{self._above}: cannot write there ({reason})") from None

    def _locked(self) -> TextIO:
        """The lock of the folder, which has its name only once it is taken: a server that starts at
        the same moment would take it first, and the folder for that of a dead one."""
        stream = open(self.path / f"{_LOCK}.new", "w", encoding="ascii")
        # Where a system has no locks, an open file may not be renamed either.
        if _lock(stream):
            os.replace(stream.name, self.path / _LOCK)
        return stream

    def make(self) -> Path:
        """A new folder in it."""
        return Path(tempfile.mkdtemp(prefix="upload-", dir=self.path))

    def close(self) -> None:
        """Remove everything; may be called again."""
        self._lock.close()
        remove_folder(self.path)
        # Another server may have its own there.
        with contextlib.suppress(OSError):
            self._above.rmdir()


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


def _lock(stream: object) -> bool | None:
    """Whether this process has the system's lock of a file now; None without locks."""
    try:
        import fcntl  # not on every system
    except ImportError:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
    except OSError:
        return False
    return True


def _remove_dead(folder: Path) -> None:
    """Remove the folder of a server that no longer runs."""
    locked = None
    with contextlib.suppress(OSError), open(folder / _LOCK, "r+", encoding="ascii") as stream:
        locked = _lock(stream)
    try:
        old = time.time() - folder.stat().st_mtime > _DAY
    except OSError:
        return
    if locked or (locked is None and old):
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all in it; what cannot be removed goes at the next start."""
    shutil.rmtree(folder, ignore_errors=True)


def file_name(given: str | None, default: str) -> str:
    """The last part of a name that a client gave, fit for a file."""
    last = PureWindowsPath(PurePosixPath(given or "").name).name
    clean = re.sub(r"[^\w .()+,=@~-]+", "_", last).strip(" .")
    stem, dot, suffix = clean.rpartition(".")
    return (
        f"{stem[:_LONGEST_NAME]}{dot}{suffix[:_LONGEST_SUFFIX]}"
        if stem
        else clean[:_LONGEST_NAME] or default
    )


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk as a refusal."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise RefusedRequest(503, "the server's disk is full; try again later") from None


async def receive_video(chunks: AsyncIterator[bytes], path: Path) -> None:
    """Write the chunks of a body to a file, once they begin as a video does.

    Raises:
        RefusedRequest: there are none, or something else.
    """
    head = b""
    with disk_errors(), open(path, "wb") as stream:
        async for chunk in chunks:
            if len(head) < HEAD and len(head := head + chunk) >= HEAD:
                _check_video(head, path.name)
            stream.write(chunk)
    if len(head) < HEAD:
        _check_video(head, path.name)


def copy_video(source: BinaryIO, path: Path) -> None:
    """Copy an uploaded file, if it is a video.

    Raises:
        RefusedRequest: it is empty, or something else.
    """
    _check_video(source.read(HEAD), path.name)
    source.seek(0)
    with disk_errors(), open(path, "wb") as stream:
        shutil.copyfileobj(source, stream, _COPY_BYTES)


def _check_video(head: bytes, name: str) -> None:
    if not head:
        raise RefusedRequest(400, f"{name}: the video file is empty (0 bytes); send it again")
    if not is_video(head):
        raise RefusedRequest(
            415, f"{name} is no video that is read here; send MP4, MOV, MKV, WebM, AVI, TS or GIF"
        )


def copy_picture(source: BinaryIO, folder: Path, number: int, name: str, most: ServeLimits) -> None:
    """Copy an uploaded picture, as number so and so of a folder.

    Raises:
        RefusedRequest: it is no picture that is read, or too large.
    """
    data = source.read()
    size = picture_size(data)
    if size is None:
        raise RefusedRequest(415, f"{name} is no picture that is read here; send JPEG, PNG or WebP")
    most.check_size(*size, name)
    suffix = {b"\xff": ".jpg", b"\x89": ".png"}.get(data[:1], ".webp")
    with disk_errors():
        (folder / f"{number:06d}{suffix}").write_bytes(data)


def open_upload(path: Path, limits: ServeLimits, fps: float | None = None) -> Clip:
    """The clip of an uploaded file, or of a folder of pictures, within the limits.

    Raises:
        RefusedRequest: it is too large or too long.
        DataError: it cannot be read.
    """
    clip = open_clip(path, fps)
    if isinstance(clip, VideoFile) and has_pyav():
        with open_container(path) as container:
            picture = best_stream(path, container).codec_context
            limits.check_size(picture.width, picture.height, clip.name)
    limits.check_length(frame_count(clip), clip.fps, clip.name)
    return clip


def check_pictures(count: int, limits: ServeLimits) -> None:
    """Refuse too many pictures.

    Raises:
        RefusedRequest: naming both numbers.
    """
    if count > limits.pictures:
        raise RefusedRequest(
            413, f"{counted(count, 'picture')}; at most {limits.pictures} are taken in one request"
        )
