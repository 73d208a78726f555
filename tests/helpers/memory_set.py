"""A training set in memory: a bright square that moves over noise; and a sampler over it."""

from dataclasses import dataclass

import numpy as np

from lib.config.schema import Config
from lib.datasets.training.set import TrainingSequence
from lib.train.data.sampler import TrackingSampler, VideoSource
from lib.train.data.transforms import TrainingTransform
from lib.utils.errors import DataError

SIDE = 32  # of the crops


@dataclass(frozen=True)
class MemoryFrames:
    """Frames (H, W) = (90, 120) of one sequence; those in `broken` cannot be read."""

    name: str
    length: int
    broken: frozenset = frozenset()

    def __len__(self):
        return self.length

    def read(self, index):
        if index in self.broken:
            raise DataError(f"{self.describe(index)}: damaged or not an image")
        rng = np.random.default_rng(index)
        image = rng.integers(0, 100, (90, 120, 3), np.uint8)
        x, y, w, h = square(index).astype(int)
        image[y : y + h, x : x + w] = 200
        return image

    def describe(self, index):
        return f"/memory/{self.name}/{index:08d}.jpg"


def square(index):
    return np.array([20 + index, 30, 16, 12], np.float32)


@dataclass
class MemorySet:
    """Sequences by their visibility flags; see `TrainingSet`."""

    visible: list
    broken: frozenset = frozenset()
    is_video: bool = True
    name: str = "MEMORY"

    def __len__(self):
        return len(self.visible)

    @property
    def lengths(self):
        return np.array([len(flags) for flags in self.visible], int)

    @property
    def visible_counts(self):
        return np.array([sum(flags) for flags in self.visible], int)

    def load(self, index):
        flags = np.array(self.visible[index], bool)
        frames = MemoryFrames(f"video-{index}", len(flags), self.broken)
        boxes = np.stack([square(i) for i in range(len(flags))])
        return TrainingSequence(frames.name, frames, boxes, flags)

    def describe(self, index):
        return f"{self.name} video-{index} (/memory/video-{index})"


def memory_config(templates=2, **data):
    """A configuration with small crops; `data` are keys of section DATA."""
    crops = {
        "SEARCH": {"SIZE": SIDE},
        "TEMPLATE": {"SIZE": SIDE, "NUMBER": templates},
    }
    sizes = {"SEARCH_SIZE": SIDE, "TEMPLATE_SIZE": SIDE, "NUM_TEMPLATES": templates}
    return Config.model_validate({"DATA": {**crops, **data}, "TEST": sizes})


def memory_sampler(*sets, ratios=None, seed=7, epochs=3, samples=24, mode="order"):
    """A sampler over memory sets; over one of three sound sequences where none is given."""
    cfg = memory_config()
    sources = tuple(
        VideoSource(each, cfg.data.template.number, mode, 10)
        for each in sets or [MemorySet([[1] * 40] * 3)]
    )
    return TrackingSampler(
        sources=sources,
        ratios=tuple(ratios or [1.0] * len(sources)),
        transform=TrainingTransform(cfg.data),
        seed=seed,
        epochs=epochs,
        samples=samples,
    )
