"""The files of a data set, whether they lie in folders or in zip archives, or partly so."""

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lib.datasets.sequence import FrameSource, ImageFiles
from lib.datasets.storage.zip import Wanted, ZipFolder, read_archive
from lib.datasets.text.boxes import TextFile
from lib.utils.errors import DataError

_SUFFIX = ".zip"


class DataTree:
    """Files by their path in the data set; what is not in a folder is looked for in archives.

    Archives are taken where people put them: in the data set's folder or one on the way to the
    file, in the place of that folder, or in the place of the whole data set. Each is opened once,
    when something is looked for that could be in it.

    Args:
        root: folder of the data set, or an archive.
        part: the part of it that paths start from, such as `val`.
        wanted: what the data set is made of.
    """

    def __init__(self, root: Path, part: str, wanted: Wanted) -> None:
        self.root = root
        self.base = root / part if part else root
        self._wanted = wanted
        self._beside: dict[Path, tuple[Path, ...]] = {}
        self._opened: dict[Path, dict[str, ZipFolder]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Without what archives hold: another process opens those that it needs by itself."""
        return {**self.__dict__, "_beside": {}, "_opened": {}}

    @property
    def exists(self) -> bool:
        return self.root.is_dir() or bool(self._archives(""))

    def file(self, path: str) -> TextFile:
        """The file at `path`; a `*` in its name stands for what the only one that fits has there.

        A file that is nowhere is given as its path on disk, to be named when it is read.

        Raises:
            DataError: not exactly one file fits, or an archive is damaged.
        """
        folder, _, name = path.rpartition("/")
        if "*" in name:
            name = self._only(folder, name)
        on_disk = self.base / folder / name
        if on_disk.is_file():
            return on_disk
        archived = self._archived(folder)
        return (archived.member(name) if archived else None) or on_disk

    def has_file(self, path: str) -> bool:
        """Whether there is a file at `path`, in which `*` works as in `file`."""
        if (self.base / path).is_file():
            return True
        folder, _, name = path.rpartition("/")
        if self.has_folder(folder) and fnmatch.filter(self.names(folder), name):
            return True
        # What is not in a folder on disk may be in an archive beside it.
        archived = self._archived(folder)
        return archived is not None and bool(fnmatch.filter(archived.names, name))

    def has_folder(self, path: str) -> bool:
        return (self.base / path).is_dir() or self._archived(path) is not None

    def names(self, path: str) -> Sequence[str]:
        """Names of the files in the folder at `path`, in no order.

        Raises:
            DataError: there is no such folder, or it cannot be read.
        """
        # One listing instead of thousands of stat calls: data sets often live on network disks.
        try:
            return os.listdir(self.base / path)
        except (FileNotFoundError, NotADirectoryError):
            archived = self._archived(path)
        except OSError as error:
            raise DataError(f"{self.base / path}: cannot be listed ({error.strerror})") from None
        if archived is None:
            raise DataError(f"{self.base / path}: no such folder")
        return archived.names

    def images(self, path: str, names: Sequence[str]) -> FrameSource:
        archived = None if (self.base / path).is_dir() else self._archived(path)
        return archived.images(names) if archived else ImageFiles(self.base / path, tuple(names))

    def describe(self, path: str) -> str:
        archived = None if (self.base / path).is_dir() else self._archived(path)
        return str(Path(archived.archive, archived.inside) if archived else self.base / path)

    def list_files(self, path: str, suffix: str) -> list[str]:
        """Names in the folder at `path` that end so, in folders and archives, sorted."""
        return self._visible({name for name, inner in self._entries(path) if not inner}, suffix)

    def list_folders(self, path: str) -> list[str]:
        """Names of the folders in the folder at `path`, in folders and archives, sorted."""
        return self._visible({name for name, inner in self._entries(path) if inner}, "")

    def _visible(self, names: set[str], suffix: str) -> list[str]:
        wanted = (name for name in names if name.endswith(suffix))
        return sorted(name for name in wanted if not name.startswith((".", "__")))

    def _entries(self, path: str) -> Iterator[tuple[str, bool]]:
        if (self.base / path).is_dir():
            with os.scandir(self.base / path) as entries:
                yield from ((entry.name, entry.is_dir()) for entry in entries)
        below = f"{path}/" if path else ""
        for archive in self._archives(path):
            for folder, content in self._open(archive).items():
                if folder == path:
                    yield from ((name, False) for name in content.names)
                elif folder.startswith(below):
                    yield folder[len(below) :].partition("/")[0], True

    def _only(self, folder: str, pattern: str) -> str:
        names = fnmatch.filter(self.names(folder), pattern) if self.has_folder(folder) else []
        if len(names) != 1:
            found = f"{len(names)} files ({', '.join(sorted(names)[:3])})" if names else "no file"
            raise DataError(f"{self.base / folder / pattern}: {found} of this name, expected one")
        return names[0]

    def _archived(self, path: str) -> ZipFolder | None:
        """The folder at `path` of the first archive that has it."""
        parts = path.split("/")
        archives = self._archives(path)
        # Those called like a folder on the way are the likely ones; others may stay closed.
        for archive in sorted(archives, key=lambda one: one.stem not in parts):
            if (found := self._open(archive).get(path)) is not None:
                return found
        return None

    def _archives(self, path: str) -> list[Path]:
        """Archives that could hold the folder at `path`: those beside it, and on the way to it."""
        if self.root.suffix.lower() == _SUFFIX and self.root.is_file():
            return [self.root]
        instead = self.root.with_name(self.root.name + _SUFFIX)
        if not self.root.is_dir():
            return [instead] if instead.is_file() else []
        folder = self.base
        places = [self.root, folder]
        for part in path.split("/") if path else ():
            folder = folder / part
            places.append(folder)
        return [archive for place in dict.fromkeys(places) for archive in self._in_folder(place)]

    def _in_folder(self, folder: Path) -> tuple[Path, ...]:
        """The archives in a folder on disk, of which there need be none."""
        if folder not in self._beside:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            zips = [name for name in names if name.lower().endswith(_SUFFIX) and name[0] != "."]
            self._beside[folder] = tuple(folder / name for name in zips)
        return self._beside[folder]

    def _open(self, archive: Path) -> dict[str, ZipFolder]:
        if archive not in self._opened:
            above: tuple[str, ...] = ()
            wanted = self._wanted
            if archive.is_relative_to(self.base) and archive != self.base:
                # What lies in the part's folder is of that part, whatever it is called.
                wanted, above = replace(wanted, part=""), archive.relative_to(self.base).parts[:-1]
            elif archive.is_relative_to(self.root) and archive != self.root:
                above = archive.relative_to(self.root).parts[:-1]
            self._opened[archive] = read_archive(archive, above, wanted)
        return self._opened[archive]
