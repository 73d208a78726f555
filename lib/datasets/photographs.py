"""A folder of photographs as raw material: pictures, and objects cut out of them.

Where a label map lies beside a photograph (`<name>.png` beside `<name>.jpg`: one value per
segment), whole segments are cut out; elsewhere soft random shapes are. Nothing is read before it
is asked for, and what was read is kept as long as a budget of memory lasts.
"""

import os
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np

from lib.datasets.ground_truth import natural_key
from lib.datasets.synthetic_bodies import SPRITE_SIDE, Body, make_sprite, single_body
from lib.datasets.synthetic_shapes import fill, outline
from lib.utils.errors import DataError, counted
from lib.utils.image_io import read_rgb

PARTS = ("all", "train", "val")
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
_LARGEST = 640 * 480  # pixels; bigger photographs are reduced to it when they are read
_HELD_OUT = 10  # every tenth photograph is for validation
_PICTURE_BUDGET = 256 << 20
_BODY_BUDGET = 128 << 20
_MARGIN = 0.94  # share of a sprite's side that an object takes, so that its soft edge fits inside
_SHAPES = ("blob", "ellipse", "polygon", "capsule", "star")
_SHAPES_PER_PHOTO = 6

Item = TypeVar("Item")


class Kept(Generic[Item]):
    """The most recently used items, up to a number of bytes."""

    def __init__(self, budget: int, size_of: Callable[[Item], int]) -> None:
        self._budget = budget
        self._size_of = size_of
        self._items: OrderedDict[tuple[int, ...], Item] = OrderedDict()
        self._used = 0

    def get(self, key: tuple[int, ...], make: Callable[[], Item]) -> Item:
        """The item of `key`, made if it is not there (any more)."""
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key]
        item = make()
        self._items[key] = item
        self._used += self._size_of(item)
        while self._used > self._budget and len(self._items) > 1:
            self._used -= self._size_of(self._items.popitem(last=False)[1])
        return item


@dataclass(frozen=True, eq=False)
class Cutout:
    """Where an object is in its photograph.

    Attributes:
        box: left, top, width, height in whole pixels.
        mask: `(height, width)` uint8, soft at the edge.
    """

    box: tuple[int, int, int, int]
    mask: np.ndarray


def pyramid(image: np.ndarray, count: int = 3) -> tuple[np.ndarray, ...]:
    """The image, and copies of half, a quarter, … of its size."""
    levels = [image]
    for _ in range(count - 1):
        rows, columns = levels[-1].shape[:2]
        half = (max(1, columns // 2), max(1, rows // 2))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(levels)


def _bytes_of_levels(levels: tuple[np.ndarray, ...]) -> int:
    return sum(level.nbytes for level in levels)


def _bytes_of_body(body: Body) -> int:
    return sum(_bytes_of_levels(part.sprite.levels) for part in body.parts)


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
    for value in np.unique(labels):
        mask = (labels == value).astype(np.uint8)
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for number in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[number])
            if area < 100:
                continue
            piece = (pieces[y : y + h, x : x + w] == number).astype(np.uint8)
            if _is_object(piece, (x, y, w, h), size):
                found.append(Cutout((x, y, w, h), _soft_mask(piece)))
    return found


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
    return found


def cutout_body(photo: np.ndarray, cutout: Cutout) -> Body:
    """The object as a body that can be drawn."""
    x, y, w, h = cutout.box
    inner = round(SPRITE_SIDE * _MARGIN)
    before = (SPRITE_SIDE - inner) // 2
    after = SPRITE_SIDE - inner - before
    area = cv2.INTER_AREA if min(w, h) > inner else cv2.INTER_LINEAR
    rgb = cv2.resize(photo[y : y + h, x : x + w], (inner, inner), interpolation=area)
    mask = cv2.resize(cutout.mask, (inner, inner), interpolation=area)
    rgb = cv2.copyMakeBorder(rgb, before, after, before, after, cv2.BORDER_REPLICATE)
    mask = cv2.copyMakeBorder(mask, before, after, before, after, cv2.BORDER_CONSTANT, value=0)
    return single_body(make_sprite(rgb, mask), w / h)


class Photographs:
    """The photographs of a folder and of the folders below it; pickles as a list of names.

    Args:
        folder: where they are.
        part: `all`; or `val`, every tenth one; or `train`, the others. A folder of fewer than ten
            is not divided.

    Raises:
        DataError: there is no such folder, or no photograph in it.
    """

    def __init__(self, folder: Path, part: str = "all") -> None:
        self.folder = Path(folder)
        self.names: tuple[str, ...]
        self._labels: dict[str, str]
        names, self._labels = _list_photographs(self.folder)
        if part != "all" and len(names) >= _HELD_OUT:
            keep = part == "val"
            names = [n for i, n in enumerate(names) if (i % _HELD_OUT == _HELD_OUT - 1) == keep]
        self.names = tuple(names)
        self._forget()

    def _forget(self) -> None:
        self._pictures: Kept[tuple[np.ndarray, ...]] = Kept(_PICTURE_BUDGET, _bytes_of_levels)
        self._bodies: Kept[Body] = Kept(_BODY_BUDGET, _bytes_of_body)
        self._cutouts: dict[int, list[Cutout]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Only the listing: pictures are read again where they are needed."""
        return {"folder": self.folder, "names": self.names, "_labels": self._labels}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Start with nothing read."""
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.names)

    def _read(self, name: str) -> np.ndarray:
        image = read_rgb(self.folder / name)
        shrink = (_LARGEST / (image.shape[0] * image.shape[1])) ** 0.5
        if shrink >= 1:
            return image
        return cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)

    def levels(self, index: int) -> tuple[np.ndarray, ...]:
        """Photograph `index`, uint8 RGB, in full, half and quarter size.

        Raises:
            DataError: the file cannot be read.
        """
        return self._pictures.get((index,), lambda: pyramid(self._read(self.names[index])))

    def cutouts(self, index: int) -> list[Cutout]:
        """The objects of photograph `index`; possibly none.

        Raises:
            DataError: photograph or label map cannot be read, or they do not fit together.
        """
        if index not in self._cutouts:
            self._cutouts[index] = self._find_cutouts(self.names[index], self.levels(index)[0])
        return self._cutouts[index]

    def _find_cutouts(self, name: str, photo: np.ndarray) -> list[Cutout]:
        size = (photo.shape[1], photo.shape[0])
        if name not in self._labels:
            # Not Python's hash(), which differs from process to process.
            return random_cutouts(np.random.default_rng(zlib.crc32(name.encode())), size)
        path = self.folder / self._labels[name]
        colours = read_rgb(path).astype(np.int32)
        labels = (colours[..., 0] << 16) + (colours[..., 1] << 8) + colours[..., 2]
        if abs(np.log((labels.shape[1] * size[1]) / (labels.shape[0] * size[0]))) > 0.02:
            raise DataError(
                f"{path}: the label map is {labels.shape[1]}x{labels.shape[0]}, which has not the "
                f"shape of its photograph {name}; remove it or make it anew"
            )
        if labels.shape == photo.shape[:2]:
            return segment_cutouts(labels)
        return segment_cutouts(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST))

    def body(self, index: int, number: int) -> Body:
        """Object `number` of photograph `index`, ready to be drawn."""
        return self._bodies.get(
            (index, number),
            lambda: cutout_body(self.levels(index)[0], self.cutouts(index)[number]),
        )

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of photograph `index` as `levels` gives it."""
        height, width = self.levels(index)[0].shape[:2]
        return width, height

    def draw(self, rng: np.random.Generator) -> int:
        """Any photograph."""
        return int(rng.integers(len(self.names)))

    def draw_body(self, rng: np.random.Generator) -> Body:
        """Any object.

        Raises:
            DataError: many photographs in a row have nothing to cut out.
        """
        for _ in range(100):
            index = self.draw(rng)
            if count := len(self.cutouts(index)):
                return self.body(index, int(rng.integers(count)))
        raise DataError(
            f"{self.folder}: no object can be cut out of its {counted(len(self), 'photograph')}; "
            "without label maps random shapes are cut out"
        )


def _list_photographs(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Names below a folder in natural order, and the label maps of those that have one."""
    if not folder.is_dir():
        raise DataError(f"{folder}: folder of photographs not found (DATA.SYNTHETIC.TEXTURES)")
    found = []
    for base, folders, files in os.walk(folder):
        folders.sort()
        below = Path(base).relative_to(folder)
        found += [(below / f).as_posix() for f in files if f.lower().endswith(_PHOTO_SUFFIXES)]
    pictures = {n.rsplit(".", 1)[0]: n for n in found if not n.lower().endswith(".png")}
    labels, names = {}, list(pictures.values())
    for name in found:
        if name.lower().endswith(".png"):
            beside = pictures.get(name.rsplit(".", 1)[0])
            if beside is None:
                names.append(name)
            else:
                labels[beside] = name
    if not names:
        raise DataError(
            f"{folder}: no photograph ({', '.join(_PHOTO_SUFFIXES)}) in it "
            "(DATA.SYNTHETIC.TEXTURES)"
        )
    return sorted(names, key=natural_key), labels


class PhotoMaterials:
    """Photographs and what is cut out of them, as `Materials` of generated video."""

    def __init__(self, folder: Path, part: str = "all") -> None:
        self.photographs = Photographs(folder, part)

    def backdrop(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        """A part of a photograph, uint8 RGB `(height, width, 3)`, mirrored half of the time."""
        photo = self.photographs.levels(self.photographs.draw(rng))[0]
        rows, columns = photo.shape[:2]
        grow = max(width / columns, height / rows)
        size = (max(width, round(columns * grow)), max(height, round(rows * grow)))
        scaled = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
        x, y = rng.integers(0, size[0] - width + 1), rng.integers(0, size[1] - height + 1)
        part = scaled[y : y + height, x : x + width]
        return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)

    def body(self, rng: np.random.Generator, kind: str) -> Body:
        """Any cut-out, whatever the kind; `panel` is a rectangular piece of a photograph."""
        if kind != "panel":
            return self.photographs.draw_body(rng)
        photo = self.photographs.levels(self.photographs.draw(rng))[0]
        rows, columns = photo.shape[:2]
        w = max(2, round(columns * rng.uniform(0.15, 0.5)))
        h = max(2, round(rows * rng.uniform(0.15, 0.5)))
        x, y = int(rng.integers(0, columns - w + 1)), int(rng.integers(0, rows - h + 1))
        return cutout_body(photo, Cutout((x, y, w, h), np.full((h, w), 255, np.uint8)))
