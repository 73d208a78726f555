"""Packing a training set: shards one by one, each whole or absent, then the index.

The plan follows from the set and the settings alone, so a run that was stopped goes on with the
shards that are not there yet.
"""

import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from lib.datasets.storage.pack import ABOUT, FORMAT, INDEX, PLACE, PLAN, is_pack, shard_name
from lib.datasets.storage.pack_crop import CropRule, KeptRegion, cut, region_of
from lib.datasets.storage.zip import ENTRY, list_archive
from lib.datasets.training.index import save_arrays
from lib.datasets.training.set import IndexedSet
from lib.utils.errors import DataError
from lib.utils.files import atomic_path, atomic_write_text, remove_temporaries
from lib.utils.image_io import DriveError, decode_rgb, grey_range_of
from lib.utils.json_text import parse_json

# A file in an archive begins with this many bytes and its name.
_HEADER = 30
# Zip files know no time before; the same files give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
# What a crop adds to the name of a member: the region behind the last @.
_REGION = re.compile(r"@(\d+(?:,\d+){5})\.jpg$", re.ASCII)


class Member(NamedTuple):
    """A frame: its file's name in a shard (with a crop the region is added), and its place."""

    name: str
    sequence: int
    frame: int
    visible: bool
    row: int


@dataclass
class Packing:
    """One training set on its way into a pack; `missing` names frames that cannot be read."""

    source: IndexedSet
    folder: Path
    frames_per_shard: int
    crop: CropRule | None = None
    missing: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def about(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.source.name,
            "is_video": self.source.is_video,
            "key": self.source.index.key,
            "frames_per_shard": self.frames_per_shard,
            "crop": None if self.crop is None else self.crop.facts(),
        }

    def plan(self) -> list[list[int]]:
        """Sequences of each shard; those that share their images stay together."""
        entries = self.source.index.sequences
        groups: dict[tuple[bytes, bytes], list[int]] = {}
        for number, entry in enumerate(entries):
            image = b"" if self.source.is_video else bytes(entry["pattern"])
            alone = str(number).encode() if self.crop else b""
            groups.setdefault((bytes(entry["folder"]) + alone, image), []).append(number)
        shards: list[list[int]] = [[]]
        frames = 0
        for group in groups.values():
            if frames >= self.frames_per_shard:
                shards.append([])
                frames = 0
            shards[-1] += group
            frames += int(entries["length"][group].max() if self.crop is None else
                          entries["visible"][group].sum())  # fmt: skip
        return shards

    def begin(self) -> None:
        """Look at what is there already, and say what this is going to be.

        Raises:
            DataError: the folder holds (a part of) another pack, or something else.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in (self.folder / PLAN, self.folder / ABOUT):
            if file.is_file() and _about(file) != self.about:
                raise DataError(
                    f"{self.folder}: holds another pack, of other data or with other settings; "
                    "remove it, or name another folder with --out"
                )
        others = {path.name for path in self.folder.iterdir()} - {PLAN, ABOUT, INDEX}
        strange = sorted(name for name in others if not name.startswith((".", "shard-")))
        if strange:
            raise DataError(f"{self.folder}: holds {strange[0]}, which is no part of a pack")
        remove_temporaries(self.folder, "shard-*.zip")
        if not self.finished:
            atomic_write_text(self.folder / PLAN, json.dumps(self.about, indent=1) + "\n")
            # A pack that lost a shard is not finished until it is made again.
            (self.folder / ABOUT).unlink(missing_ok=True)

    def run(self, workers: int, done: Callable[[int], object]) -> int:
        """Write what is not there yet.

        Returns:
            the number of shards that were there already.

        Raises:
            DataError: a boundary condition is not met; what is finished stays.
            OSError: the disk is full, or the like.
        """
        plan = self.plan()
        kept = 0
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(self._shard, i, part, done) for i, part in enumerate(plan)]
            try:
                wait(jobs, return_when=FIRST_EXCEPTION)
                kept = sum(job.result() for job in jobs)
            except BaseException:
                # Also Ctrl-C: the other threads stop at their next frame.
                self._stop.set()
                for job in jobs:
                    job.cancel()
                raise
        return kept

    def _shard(self, number: int, sequences: list[int], done: Callable[[int], object]) -> bool:
        # Each file once, and of crops those that can be drawn.
        wanted = (one for one in self._frames(sequences) if self.crop is None or one.visible)
        members = list({one.name: one for one in wanted}.values())
        path = self.folder / shard_name(number)
        if there := self._is_whole(path, members):
            done(len(members))
            return there
        with atomic_path(path) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
                for member in members:
                    if self._stop.is_set():
                        raise DataError(f"{path}: stopped")
                    name, data = self._content(member)
                    archive.writestr(zipfile.ZipInfo(name, _DATE), data)
        done(len(members))
        return False

    def _is_whole(self, path: Path, members: list[Member]) -> bool:
        if not path.is_file():
            return False
        try:
            names = [name for name, _ in _entries(path)]
        except DataError:
            return False
        if self.crop is not None:
            names = [_REGION.sub("", name) for name in names]
        return names == [member.name for member in members]

    def _frames(self, sequences: list[int]) -> Iterator[Member]:
        for number in sequences:
            start = int(self.source.index.sequences[number]["start"])
            sequence = self.source.load(number)
            for i in range(len(sequence.frames)):
                name = (
                    self._inside(sequence.frames.describe(i))
                    if self.crop is None
                    else f"{sequence.name}/{i:08d}"
                )
                yield Member(name, number, i, bool(sequence.visible[i]), start + i)

    def _inside(self, path: str) -> str:
        inside = os.path.relpath(path, self.source.frames_base).replace(os.sep, "/")
        # A folder of images may lie elsewhere; names that lead out of an archive are not made.
        return inside.replace("../", "up/")

    def _content(self, member: Member) -> tuple[str, bytes]:
        """Name and bytes of a member; no bytes where the frame cannot be read."""
        frames = self.source.stored(member.sequence)
        path = frames.describe(member.frame)
        try:
            data = frames.read_bytes(member.frame)
            if self.crop is None or not data:
                return member.name, data
            image = decode_rgb(data, path, lambda: frames.grey_range)
            # In a pack of parts the first frame, whose range counts, is not there as it was.
            scaled = grey_range_of(data, path) is not None
        except DriveError:
            # A pack is finished but once: it would never have the frame.
            raise
        except DataError as error:
            self.missing.append(str(error))
            return member.name, b""
        height, width = image.shape[:2]
        box = self.source.load(member.sequence).boxes[member.frame]
        region = region_of(box, width, height, self.crop)
        whole = KeptRegion(0, 0, width, height, width, height)
        if scaled or region != whole:
            pixels = cv2.cvtColor(cut(image, region), cv2.COLOR_RGB2BGR)
            settings = [cv2.IMWRITE_JPEG_QUALITY, self.crop.quality]
            coded = cv2.imencode(".jpg", pixels, settings)[1].tobytes()
            if scaled or len(coded) < len(data):
                return f"{member.name}@{region.text}.jpg", coded
        # The file as it is holds more, loses nothing, and is no larger.
        return f"{member.name}@{whole.text}.jpg", data

    def finish(self) -> None:
        """Write the index and the description, after all shards are there."""
        index = self.source.index
        boxes = np.array(index.boxes)
        visible = np.array(index.visible)
        places = np.zeros(len(boxes), PLACE)
        for number, sequences in enumerate(self.plan()):
            found = _places_of(self.folder / shard_name(number), number, self.crop is not None)
            for member in self._frames(sequences):
                if (place := found.get(member.name)) is None:
                    continue
                places[member.row], region = place
                if region is not None:
                    boxes[member.row] = region.move(boxes[member.row].astype(np.float64))
        # In a crop a frame that could not be read has no place, and is never drawn.
        if self.crop is not None:
            visible &= places["size"] > 0
        sequences_table = np.array(index.sequences)
        starts, lengths = sequences_table["start"], sequences_table["length"]
        sums = np.concatenate([[0], np.cumsum(visible)])
        sequences_table["visible"] = sums[starts + lengths] - sums[starts]
        arrays = (sequences_table, boxes, visible, places)
        save_arrays(self.folder / INDEX, FORMAT, index.key, arrays)
        atomic_write_text(self.folder / ABOUT, json.dumps(self.about, indent=1) + "\n")
        (self.folder / PLAN).unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: all is there, and no shard is cut short.

        Frames are not read; `check_pack` does that.
        """
        if not (is_pack(self.folder) and (self.folder / INDEX).is_file()):
            return False
        # What says that a file is a zip archive is its end.
        return all(zipfile.is_zipfile(self.folder / shard_name(i)) for i in range(len(self.plan())))


def _about(file: Path) -> Any:
    """What a pack says of itself; nothing where that cannot be read, as of another pack."""
    try:
        return parse_json(file.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _entries(path: Path) -> list[tuple[str, Any]]:
    """Names in a shard and what its directory says of them, in the order of their bytes."""
    found = []
    for folder, files in list_archive(path).items():
        rows = np.frombuffer(bytes(files.rows), ENTRY)
        inside = f"{folder}/" if folder else ""
        found += [(inside + name, row) for name, row in zip(files.names, rows, strict=True)]
    return sorted(found, key=lambda one: int(one[1]["offset"]))


def _places_of(path: Path, number: int, cropped: bool) -> dict[str, tuple[Any, KeptRegion | None]]:
    """Where each file of a shard lies, by name without region, and the region.

    Without a crop an `@` belongs to the name of a frame or a folder.
    """
    found: dict[str, tuple[Any, KeptRegion | None]] = {}
    for name, entry in _entries(path):
        match = _REGION.search(name) if cropped else None
        offset = int(entry["offset"]) + _HEADER + len(name.encode())
        place = (number, int(entry["size"]), offset, int(entry["crc"]))
        region = KeptRegion.parse(match[1]) if match else None
        found[name[: match.start()] if match else name] = (np.array(place, PLACE), region)
    return found
