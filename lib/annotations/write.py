"""Annotations out: CSV, JSON, MOT, COCO video, CVAT's XML and YOLO.

All boxes are in hundredths of a pixel, all rows in the order of the frames. MOT, COCO and YOLO
have no word for a target out of sight, so rows of a lost one are left out; CVAT calls it outside.
"""

import contextlib
import csv
import io
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any
from xml.etree import ElementTree

from lib.annotations.rows import (
    COLUMNS,
    LOST,
    STATE_COLUMN,
    ClipFacts,
    TargetRow,
    csv_cells,
    rounded,
    target_numbers,
)
from lib.utils.errors import ConfigError, ResultsError, did_you_mean
from lib.utils.files import atomic_write_text

_LABEL = "target"


def write_annotations(path: Path, rows: Iterable[TargetRow], format: str, facts: ClipFacts) -> None:
    """Write the rows of a clip as one file, or as a folder of files where the format is YOLO.

    Args:
        path: the file, which is replaced; a folder for YOLO, which must be new or empty.
        rows: in any order.
        format: one of `FORMATS`.
        facts: of the clip.

    Raises:
        ConfigError: there is no such format.
        ResultsError: the folder is there already.
        OSError: it cannot be written.
    """
    check_format(format, FORMATS)
    ordered = sorted(rows, key=lambda row: row.frame)
    if format == "yolo":
        with _new_folder(path) as folder:
            _write_yolo(folder, ordered, facts)
    else:
        atomic_write_text(path, _TEXTS[format](ordered, facts))


def check_format(format: str, known: Sequence[str]) -> None:
    """Raise ConfigError, naming the choices, unless `format` is one of `known`."""
    if format not in known:
        hint = did_you_mean(format, known)
        raise ConfigError(
            f"{format!r} is no format of annotations{hint}; one of {', '.join(known)}"
        )


def _csv_text(rows: Sequence[TargetRow], facts: ClipFacts) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    stated = any(row.state for row in rows)
    table.writerow([*COLUMNS, STATE_COLUMN] if stated else COLUMNS)
    table.writerows(csv_cells(row) for row in rows)
    return text.getvalue()


def _json_text(rows: Sequence[TargetRow], facts: ClipFacts) -> str:
    clip = {key: getattr(facts, key) for key in ("name", "width", "height", "fps", "length")}
    lines = [
        {
            "frame": row.frame,
            "time_s": round(row.time, 6),
            "target": row.target,
            "box": rounded(row.box),
            "confidence": None if row.confidence is None else round(row.confidence, 4),
            "state": row.state,
        }
        for row in rows
    ]
    # One row a line, for people who search and compare lines.
    body = ",\n".join(json.dumps(line) for line in lines)
    return f'{{"clip": {json.dumps(clip)},\n"rows": [\n{body}\n]}}\n'


def _mot_text(rows: Sequence[TargetRow], facts: ClipFacts) -> str:
    """Frame and target from 1, box, confidence, and no place in the world.

    The challenge's own text counts pixels from 1 as well; its evaluation, CVAT and trackers read
    and write them from 0, and so does this.
    """
    number = target_numbers(rows)
    lines = []
    for row in _in_sight(rows):
        box = ",".join(f"{value:.2f}" for value in row.box)
        score = 1.0 if row.confidence is None else row.confidence
        lines.append(f"{row.frame + 1},{number[row.target]},{box},{score:.4f},-1,-1,-1\n")
    return "".join(lines)


def _coco_text(rows: Sequence[TargetRow], facts: ClipFacts) -> str:
    """COCO with `videos`, `frame_id` from 0 and `instance_id`, which is called COCO video."""
    number = target_numbers(rows)
    frames = dict.fromkeys(row.frame for row in rows)
    images = [
        {
            "id": frame + 1,
            "file_name": facts.picture(frame),
            "width": facts.width,
            "height": facts.height,
            "video_id": 1,
            "frame_id": frame,
        }
        for frame in frames
    ]
    annotations = []
    for place, row in enumerate(_in_sight(rows), start=1):
        x, y, w, h = rounded(row.box)
        annotation: dict[str, Any] = {
            "id": place,
            "image_id": row.frame + 1,
            "video_id": 1,
            "category_id": 1,
            "instance_id": number[row.target],
            "bbox": [x, y, w, h],
            "area": round(w * h, 2),
            "iscrowd": 0,
        }
        if row.confidence is not None:
            annotation["score"] = round(row.confidence, 4)
        annotations.append(annotation)
    video = {"id": 1, "name": facts.name, "width": facts.width, "height": facts.height}
    content = {
        "videos": [video],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": _LABEL}],
    }
    return json.dumps(content) + "\n"


def _cvat_text(rows: Sequence[TargetRow], facts: ClipFacts) -> str:
    """CVAT for video 1.1: a track for each target."""
    root = ElementTree.Element("annotations")
    _child(root, "version", "1.1")
    _cvat_meta(root, rows, facts)
    last = rows[-1].frame if rows else 0
    end = facts.length if facts.length is not None else last + 1
    tracks = defaultdict(list)
    for row in rows:
        tracks[row.target].append(row)
    for target, number in target_numbers(rows).items():
        label = target if isinstance(target, str) else _LABEL
        track = ElementTree.SubElement(root, "track", id=str(number), label=label, source="auto")
        followers = [*(row.frame for row in tracks[target][1:]), None]
        for row, following in zip(tracks[target], followers, strict=True):
            outside = row.state == LOST
            _cvat_box(track, row, row.frame, outside)
            # CVAT shows a box until the next one; where there is none, it has to be told.
            if not outside and following != row.frame + 1 and row.frame + 1 < end:
                _cvat_box(track, row, row.frame + 1, True)
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode", xml_declaration=True) + "\n"


def _cvat_meta(root: ElementTree.Element, rows: Sequence[TargetRow], facts: ClipFacts) -> None:
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    _child(task, "name", facts.name)
    if facts.length is not None:
        _child(task, "size", str(facts.length))
    _child(task, "mode", "interpolation")
    labels = ElementTree.SubElement(task, "labels")
    names = {row.target if isinstance(row.target, str) else _LABEL: None for row in rows}
    for name in names:
        label = ElementTree.SubElement(labels, "label")
        _child(label, "name", name)
        ElementTree.SubElement(label, "attributes")
    size = ElementTree.SubElement(task, "original_size")
    _child(size, "width", str(facts.width))
    _child(size, "height", str(facts.height))


def _cvat_box(track: ElementTree.Element, row: TargetRow, frame: int, outside: bool) -> None:
    x, y, w, h = rounded(row.box)
    sides = {"xtl": x, "ytl": y, "xbr": x + w, "ybr": y + h}
    ElementTree.SubElement(
        track,
        "box",
        {
            "frame": str(frame),
            "keyframe": "1",
            "outside": str(int(outside)),
            "occluded": "0",
            **{side: f"{value:.2f}" for side, value in sides.items()},
            "z_order": "0",
        },
    )


def _child(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text


def _write_yolo(folder: Path, rows: Sequence[TargetRow], facts: ClipFacts) -> None:
    """A text file for each frame below `labels`, and `data.yaml` with the names of the classes.

    Every target is a class of its own, so that it can be told from the others. Boxes are cut at the
    picture's edges, as readers want it; a frame without a target has an empty file.
    """
    number = target_numbers(rows)
    lines: dict[int, list[str]] = {row.frame: [] for row in rows}
    for row in _in_sight(rows):
        x, y, w, h = row.box
        left, right = max(x, 0.0) / facts.width, min(x + w, facts.width) / facts.width
        top, bottom = max(y, 0.0) / facts.height, min(y + h, facts.height) / facts.height
        if right > left and bottom > top:
            shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            text = " ".join(f"{share:.7f}" for share in shares)
            lines[row.frame].append(f"{number[row.target] - 1} {text}\n")
    for frame, content in lines.items():
        name = PurePath(facts.picture(frame)).stem
        atomic_write_text(folder / "labels" / f"{name}.txt", "".join(content))
    names = [
        f"  {place - 1}: {json.dumps(f'{_LABEL} {target}' if place == target else target)}\n"
        for target, place in number.items()
    ]
    header = "path: .\ntrain: images\nval: images\nnames:\n"
    atomic_write_text(folder / "data.yaml", header + "".join(names))


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place if the block succeeds."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ResultsError(
            f"{path} is there already; YOLO's label files need a folder that is new or empty"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        folder = Path(scratch) / path.name
        folder.mkdir()
        yield folder
        if path.exists():
            path.rmdir()
        os.replace(folder, path)


def _in_sight(rows: Iterable[TargetRow]) -> list[TargetRow]:
    return [row for row in rows if row.state != LOST]


_TEXTS: dict[str, Callable[[Sequence[TargetRow], ClipFacts], str]] = {
    "csv": _csv_text,
    "json": _json_text,
    "mot": _mot_text,
    "coco": _coco_text,
    "cvat": _cvat_text,
}
FORMATS = (*_TEXTS, "yolo")
