"""A data set with two sequences, results of trackers on it, and what a page of the report says."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.sequence import Dataset, Video
from lib.utils.image_io import write_rgb

# A folder may be called so, and none of it may become markup, script or style.
WILD = "<img src=x onerror=\"document.title='x'\">&amp;'${1}{{data}}"
# Sorted before the other one.
CALM = "01 calm"
FRAMES = 30
SIZE = (96, 64)


def truth_of(place: int, frames: int = FRAMES) -> np.ndarray:
    """Boxes (N, 4) of a target that moves along a wave, another one in each sequence."""
    i = np.arange(frames)
    x, y = 10 + i * 1.5, 20 + 10 * np.sin(i / 5 + place)
    return np.stack([x, y.round(1), np.full(frames, 16.0), np.full(frames, 12.0)], axis=1)


class World:
    """Sequences in the layout of GOT-10k, and a save folder with the results of trackers."""

    def __init__(self, root: Path, names: tuple[str, ...] = (CALM, WILD)) -> None:
        self.root, self.data, self.save = root, root / "videos", root / "save"
        self.names = names
        for place, name in enumerate(names):
            self.write_sequence(self.data / name, place)

    def write_sequence(self, folder: Path, place: int) -> None:
        truth = truth_of(place)
        folder.mkdir(parents=True)
        for i, (x, y, w, h) in enumerate(truth.astype(int)):
            frame = np.full((SIZE[1], SIZE[0], 3), 40 + 3 * i, np.uint8)
            frame[y : y + h, x : x + w] = (200, 60, 60)
            write_rgb(folder / f"{i + 1:08d}.jpg", frame)
        np.savetxt(folder / "groundtruth.txt", truth, delimiter=",", fmt="%.2f")

    def results(self, config: str, tracker: str = "seqtrack") -> Path:
        return self.save / "test" / "tracking_results" / tracker / config / "videos"

    def track(
        self, config: str, tracker: str = "seqtrack", lost: int = FRAMES, confidence: bool = True
    ) -> Path:
        """Results one pixel to the right of the truth, far off from frame `lost` on for five."""
        folder = self.results(config, tracker)
        folder.mkdir(parents=True, exist_ok=True)
        for place, name in enumerate(self.names):
            boxes = np.floor(truth_of(place)) + np.array([1, 0, 0, 0])
            boxes[lost : lost + 5, 0] += 60
            np.savetxt(folder / f"{name}.txt", boxes, fmt="%d", delimiter="\t")
            if confidence:
                values = np.linspace(0.9, 0.3, FRAMES)
                np.savetxt(folder / f"{name}_confidence.txt", values, fmt="%.6f")
        return folder


def blocks_of(page: str) -> dict[str, Any]:
    """What the script elements of a page hold, by their id."""
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page)
    return {name: json.loads(text) for name, text in found}


def unpacked(text: str, frames: int) -> np.ndarray:
    """Rows of whole numbers (R, N) behind `pack`, as the page reads them."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    words = np.ascontiguousarray(planes.reshape(4, -1).T).view("<i4").reshape(-1, frames)
    return np.cumsum(words, axis=1, dtype=np.int32)


class DrawnFrames:
    """Frames that are made when they are read; `broken` ones cannot be."""

    def __init__(self, count: int, size: tuple[int, int], broken: frozenset[int] = frozenset()):
        self.count, self.size, self.broken = count, size, broken

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> np.ndarray:
        from lib.utils.errors import DataError

        if index in self.broken:
            raise DataError(f"{self.describe(index)}: damaged")
        rng = np.random.default_rng(index)
        width, height = self.size
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)

    def describe(self, index: int) -> str:
        return f"drawn {index}"


def drawn_dataset(count: int, frames: int, size: tuple[int, int]) -> Dataset:
    """A data set of `count` sequences of noise, the worst that a JPEG can meet."""

    def load(name: str) -> Video:
        truth = truth_of(int(name[3:]), frames)
        return Video(name, DrawnFrames(frames, size), truth, annotation=name)

    names = tuple(f"seq{i}" for i in range(count))
    return Dataset("drawn", "drawn", "DEFAULT", "otb", "built-in", names, load)
