"""COCO as a training set: every annotated object is a still of one frame.

The annotation is plain JSON, so the json module reads it: pycocotools does the same and then
builds look-up tables that nothing here needs, at the price of one more package. The outlines,
nine tenths of the file, are dropped while it is parsed.
"""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.text.boxes import read_text
from lib.datasets.training.listing import (
    Listing,
    TrainingRecord,
    TrainingRow,
    fingerprint,
    has_area,
)
from lib.utils.errors import DataError
from lib.utils.json_text import parse_json

_KEPT = frozenset({"images", "annotations", "id", "file_name", "image_id", "iscrowd", "bbox"})


def list_coco(row: TrainingRow, root: Path, remedy: str) -> Listing:
    """The annotated objects of COCO.

    Raises:
        DataError: the annotation file or the folder of images is missing.
    """
    annotation = root / row.files.annotation
    # The archive itself unpacks to train2017/, which many leave where it is.
    places = [root / row.files.images, root / Path(row.files.images).name]
    images = next((place for place in places if place.is_dir()), None)
    if not annotation.is_file():
        raise DataError(f"training set {row.name!r}: no file {annotation}; {remedy}")
    if images is None:
        raise DataError(f"training set {row.name!r}: no folder {places[0]}; {remedy}")
    key = fingerprint(repr(row), root, [row.files.annotation])
    return Listing(images, key, [partial(read_coco, annotation)])


def read_coco(path: Path) -> Iterator[TrainingRecord]:
    """One record per object that is not a crowd and whose box has an area, in the file's order.

    Raises:
        DataError: the file is not JSON, or not in COCO's form.
    """
    try:
        content = parse_json(read_text(path), object_hook=_slim)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    try:
        files = {image["id"]: image["file_name"] for image in content["images"]}
        annotations = list(content["annotations"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not an annotation file of COCO ({error!r})") from None
    for annotation in annotations:
        record = _record(annotation, files, path)
        if record is not None:
            yield record


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key in _KEPT}


def _record(annotation: dict[str, Any], files: dict[int, str], path: Path) -> TrainingRecord | None:
    try:
        if annotation.get("iscrowd", 0):
            return None
        name, file = str(annotation["id"]), files[annotation["image_id"]]
        box = np.array(annotation["bbox"], dtype=np.float32).reshape(1, 4)
        if not isinstance(file, str) or os.path.isabs(file) or ".." in file.split("/"):
            raise ValueError(f"file_name {file!r:.60} is no file below the images")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        shown = json.dumps(annotation)[:120]
        raise DataError(f"{path}: annotation {shown} is malformed ({error!r})") from None
    if not np.isfinite(box).all() or not has_area(box).all():
        return None
    return TrainingRecord(name, "", file, 0, box, np.ones(1, dtype=bool))
