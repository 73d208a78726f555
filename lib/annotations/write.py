"""Annotations out: CSV, JSON, MOT, COCO video, CVAT's XML and YOLO.

All boxes are in hundredths of a pixel, all rows in the order of the frames. MOT, COCO and YOLO
have no word for a target out of sight, so rows of a lost one are left out; CVAT calls it outside.
"""

import contextlib
import csv
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from lib.annotations.rows import (
    COLUMNS,
    LOST,
    STATE_COLUMN,
    ClipFacts,
    TargetRow,
    csv_cells,
    json_row,
    rounded,
    target_numbers,
)
from lib.annotations.spool import RowSpool
from lib.utils.errors import ConfigError, ResultsError, did_you_mean
from lib.utils.files import atomic_path, atomic_write_text
from lib.utils.targets import TargetId

_LABEL = "target"


def write_annotations(path: Path, rows: Iterable[TargetRow], format: str, facts: ClipFacts) -> None:
    """Write the rows of a clip as one file, or as a folder of files where the format is YOLO.

    Args:
        path: the file, which is replaced; a folder for YOLO, which must be new or empty.
        rows: in any order; those of a `RowSpool` are never all in memory.
        format: one of `FORMATS`.
        facts: of the clip.

    Raises:
        ConfigError: there is no such format.
        ResultsError: the folder is there already.
        OSError: it cannot be written.
    """
    check_format(format, FORMATS)
    if not isinstance(rows, RowSpool):
        with RowSpool(rows) as spool:
            write_annotations(path, spool, format, facts)
    elif format == "yolo":
        with _new_folder(path) as folder:
            _write_yolo(folder, rows, facts)
    else:
        with (
            atomic_path(path) as temporary,
            # File names of another encoding reach us as surrogates; they leave as the same bytes.
            open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            file.writelines(_TEXTS[format](rows, facts))


def check_format(format: str, known: Sequence[str]) -> None:
    """Raise ConfigError, naming the choices, unless `format` is one of `known`."""
    if format not in known:
        hint = did_you_mean(format, known)
        raise ConfigError(
            f"{format!r} is no format of annotations{hint}; one of {', '.join(known)}"
        )


class _Line:
    """A file for `csv.writer` that gives every line back."""

    def write(self, text: str) -> str:
        return text


def _csv_text(rows: RowSpool, facts: ClipFacts) -> Iterator[str]:
    line = csv.writer(_Line(), lineterminator="\n").writerow
    stated = any(row.state for row in rows)
    yield line([*COLUMNS, STATE_COLUMN] if stated else COLUMNS)
    yield from (line(csv_cells(row)) for row in rows)


def _listed(items: Iterable[object], separator: str) -> Iterator[str]:
    """The items of a list of JSON, one by one."""
    for place, item in enumerate(items):
        yield f"{separator if place else ''}{json.dumps(item)}"


def _json_text(rows: RowSpool, facts: ClipFacts) -> Iterator[str]:
    clip = {key: getattr(facts, key) for key in ("name", "width", "height", "fps", "length")}
    yield f'{{"clip": {json.dumps(clip)},\n"rows": [\n'
    # One row a line, for people who search and compare lines.
    yield from _listed(map(json_row, rows), ",\n")
    yield "\n]}\n"


def _mot_text(rows: RowSpool, facts: ClipFacts) -> Iterator[str]:
    """Frame and target from 1, box, confidence, and no place in the world.

    The challenge's own text counts pixels from 1 as well; its evaluation, CVAT and trackers read
    and write them from 0, and so does this.
    """
    number = target_numbers(rows)
    for row in _in_sight(rows):
        box = ",".join(f"{value:.2f}" for value in row.box)
        score = 1.0 if row.confidence is None else row.confidence
        yield f"{row.frame + 1},{number[row.target]},{box},{score:.4f},-1,-1,-1\n"


def _coco_text(rows: RowSpool, facts: ClipFacts) -> Iterator[str]:
    """COCO with `videos`, `frame_id` from 0 and `instance_id`, which is called COCO video."""
    number = target_numbers(rows)
    images = (
        {
            "id": frame + 1,
            "file_name": facts.picture(frame),
            "width": facts.width,
            "height": facts.height,
            "video_id": 1,
            "frame_id": frame,
        }
        for frame, _ in itertools.groupby(rows, _frame)
    )
    annotations = (
        _coco_annotation(place, number[row.target], row)
        for place, row in enumerate(_in_sight(rows), start=1)
    )
    video = {"id": 1, "name": facts.name, "width": facts.width, "height": facts.height}
    yield f'{{"videos": {json.dumps([video])}, "images": ['
    yield from _listed(images, ", ")
    yield '], "annotations": ['
    yield from _listed(annotations, ", ")
    yield f'], "categories": {json.dumps([{"id": 1, "name": _LABEL}])}}}\n'


def _coco_annotation(place: int, instance: int, row: TargetRow) -> dict[str, Any]:
    x, y, w, h = rounded(row.box)
    annotation: dict[str, Any] = {
        "id": place,
        "image_id": row.frame + 1,
        "video_id": 1,
        "category_id": 1,
        "instance_id": instance,
        "bbox": [x, y, w, h],
        "area": round(w * h, 2),
        "iscrowd": 0,
    }
    return (
        annotation if row.confidence is None else annotation | {"score": round(row.confidence, 4)}
    )


def _cvat_text(rows: RowSpool, facts: ClipFacts) -> Iterator[str]:
    """CVAT for video 1.1: a track for each target."""
    numbers = target_numbers(rows)
    end = facts.length if facts.length is not None else (rows.last_frame or 0) + 1
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield _element(_cvat_meta(numbers, facts), 1)
    for target, number in numbers.items():
        label = quoteattr(target if isinstance(target, str) else _LABEL)
        yield f'  <track id="{number}" label={label} source="auto">\n'
        these, followers = itertools.tee(rows.of(target))
        next(followers, None)
        for row, following in itertools.zip_longest(these, followers):
            outside = row.state == LOST
            yield _element(_cvat_box(row, row.frame, outside), 2)
            # CVAT shows a box until the next one; where there is none, it has to be told.
            after = row.frame + 1
            if not outside and after < end and (following is None or following.frame != after):
                yield _element(_cvat_box(row, after, True), 2)
        yield "  </track>\n"
    yield "</annotations>\n"


def _cvat_meta(targets: Iterable[TargetId], facts: ClipFacts) -> ElementTree.Element:
    meta = ElementTree.Element("meta")
    task = ElementTree.SubElement(meta, "task")
    _child(task, "name", facts.name)
    if facts.length is not None:
        _child(task, "size", str(facts.length))
    _child(task, "mode", "interpolation")
    labels = ElementTree.SubElement(task, "labels")
    for name in dict.fromkeys(one if isinstance(one, str) else _LABEL for one in targets):
        label = ElementTree.SubElement(labels, "label")
        _child(label, "name", name)
        ElementTree.SubElement(label, "attributes")
    size = ElementTree.SubElement(task, "original_size")
    _child(size, "width", str(facts.width))
    _child(size, "height", str(facts.height))
    return meta


def _cvat_box(row: TargetRow, frame: int, outside: bool) -> ElementTree.Element:
    x, y, w, h = rounded(row.box)
    sides = {"xtl": x, "ytl": y, "xbr": x + w, "ybr": y + h}
    return ElementTree.Element(
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


def _element(element: ElementTree.Element, level: int) -> str:
    """Its lines, indented by twice the level."""
    ElementTree.indent(element, level=level)
    return f"{'  ' * level}{ElementTree.tostring(element, 'unicode')}\n"


def _child(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text


def _write_yolo(folder: Path, rows: RowSpool, facts: ClipFacts) -> None:
    """A text file for each frame below `labels`, and `data.yaml` with the names of the classes.

    Every target is a class of its own, so that it can be told from the others. Boxes are cut at the
    picture's edges, as readers want it; a frame without a target has an empty file.
    """
    number = target_numbers(rows)
    for frame, some in itertools.groupby(rows, _frame):
        name = PurePath(facts.picture(frame)).stem
        lines = (_yolo_line(number[row.target] - 1, row, facts) for row in _in_sight(some))
        atomic_write_text(folder / "labels" / f"{name}.txt", "".join(lines))
    names = [
        f"  {place - 1}: {json.dumps(f'{_LABEL} {target}' if place == target else target)}\n"
        for target, place in number.items()
    ]
    header = "path: .\ntrain: images\nval: images\nnames:\n"
    atomic_write_text(folder / "data.yaml", header + "".join(names))


def _yolo_line(number: int, row: TargetRow, facts: ClipFacts) -> str:
    """Class and box as shares of the picture; nothing where none of it is in the picture."""
    x, y, w, h = row.box
    left, right = max(x, 0.0) / facts.width, min(x + w, facts.width) / facts.width
    top, bottom = max(y, 0.0) / facts.height, min(y + h, facts.height) / facts.height
    if right <= left or bottom <= top:
        return ""
    shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return f"{number} {' '.join(f'{share:.7f}' for share in shares)}\n"


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


def _in_sight(rows: Iterable[TargetRow]) -> Iterator[TargetRow]:
    return (row for row in rows if row.state != LOST)


def _frame(row: TargetRow) -> int:
    return row.frame


_TEXTS: dict[str, Callable[[RowSpool, ClipFacts], Iterator[str]]] = {
    "csv": _csv_text,
    "json": _json_text,
    "mot": _mot_text,
    "coco": _coco_text,
    "cvat": _cvat_text,
}
FORMATS = (*_TEXTS, "yolo")
