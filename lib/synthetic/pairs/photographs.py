"""A folder of photographs as raw material: pictures, and objects cut out of them.

Where a label map lies beside a photograph (`<name>.png` beside `<name>.jpg`: one value per
segment), whole segments are cut out; elsewhere soft random shapes are. Nothing is read before it
is asked for, and what was read is kept as long as a budget of memory lasts.
"""

import logging
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np

from lib.datasets.text.ground_truth import is_image, natural_key
from lib.synthetic.pairs.cutouts import Cutout, cutout_body, random_cutouts, segment_cutouts
from lib.synthetic.video.bodies import Body
from lib.utils.errors import DataError, counted, did_you_mean
from lib.utils.image_io import IMAGE_SUFFIXES, read_labels, read_rgb

logger = logging.getLogger(__name__)

PARTS = ("all", "train", "val")
_HELD_OUT = 10  # every tenth photograph is for validation
_LARGEST = 640 * 480  # pixels; bigger photographs are reduced to it when they are read
_SMALLEST_SIDE = 16  # pixels, after that
_MOST_SEGMENTS = 4096  # of a label map; a photograph has more colours
# Bytes kept in each process, as long as there are no more processes than this on the machine.
_FULL_BUDGETS = 8
_PICTURE_BUDGET = 256 << 20
_BODY_BUDGET = 128 << 20
_CUTOUT_BUDGET = 64 << 20

Item = TypeVar("Item")


class ByteLRU(Generic[Item]):
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


def pyramid(image: np.ndarray) -> tuple[np.ndarray, ...]:
    """The image, and copies of half and a quarter of its size."""
    levels = [image]
    for _ in range(2):
        rows, columns = levels[-1].shape[:2]
        half = (max(1, columns // 2), max(1, rows // 2))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(levels)


def _bytes_of_levels(levels: tuple[np.ndarray, ...]) -> int:
    return sum(level.nbytes for level in levels)


def _bytes_of_cutouts(cutouts: list[Cutout]) -> int:
    return sum(cutout.mask.nbytes for cutout in cutouts)


def _bytes_of_body(body: Body) -> int:
    return sum(_bytes_of_levels(part.sprite.levels) for part in body.parts)


class Photographs:
    """The photographs of a folder and of the folders below it; pickles as a list of names.

    Args:
        part: `all`; or `val`, every tenth one; or `train`, the others. A folder of fewer than ten
            is not divided, of which `val` warns.
        processes: of this machine that draw from such a folder; what is kept in memory is divided
            among them, from the ninth on.

    Raises:
        DataError: there is no such folder or part, or no photograph in the folder.
    """

    def __init__(self, folder: Path, part: str = "all", processes: int = 1) -> None:
        if part not in PARTS:
            hint = did_you_mean(part, PARTS)
            raise DataError(
                f"part {part!r} of photographs is unknown{hint}; choose {', '.join(PARTS)}"
            )
        self.folder = Path(folder)
        self.processes = processes
        self.names: tuple[str, ...]
        self._labels: dict[str, str]
        names, self._labels = _list_photographs(self.folder)
        if part != "all" and len(names) >= _HELD_OUT:
            keep = part == "val"
            names = [n for i, n in enumerate(names) if (i % _HELD_OUT == _HELD_OUT - 1) == keep]
        elif part == "val":
            logger.warning(
                "%s: %s are too few to keep some for validation, which draws from all of them; "
                "%d or more are divided",
                self.folder,
                counted(len(names), "photograph"),
                _HELD_OUT,
            )
        self.names = tuple(names)
        self._forget()

    def _forget(self) -> None:
        share = min(1.0, _FULL_BUDGETS / self.processes)
        self._pictures: ByteLRU[tuple[np.ndarray, ...]] = ByteLRU(
            int(_PICTURE_BUDGET * share), _bytes_of_levels
        )
        self._bodies: ByteLRU[Body] = ByteLRU(int(_BODY_BUDGET * share), _bytes_of_body)
        self._cutouts: ByteLRU[list[Cutout]] = ByteLRU(
            int(_CUTOUT_BUDGET * share), _bytes_of_cutouts
        )

    def __getstate__(self) -> dict[str, object]:
        """Only the listing: pictures are read again where they are needed."""
        kept = ("folder", "processes", "names", "_labels")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self.names)

    def _read(self, name: str) -> np.ndarray:
        image = read_rgb(self.folder / name)
        height, width = image.shape[:2]
        shrink = (_LARGEST / (height * width)) ** 0.5
        if min(height, width) * min(1.0, shrink) < _SMALLEST_SIDE:
            raise DataError(
                f"{self.folder / name}: {width}x{height} pixels are too few or too narrow for a "
                f"photograph (at least {_SMALLEST_SIDE} each way); remove it"
            )
        if shrink >= 1:
            return image
        return cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)

    def levels(self, index: int) -> tuple[np.ndarray, ...]:
        """Photograph `index`, uint8 RGB, in full, half and quarter size.

        Raises:
            DataError: the file cannot be read, or the picture is too small.
        """
        return self._pictures.get((index,), lambda: pyramid(self._read(self.names[index])))

    def cutouts(self, index: int) -> list[Cutout]:
        """The objects of photograph `index`; possibly none.

        Raises:
            DataError: photograph or label map cannot be read, or they do not fit together.
        """
        return self._cutouts.get(
            (index,), lambda: self._find_cutouts(self.names[index], self.levels(index)[0])
        )

    def _find_cutouts(self, name: str, photo: np.ndarray) -> list[Cutout]:
        size = (photo.shape[1], photo.shape[0])
        if name not in self._labels:
            # Not Python's hash(), which differs from process to process.
            return random_cutouts(np.random.default_rng(zlib.crc32(name.encode())), size)
        path = self.folder / self._labels[name]
        labels = read_labels(path)
        if abs(np.log((labels.shape[1] * size[1]) / (labels.shape[0] * size[0]))) > 0.02:
            raise DataError(
                f"{path}: the label map is {labels.shape[1]}x{labels.shape[0]}, which has not the "
                f"shape of its photograph {name}; remove it or make it anew"
            )
        if labels.shape != photo.shape[:2]:
            labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        if (count := len(np.unique(labels))) > _MOST_SEGMENTS:
            raise DataError(
                f"{path}: not a label map ({count} different values) but a picture beside {name}; "
                "a label map has one value per segment; remove or rename it"
            )
        return segment_cutouts(labels)

    def body(self, index: int, number: int) -> Body:
        return self._bodies.get(
            (index, number),
            lambda: cutout_body(self.levels(index)[0], self.cutouts(index)[number]),
        )

    def size(self, index: int) -> tuple[int, int]:
        height, width = self.levels(index)[0].shape[:2]
        return width, height

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.names)))

    def draw_body(self, rng: np.random.Generator) -> Body:
        for _ in range(100):
            index = self.draw(rng)
            if count := len(self.cutouts(index)):
                return self.body(index, int(rng.integers(count)))
        raise DataError(
            f"{self.folder}: no object can be cut out of its {counted(len(self), 'photograph')}; "
            "without label maps random shapes are cut out"
        )


def _list_photographs(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Names below a folder in natural order, and the label maps of those that have one.

    Hidden files and folders are left alone.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: folder of photographs not found (DATA.SYNTHETIC.TEXTURES)")
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(base).relative_to(folder)
        found += [(below / file).as_posix() for file in files if is_image(file)]
    maps = {_stem(name): name for name in found if name.lower().endswith(".png")}
    mapped = {_stem(name) for name in found if not name.lower().endswith(".png")} & maps.keys()
    names = [n for n in found if not (n.lower().endswith(".png") and _stem(n) in mapped)]
    if not names:
        raise DataError(
            f"{folder}: no photograph ({', '.join(sorted(IMAGE_SUFFIXES))}) in it "
            "(DATA.SYNTHETIC.TEXTURES)"
        )
    labels = {name: maps[_stem(name)] for name in names if _stem(name) in mapped}
    return sorted(names, key=natural_key), labels


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
