"""What is cut out of a photograph: whole segments of its label map, or soft random shapes."""

from dataclasses import dataclass

import cv2
import numpy as np

from lib.synthetic.video.bodies import (
    SPRITE_SIDE,
    Body,
    make_sprite,
    opaque_core,
    single_body,
)
from lib.synthetic.video.shapes import fill, outline

_LEAST_AREA = 100  # pixels of an object
_INNER = round(0.94 * SPRITE_SIDE)  # what an object takes of a sprite, so that its edge fits inside
_SHAPES = ("blob", "ellipse", "polygon", "capsule", "star")
_SHAPES_PER_PHOTO = 6


@dataclass(frozen=True, eq=False)
class Cutout:
    """Where an object is in its photograph."""

    box: tuple[int, int, int, int]  # left, top, width, height in whole pixels
    mask: np.ndarray  # `(height, width)` uint8, soft at the edge


def _is_object(piece: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Whether a connected piece of a segment looks like a whole thing, not like a background.

    Args:
        piece: `(h, w)` mask, 0 or 1, of the piece in its box.
        size: width and height of the photograph.
    """
    x, y, w, h = box
    area = int(np.count_nonzero(piece))
    share = area / (size[0] * size[1])
    borders = (x == 0) + (y == 0) + (x + w == size[0]) + (y + h == size[1])
    if min(w, h) < 12 or not 0.004 <= share <= 0.25 or area < 0.38 * w * h or borders > 1:
        return False
    if max(w, h) > 4.5 * min(w, h):
        return False
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(np.concatenate(contours))
    return area >= 0.6 * cv2.contourArea(hull)


def _soft_mask(piece: np.ndarray) -> np.ndarray:
    """A mask without holes, a pixel inside the drawn edge (which is never exact), and soft."""
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.zeros_like(piece)
    cv2.drawContours(whole, contours, -1, 255, cv2.FILLED)
    # A frame of zeros lets the erosion start at the border of the box.
    padded = cv2.copyMakeBorder(whole, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.GaussianBlur(cv2.erode(padded, np.ones((3, 3), np.uint8)), (0, 0), 0.8)[1:-1, 1:-1]


def segment_cutouts(labels: np.ndarray) -> list[Cutout]:
    """The object-like connected pieces of a label map `(H, W)`, in a fixed order."""
    size = (labels.shape[1], labels.shape[0])
    found = []
    values, areas = np.unique(labels, return_counts=True)
    for value in values[areas >= _LEAST_AREA]:
        mask = (labels == value).astype(np.uint8)
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for number in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[number])
            if area < _LEAST_AREA:
                continue
            piece = (pieces[y : y + h, x : x + w] == number).astype(np.uint8)
            if _is_object(piece, (x, y, w, h), size):
                found.append(Cutout((x, y, w, h), _soft_mask(piece)))
    return [cutout for cutout in found if _can_be_drawn(cutout)]


def random_cutouts(rng: np.random.Generator, size: tuple[int, int]) -> list[Cutout]:
    """Soft shapes anywhere in a photograph of a width and height."""
    found = []
    for _ in range(_SHAPES_PER_PHOTO):
        shape = fill(outline(rng, str(rng.choice(_SHAPES))), 128, 2.0)
        side = min(size) * np.exp(rng.uniform(np.log(0.14), np.log(0.5)))
        aspect = np.exp(rng.normal(0, 0.35))
        w = min(size[0], max(2, round(side * aspect**0.5)))
        h = min(size[1], max(2, round(side * aspect**-0.5)))
        x, y = int(rng.integers(0, size[0] - w + 1)), int(rng.integers(0, size[1] - h + 1))
        found.append(Cutout((x, y, w, h), cv2.resize(shape, (w, h), interpolation=cv2.INTER_AREA)))
    return [cutout for cutout in found if _can_be_drawn(cutout)]


def cutout_body(photo: np.ndarray, cutout: Cutout) -> Body:
    """The object as a body that can be drawn."""
    x, y, w, h = cutout.box
    rgb = _as_sprite(photo[y : y + h, x : x + w], cv2.BORDER_REPLICATE)
    mask = _as_sprite(cutout.mask, cv2.BORDER_CONSTANT)
    return single_body(make_sprite(rgb, mask), w / h)


def _as_sprite(picture: np.ndarray, border: int) -> np.ndarray:
    """The picture in the middle of a sprite's square; the border is its edge, or 0."""
    before = (SPRITE_SIDE - _INNER) // 2
    after = SPRITE_SIDE - _INNER - before
    kind = cv2.INTER_AREA if min(picture.shape[:2]) > _INNER else cv2.INTER_LINEAR
    inner = cv2.resize(picture, (_INNER, _INNER), interpolation=kind)
    return cv2.copyMakeBorder(inner, before, after, before, after, border, value=0)


def _can_be_drawn(cutout: Cutout) -> bool:
    """Whether anything is left of a mask: one of thin lines erodes, or is averaged, to nothing."""
    core = opaque_core(_as_sprite(cutout.mask, cv2.BORDER_CONSTANT))
    return bool(core.any(axis=0).sum() > 1 and core.any(axis=1).sum() > 1)
