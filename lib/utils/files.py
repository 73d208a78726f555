"""Files that are either whole or absent, and their fingerprints."""

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lib.utils.errors import SeqTrackError

# In bytes, of which file systems allow 255; results have names such as NAME_confidence.txt.
_LONGEST_NAME = 220
_SPECIAL = (
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISSOCK, "socket"),
)


def special_kind(path: Path) -> str | None:
    """What lies at `path`, in words, if it is neither an ordinary file nor a folder nor nothing.

    A symbolic link is what it leads to.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return next((name for test, name in _SPECIAL if test(mode)), None)


def check_replaceable(path: Path) -> None:
    """Refuse to write over what is no ordinary file: a new file would take its place.

    Raises:
        SeqTrackError: a pipe, a device or a socket lies at `path`.
    """
    if kind := special_kind(path):
        raise SeqTrackError(f"{path} is a {kind} and is never replaced; name an ordinary file")


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place if the block succeeds.

    The data is flushed to disk before the rename, so a crash leaves the old file or the new
    one, never half of one. The temporary file is removed when the block fails.

    Raises:
        SeqTrackError: what lies at `path` is a pipe, a device or a socket.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes the file private; results are meant to be shared like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        # The system does not say which file there was no room for.
        if is_disk_full(error) and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_disk_full(error: OSError) -> bool:
    """Whether there is no room left to write in, on the disk or in the user's share of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def remove_temporaries(folder: Path, pattern: str) -> None:
    """Remove what killed writers of `pattern` left; nobody else may be writing such files."""
    for path in folder.glob(f".{pattern}.*.tmp"):
        # One that cannot be removed costs some space and nothing else.
        with contextlib.suppress(OSError):
            path.unlink()


def is_folder_name(name: str) -> bool:
    """Whether a name is that of something in a folder, not a path, with room for a suffix.

    Example:
        >>> is_folder_name("person-5"), is_folder_name("../person-5"), is_folder_name("a" * 400)
        (True, False, False)
    """
    is_path = name in ("", ".", "..") or bool(set(name) & set("/\\\0"))
    return not is_path and len(os.fsencode(name)) <= _LONGEST_NAME


def atomic_write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically. Raises OSError: the folder cannot be written."""
    with atomic_path(path) as temporary:
        # File names of another encoding reach us as surrogates; they leave as the same bytes.
        data = text.encode("utf-8", errors="surrogateescape")
        temporary.write_bytes(data)


def user_path(text: Path | str, what: str) -> Path:
    """`text` as a path with `~` expanded; `what` names it in messages.

    Raises:
        SeqTrackError: no home folder is known for the user, or no path can be spelled so.
    """
    if "\0" in str(text):
        raise SeqTrackError(f"{what}: {str(text)!r} holds a null byte and cannot be a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SeqTrackError(f"{what}: no home folder is known for {str(text)!r}") from error


def user_cache() -> Path:
    """The folder of what can be made again, for this user: below XDG_CACHE_HOME, else ~/.cache.

    Raises:
        SeqTrackError: no home folder is known.
    """
    base = os.environ.get("XDG_CACHE_HOME") or user_path("~/.cache", "the cache")
    return Path(base) / "seqtrack"


def check_writable(folder: Path | str) -> None:
    """Make `folder` and try to write in it, before hours of work depend on it.

    Raises:
        SeqTrackError: it cannot be made, or nothing can be written there.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SeqTrackError(f"{folder}: cannot write there ({error.strerror or error})") from None


def sha256_of(path: Path | str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
