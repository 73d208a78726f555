"""Files from a Google Drive folder or a plain web mirror: listed, resumed, remembered."""

import contextlib
import html
import http.client
import inspect
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from lib.utils.errors import MissingExtraError, SeqTrackError
from lib.utils.files import atomic_write_text, check_replaceable, sha256_of
from lib.utils.json_text import parse_json

# Seconds to connect, and between two pieces of data.
TIMEOUT = (15, 60)
RETRIES = 2
_FOLDER_DEPTH = 8


class DownloadError(SeqTrackError):
    """A file could not be fetched, or is not what it should be."""


class UnreachableError(DownloadError):
    """The source does not answer at all, so the next file will not come either."""


class NotThereError(DownloadError):
    """The server answers that there is no such page."""


@dataclass(frozen=True)
class RemoteFile:
    path: PurePosixPath
    url: str


class DownloadSource(Protocol):
    """A folder of files somewhere else."""

    @property
    def page(self) -> str: ...

    def list_files(self) -> list[RemoteFile]:
        """All files below the folder. Raises DownloadError: the folder cannot be listed."""


@dataclass(frozen=True)
class DriveFolder:
    """A shared folder of Google Drive, by its id."""

    folder_id: str

    @property
    def page(self) -> str:
        return f"https://drive.google.com/drive/folders/{self.folder_id}"

    def list_files(self) -> list[RemoteFile]:
        gdown = _gdown()
        with _explained(f"{self.page} cannot be listed"):
            listed = gdown.download_folder(
                id=self.folder_id,
                skip_download=True,
                quiet=True,
                **_supported(gdown.download_folder, timeout=TIMEOUT),
            )
        if listed is None:
            raise DownloadError(f"{self.page} cannot be listed")
        files = []
        for item in listed:
            path = PurePosixPath(str(item.path).replace(os.sep, "/"))
            files.append(RemoteFile(path, f"https://drive.google.com/uc?id={item.id}"))
        return [file for file in files if _stays_below(file.path)]


@dataclass(frozen=True)
class DriveFile:
    """One shared file of Google Drive: its id, and the name it was published under."""

    file_id: str
    name: str

    @property
    def page(self) -> str:
        return f"https://drive.google.com/file/d/{self.file_id}/view"

    def list_files(self) -> list[RemoteFile]:
        url = f"https://drive.google.com/uc?id={self.file_id}"
        return [RemoteFile(PurePosixPath(self.name), url)]


@dataclass(frozen=True)
class MirrorFolder:
    """A folder of a plain web server that lists its folders as pages of links.

    Attributes:
        url: of the folder.
        or_all_of: the folder that is listed where the server has no such one.
    """

    url: str
    or_all_of: str | None = None

    @property
    def page(self) -> str:
        return self.url

    def list_files(self) -> list[RemoteFile]:
        try:
            return self._files()
        except NotThereError:
            if self.or_all_of is None:
                raise
            return MirrorFolder(self.or_all_of).list_files()

    def _files(self) -> list[RemoteFile]:
        base = self.url.rstrip("/") + "/"
        # The folder's own name may be what says whose weights it holds.
        own = PurePosixPath(unquote(urlsplit(self.url).path).strip("/")).name
        paths = ((url, PurePosixPath(unquote(url[len(base) :]))) for url in self._walk(base))
        return [RemoteFile(own / path, url) for url, path in paths if _stays_below(path)]

    def _walk(self, folder: str, depth: int = _FOLDER_DEPTH) -> Iterator[str]:
        for url in _links(folder):
            if not url.endswith("/"):
                yield url
            elif depth > 0:
                yield from self._walk(url, depth - 1)


@dataclass(frozen=True)
class HubRepository:
    """A public repository of models on a Hugging Face hub.

    Attributes:
        name: `owner/name`.
        revision: a branch, a tag or a commit.
        endpoint: address of the hub.
    """

    name: str
    revision: str = "main"
    endpoint: str = "https://huggingface.co"

    @property
    def page(self) -> str:
        return f"{self.endpoint}/{self.name}/tree/{quote(self.revision, safe='')}"

    def list_files(self) -> list[RemoteFile]:
        revision = quote(self.revision, safe="")
        address = f"{self.endpoint}/api/models/{self.name}/revision/{revision}"
        try:
            names = [str(one["rfilename"]) for one in json.loads(_page(address))["siblings"]]
        except (ValueError, KeyError, TypeError) as error:
            raise DownloadError(f"{address} is no list of a repository: {error!r}") from None
        # The repository's name may be what says whose weights it holds.
        own = PurePosixPath(self.name).name
        resolve = f"{self.endpoint}/{self.name}/resolve/{revision}"
        return [
            RemoteFile(PurePosixPath(own, name), f"{resolve}/{quote(name)}")
            for name in names
            if _stays_below(PurePosixPath(name))
        ]


def fetch(url: str, target: Path, quiet: bool = False) -> None:
    """Fetch one file with gdown; a part that came earlier is continued.

    A part that already is the whole file (its download was killed right before the file got its
    name), or one of a server that knows no ranges, cannot be continued: then all comes anew.

    Raises:
        UnreachableError: the server does not answer.
        DownloadError: the file did not come, or not all of it.
    """
    try:
        _fetch(url, target, quiet)
    except DownloadError as error:
        # So gdown says that the server answered, but not with the rest.
        if "requested byte range" not in str(error):
            raise
        discard(target)
        _fetch(url, target, quiet)


def _fetch(url: str, target: Path, quiet: bool) -> None:
    gdown = _gdown()
    with _explained(f"{url} could not be fetched", hint=lambda: _part_hint(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        saved = gdown.download(
            url=url,
            output=str(target),
            quiet=quiet,
            resume=True,
            use_cookies=urlsplit(url).hostname == "drive.google.com",
            **_supported(gdown.download, timeout=TIMEOUT, retries=RETRIES),
        )
    if saved is None or not target.is_file():
        raise DownloadError(f"{url} could not be fetched{_part_hint(target)}")


def discard(target: Path) -> None:
    for path in [target, *_parts(target)]:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class FileRecord:
    """What a file was like when it was first used."""

    size: int
    sha256: str
    url: str

    @classmethod
    def of(cls, path: Path, url: str) -> "FileRecord":
        return cls(path.stat().st_size, sha256_of(path), url)

    def matches(self, path: Path) -> bool:
        """Whether a file on disk still has this content."""
        return path.stat().st_size == self.size and sha256_of(path) == self.sha256


class Ledger:
    """Records of the files below a folder, in `downloads.json` there.

    Raises:
        DownloadError: the file is not what `save` writes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "downloads.json"
        self._records: dict[str, FileRecord] = {}
        if self.path.is_file():
            try:
                content = parse_json(self.path.read_text(encoding="utf-8"))
                self._records = {key: FileRecord(**value) for key, value in content.items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise DownloadError(
                    f"{self.path} is damaged ({error}): remove it, and what is there is "
                    "recorded anew"
                ) from None

    def find(self, file: Path) -> FileRecord | None:
        return self._records.get(self._key(file))

    def add(self, file: Path, record: FileRecord) -> None:
        self._records[self._key(file)] = record

    def save(self) -> None:
        if self._records:
            content = {key: asdict(self._records[key]) for key in sorted(self._records)}
            atomic_write_text(self.path, json.dumps(content, indent=2) + "\n")

    def _key(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.path.parent)).as_posix()


def obtain(
    url: str,
    target: Path,
    check: Callable[[Path], None],
    ledger: Ledger,
    force: bool,
    quiet: bool,
) -> str:
    """Have one file: keep it where it is intact, else fetch, check and record it.

    Returns:
        a sentence about it.

    Raises:
        DownloadError: it did not come, or is another file than the one recorded.
        CheckpointError: it is not what it should be, as `check` found out.
    """
    known = None if force else ledger.find(target)
    if target.is_file() and not force:
        return _confirm(url, target, known, check, ledger)
    check_replaceable(target)
    incoming = target.with_name(target.name + ".incoming")
    if force:
        discard(incoming)
    fetch(url, incoming, quiet)
    try:
        check(incoming)
        record = FileRecord.of(incoming, url)
        if known and known.sha256 != record.sha256:
            raise DownloadError(
                f"{incoming} is another file than the one recorded in {ledger.path} (sha256 "
                f"{record.sha256[:12]}… now, {known.sha256[:12]}… then): --overwrite takes it"
            )
    except SeqTrackError as error:
        discard(incoming)
        raise type(error)(str(error).replace(str(incoming), f"what {url} gave")) from None
    os.replace(incoming, target)
    ledger.add(target, record)
    return f"fetched {target} ({record.size / 1e6:.1f} MB, sha256 {record.sha256})"


def _confirm(
    url: str,
    target: Path,
    known: FileRecord | None,
    check: Callable[[Path], None],
    ledger: Ledger,
) -> str:
    """A file that is there already: it is the one recorded, or else one to record."""
    if known is None:
        check(target)
        ledger.add(target, FileRecord.of(target, url))
        return f"{target} was there already; it loads and is now recorded"
    if not known.matches(target):
        raise DownloadError(
            f"{target} has changed since it was recorded in {ledger.path} "
            f"({known.size} bytes, sha256 {known.sha256[:12]}…): --overwrite fetches it again"
        )
    return f"{target} is there already, unchanged: nothing to do"


def _links(folder: str) -> list[str]:
    """Addresses that a folder's page links to and that lie directly in it; folders end in /."""
    text = _page(folder)
    found: dict[str, None] = {}
    for _, target in re.findall(r"""<a\s[^>]*?href=(["'])(.*?)\1""", text, re.IGNORECASE):
        url = urljoin(folder, html.unescape(target))
        name = url[len(folder) :]
        if url.startswith(folder) and name and "/" not in name[:-1] and not set(name) & set("?#"):
            found[url] = None
    return list(found)


def _page(url: str) -> str:
    """The text that a server answers.

    Raises:
        NotThereError: there is no such page.
        UnreachableError: the server does not answer.
        DownloadError: it refuses.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT[1]) as response:
            return response.read().decode("utf-8", errors="replace")
    except urllib.error.HTTPError as error:
        kind = NotThereError if error.code == 404 else DownloadError
        raise kind(f"{url} cannot be listed: {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"{url} cannot be reached: {_one_line(error)}") from None


def _stays_below(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts and "\\" not in str(path)


def _gdown() -> Any:
    try:
        import gdown
    except ImportError:
        raise MissingExtraError("downloads need gdown: pip install 'gdown>=5.2'") from None
    return gdown


def _supported(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Those arguments that the installed gdown knows; version 5 lacks some."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}


@contextlib.contextmanager
def _explained(what: str, hint: Callable[[], str] = str) -> Iterator[None]:
    """Turn what gdown and requests raise into one line."""
    import requests

    try:
        yield
    except SeqTrackError:
        raise
    except Exception as error:
        # gdown raises bare exceptions, assertions and key errors on pages it does not know.
        silent = (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
        reached = not any(isinstance(e, silent) for e in (error, error.__cause__))
        kind = DownloadError if reached else UnreachableError
        raise kind(f"{what}: {_one_line(error)}{hint()}") from None


def _one_line(error: BaseException) -> str:
    # The reason of a failed connection is wrapped in a long description of the connection.
    reasons = (getattr(holder, "reason", None) for holder in (error, *error.args[:1]))
    text = str(next(filter(None, reasons), error)).rsplit("): ", 1)[-1].split('")')[0]
    # gdown goes on with general advice after the reason.
    text = text.split("You may still be able")[0].split("\nThe received")[0]
    return (" ".join(text.split()) or type(error).__name__)[:240]


def _parts(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f"{target.name}*.part"))


def _part_hint(target: Path) -> str:
    size = sum(path.stat().st_size for path in _parts(target))
    return f"; {size} bytes are kept, the same command continues" if size else ""
