"""Clips with their boxes: which video a file of annotations is of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.annotations.read import read_boxes
from lib.datasets.sequence import Video
from lib.datasets.text.ground_truth import has_image, natural_key
from lib.utils.boxes import Box
from lib.utils.errors import ConfigError, DataError
from lib.utils.targets import TargetId

SUFFIXES = (".csv", ".json", ".xml", ".txt")
# MOTChallenge: SEQUENCE/img1 and SEQUENCE/gt/gt.txt.
_MOT_BOXES, _MOT_IMAGES = "gt/gt.txt", "img1"


@dataclass(frozen=True, eq=False)
class AnnotatedClip:
    """A clip with the boxes of its targets.

    Attributes:
        name: of the clip.
        clip: a video file, a folder of images, or a sequence that is open already.
        annotation: the file of the boxes, for messages.
        boxes: by frame (from 0) and target.
    """

    name: str
    clip: Path | Video
    annotation: str
    boxes: Mapping[int, Mapping[TargetId, Box]]


def annotated_clips(files: Sequence[Path], videos: Sequence[Path]) -> list[AnnotatedClip]:
    """The clips of files of annotations.

    Args:
        files: of annotations, in a format that `read_boxes` tells.
        videos: of each file its clip, in order; none: those that are called like the files.

    Raises:
        ConfigError: there are not as many of one as of the other.
        DataError: a file cannot be read, or has no clip beside it.
    """
    if videos and len(videos) != len(files):
        raise ConfigError(
            f"--video is given {len(videos)} times, and --data {len(files)} times: the first video "
            "is of the first file, and so on"
        )
    pairs = zip(files, videos or [_beside(file) for file in files], strict=True)
    return [AnnotatedClip(_name(clip), clip, str(file), read_boxes(file)) for file, clip in pairs]


def pairs_in(folder: Path) -> list[tuple[Path, Path]]:
    """Annotation and clip of all that is called alike in a folder, or lies as MOTChallenge's."""
    names = sorted((path for path in folder.iterdir()), key=lambda path: natural_key(path.name))
    found = [
        (path, clip)
        for path in names
        if path.suffix.lower() in SUFFIXES and path.is_file() and (clip := _clip_of(path))
    ]
    mot = [path for path in (folder, *names) if (path / _MOT_BOXES).is_file()]
    return found + [(path / _MOT_BOXES, path / _MOT_IMAGES) for path in mot]


def _name(clip: Path) -> str:
    if clip.name == _MOT_IMAGES:
        return clip.absolute().parent.name
    return clip.stem if clip.is_file() else clip.absolute().name


def _beside(file: Path) -> Path:
    clip = _clip_of(file)
    if clip is None and file.parts[-2:] == tuple(_MOT_BOXES.split("/")):
        clip = file.parents[1] / _MOT_IMAGES
    if clip is None:
        raise DataError(
            f"{file}: which clip are these boxes of? There is no {file.stem}.mp4 or the like "
            f"beside it, and no folder {file.stem} of images; name the clip with --video"
        )
    return clip


def _clip_of(file: Path) -> Path | None:
    """The video, or the folder of images, of that name."""
    same = [path for path in file.parent.glob(f"{_escaped(file.stem)}.*") if path != file]
    videos = [one for one in same if one.is_file() and one.suffix.lower() not in SUFFIXES]
    folder = file.with_suffix("")
    if len(videos) == 1:
        return videos[0]
    return folder if not videos and has_image(folder) else None


def _escaped(name: str) -> str:
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in name)
