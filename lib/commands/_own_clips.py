"""One's own clips as two folders of sequences: one to train on, one that is held out.

<folder>/train/<clip>-<target>/     frames and boxes in LaSOT's layout, or a link to a sequence
<folder>/held_out/<clip>-<target>/
<folder>/about.json                 what it was made of, and how it was split
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.annotations.clips import AnnotatedClip, annotated_clips, pairs_in
from lib.commands.entry import say
from lib.datasets.benchmarks.check import check_folder
from lib.datasets.benchmarks.folder import find_sequences, open_folder
from lib.datasets.sequence import ImageFiles, Video
from lib.datasets.training.listing import has_area
from lib.datasets.training.set import MIN_LENGTH
from lib.utils.boxes import Box
from lib.utils.errors import DataError, SeqTrackError, counted, some
from lib.utils.files import atomic_write_text
from lib.utils.image_io import write_rgb
from lib.utils.targets import TargetId
from lib.video.open import FrameClip, open_source

ABOUT = "about.json"
_PARTS = ("train", "held_out")
# Between the two parts of a single clip, as a share of it: neighbouring frames are nearly the same.
_GAP = 0.05
_KEY_LENGTH = 12
# Pictures of all clips together; what is longer is better cut to the parts with boxes.
_MOST_BYTES = 20 * 10**9


@dataclass(frozen=True)
class OwnClips:
    """Where they are, and how they were split, in words."""

    train: Path
    held_out: Path
    split: str


@dataclass(frozen=True, eq=False)
class _TargetTrack:
    """One target in the frames `first` .. `last` of a clip, for one of the parts."""

    part: str
    name: str
    boxes: Mapping[int, Box]

    @property
    def frames(self) -> range:
        return range(min(self.boxes), max(self.boxes) + 1)


@dataclass
class _FrameWriter:
    """Puts frames into the folders of their tracks, each picture once on the disk."""

    root: Path
    written: int = 0
    names: dict[int, str] = field(default_factory=dict)

    def put(self, picture: Path | np.ndarray, frame: int, tracks: Sequence[_TargetTrack]) -> None:
        """A frame as a file, or as pixels, into the folder of every track that has it."""
        for track in (track for track in tracks if frame in track.frames):
            number = frame - track.frames.start + 1
            suffix = picture.suffix if isinstance(picture, Path) else ".jpg"
            target = self.root / track.part / track.name / "img" / f"{number:08d}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(picture, Path):
                link(picture, target)
                continue
            write_rgb(target, picture)
            self.written += target.stat().st_size
            if self.written > _MOST_BYTES:
                raise DataError(
                    f"{self.root}: the frames of the clips take more than {_MOST_BYTES // 10**9} "
                    "GB; cut the videos to the parts that have boxes"
                )
            picture = target


def prepare(data: Sequence[Path], videos: Sequence[Path], share: float, root: Path) -> OwnClips:
    """Make the two folders, in one below `root`, or take those that were made of the same before.

    Args:
        data: folders of sequences, or files of annotations.
        videos: the clips of the files, see `annotated_clips`.
        share: of the clips (of a single one: of its frames) that is held out.
        root: those that were made in it of other clips are removed.

    Raises:
        SeqTrackError: something cannot be read, or is too little.
    """
    key = json.dumps([share, *(state for path in (*data, *videos) for state in _states(path))])
    # Another name for other clips: a training that goes on says that they are others.
    folder = root / hashlib.sha256(key.encode()).hexdigest()[:_KEY_LENGTH]
    train, held_out = (folder / part for part in _PARTS)
    if not (folder / ABOUT).is_file():
        _remove_older(root)
        split = _make(data, videos, share, folder)
        for part in _PARTS:
            _check(folder / part)
        atomic_write_text(folder / ABOUT, json.dumps({"split": split}) + "\n")
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return OwnClips(train, held_out, about["split"])


def _remove_older(root: Path) -> None:
    """Remove what `prepare` made in a folder, and nothing else: a user may have named it."""
    for old in root.iterdir() if root.is_dir() else ():
        own = re.fullmatch(rf"[0-9a-f]{{{_KEY_LENGTH}}}", old.name)
        if own and old.is_dir() and all(one.name in (*_PARTS, ABOUT) for one in old.iterdir()):
            shutil.rmtree(old)


def link(source: Path, target: Path) -> None:
    """A link to a file or folder, a copy where the system has none."""
    try:
        os.symlink(os.path.abspath(source), target)
    except OSError:
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, target)


def _states(path: Path) -> list[list[str | int]]:
    """Tells a file, or a folder by what lies in it, from a changed one."""
    try:
        inside = sorted([*path.iterdir(), *path.glob("*/gt/gt.txt")]) if path.is_dir() else []
        found = [(os.path.abspath(one), os.stat(one)) for one in (path, *inside)]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return [[name, status.st_size, status.st_mtime_ns] for name, status in found]


def _make(data: Sequence[Path], videos: Sequence[Path], share: float, root: Path) -> str:
    """Write the folders; returns how they were split."""
    files = [path for path in data if path.is_file()]
    clips: list[AnnotatedClip] = annotated_clips(files, videos) if files else []
    sequences: dict[str, Path] = {}
    for folder in (path for path in data if path.is_dir()):
        pairs = pairs_in(folder)
        clips += annotated_clips([one for one, _ in pairs], [clip for _, clip in pairs])
        if not pairs:
            _, found = find_sequences(folder)
            own = {name: one.folder for name, one in found.items()}
            # Frames of all in one folder and boxes in another cannot be linked to.
            if len(set(own.values())) == len(own) > 1:
                sequences |= own
            else:
                clips += [_as_clip(folder, name) for name in own]
    if len(clips) + len(sequences) == 1:
        return _split_by_time(clips[0], share, root)
    names = [*dict.fromkeys([*(clip.name for clip in clips), *sequences])]
    if len(names) < len(clips) + len(sequences):
        raise DataError("two clips have the same name; rename one of them")
    held = _evenly(names, share)
    for clip in clips:
        part = _PARTS[clip.name in held]
        _write(clip, [_TargetTrack(part, *one) for one in _targets(clip, clip.boxes)], root)
    for name, folder in sequences.items():
        target = root / _PARTS[name in held] / name
        target.parent.mkdir(parents=True, exist_ok=True)
        link(folder, target)
    return (
        f"{counted(len(names), 'clip')}: {len(names) - len(held)} to train on, {len(held)} held "
        f"out ({some(held)})"
    )


def _as_clip(folder: Path, name: str) -> AnnotatedClip:
    """A sequence of a folder."""
    video = open_folder(folder).load(name)
    shown = has_area(video.ground_truth)
    if video.visible is not None and len(video.visible) == len(shown):
        shown &= video.visible
    boxes: dict[int, dict[TargetId, Box]] = {}
    for frame in np.flatnonzero(shown).tolist():
        x, y, w, h = (float(value) for value in video.ground_truth[frame])
        boxes[frame] = {1: (x, y, w, h)}
    return AnnotatedClip(video.name, video, video.annotation, boxes)


def _evenly(names: Sequence[str], share: float) -> list[str]:
    """About that share of the names, at least one and not all, spread over the list."""
    number = min(max(1, round(share * len(names))), len(names) - 1)
    return [names[(2 * i + 1) * len(names) // (2 * number)] for i in range(number)]


def _split_by_time(clip: AnnotatedClip, share: float, root: Path) -> str:
    """The end of a single clip is held out."""
    first, last = min(clip.boxes), max(clip.boxes)
    length = last + 1 - first
    held = last + 1 - round(length * share)
    end = held - max(1, round(length * _GAP))
    parts = {"train": range(first, end), "held_out": range(held, last + 1)}
    if min(map(len, parts.values())) < MIN_LENGTH:
        raise DataError(
            f"{clip.annotation}: boxes in {length} frames are too few to train on the first and "
            f"hold out the last of them; {MIN_LENGTH} are needed in each part"
        )
    tracks = [
        _TargetTrack(part, *one)
        for part, frames in parts.items()
        for one in _targets(clip, {i: clip.boxes[i] for i in frames if i in clip.boxes})
    ]
    missing = [part for part in parts if part not in {track.part for track in tracks}]
    if missing:
        raise DataError(
            f"{clip.annotation}: no target has boxes over {MIN_LENGTH} frames of the "
            f"{'last' if missing[0] == 'held_out' else 'first'} part of the clip"
        )
    _write(clip, tracks, root)
    return (
        f"1 clip, split by time: frames {first} to {end - 1} to train on, {held} to {last} held "
        "out, and none of those between. One clip tells little of others; give several"
    )


def _targets(
    clip: AnnotatedClip, boxes: Mapping[int, Mapping[TargetId, Box]]
) -> Iterator[tuple[str, dict[int, Box]]]:
    """Name and boxes of each target that is long enough."""
    found: dict[TargetId, dict[int, Box]] = {}
    for frame, here in boxes.items():
        for target, box in here.items():
            found.setdefault(target, {})[frame] = box
    short = []
    for target, own in found.items():
        if max(own) + 1 - min(own) < MIN_LENGTH:
            short.append(str(target))
            continue
        name = clip.name if len(found) == 1 else f"{clip.name}-{target}"
        yield re.sub(r"[^\w.-]+", "_", name), own
    if short:
        say(
            f"warning: {clip.annotation}: fewer than {MIN_LENGTH} frames of target {some(short)}; "
            "left out",
            True,
        )


def _write(clip: AnnotatedClip, tracks: Sequence[_TargetTrack], root: Path) -> None:
    """Frames and boxes of a clip's tracks.

    Raises:
        DataError: the clip ends before its boxes.
    """
    if not tracks:
        return
    last = max(track.frames[-1] for track in tracks)
    writer, count = _FrameWriter(root), 0
    for frame, picture in _pictures(clip.clip, last):
        writer.put(picture, frame, tracks)
        count = frame + 1
    if count <= last:
        raise DataError(
            f"{clip.annotation}: boxes up to frame {last}, but {clip.name} has {count} frames; are "
            "they of another clip, or counted from 1?"
        )
    for track in tracks:
        folder = root / track.part / track.name
        rows = [track.boxes.get(frame, (0.0, 0.0, 0.0, 0.0)) for frame in track.frames]
        lines = "".join(",".join(f"{value:.2f}" for value in row) + "\n" for row in rows)
        atomic_write_text(folder / "groundtruth.txt", lines)
        absent = ",".join(str(int(frame not in track.boxes)) for frame in track.frames)
        atomic_write_text(folder / "out_of_view.txt", absent + "\n")
        atomic_write_text(folder / "full_occlusion.txt", ",".join("0" for _ in rows) + "\n")


def _pictures(clip: Path | Video, last: int) -> Iterator[tuple[int, Path | np.ndarray]]:
    """The frames of a clip up to `last`: files where they are pictures that need no scaling."""
    opened = open_source(clip)
    if opened.live:
        raise DataError(f"{opened.name}: a live source cannot be trained on; record it first")
    source = opened.source if isinstance(opened, FrameClip) else None
    if isinstance(source, ImageFiles) and source.grey_range is None:
        for i, name in enumerate(source.names[: last + 1]):
            yield i, source.folder / name
        return
    for frame in opened.frames():
        yield frame.index, frame.image
        if frame.index == last:
            return


def _check(folder: Path) -> None:
    """Look at a part as `seqtrack data check` does; warn of what is odd.

    Raises:
        SeqTrackError: what is wrong, a line each.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no target is long enough ({MIN_LENGTH} frames)")
    report = check_folder(open_folder(folder), False, lambda: None)
    for warning in report.warnings:
        say(f"warning: {warning}", True)
    if report.findings:
        raise SeqTrackError("\n".join(report.findings))
