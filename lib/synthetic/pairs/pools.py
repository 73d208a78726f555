"""Objects and backdrops for training pairs: cut out of photographs, or generated."""

from dataclasses import replace

import numpy as np

from lib.synthetic.pairs.photographs import Photographs, pyramid
from lib.synthetic.pairs.scenes import CUTOUT, GENERATED
from lib.synthetic.video.bodies import Body, ProceduralMaterials, Sprite
from lib.synthetic.video.dataset import SPLITS
from lib.synthetic.video.spec import BODIES

_BODIES = 480
_OCCLUDERS = 80
_BACKDROPS = 64
_BACKDROP_SIZE = (704, 528)  # as the renderer makes them for frames of 320x240
_OCCLUDER_KINDS = ("panel", "blob", "figure", "composite")
_BODY_STREAM, _OCCLUDER_STREAM, _BACKDROP_STREAM = 11, 12, 13


class PhotoPool:
    """Cut-outs before photographs."""

    motion = CUTOUT

    def __init__(self, photographs: Photographs) -> None:
        self.photographs = photographs

    def backdrop(self, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], str]:
        index = self.photographs.draw(rng)
        return self.photographs.levels(index), self.photographs.names[index]

    def body(self, rng: np.random.Generator) -> tuple[Body, bool]:
        return self.photographs.draw_body(rng), False

    def occluder(self, rng: np.random.Generator) -> Body:
        return self.photographs.draw_body(rng)


def _halved(body: Body) -> Body:
    """The body without the finest level of its sprites, which small frames never show."""
    double = np.diag([2.0, 2.0, 1.0])
    parts = []
    for part in body.parts:
        sprite = part.sprite
        less = Sprite(sprite.levels[1:], sprite.rim / 2, sprite.core / 2)
        parts.append(replace(part, sprite=less, place=part.place @ double))
    return Body(tuple(parts))


class GeneratedPool:
    """Generated objects and backdrops of a split, from pools: making one takes long.

    Item k of a pool follows from the split and k alone, whenever it is made; pickling drops
    what was made.
    """

    motion = GENERATED

    def __init__(self, split: str) -> None:
        self._split = split
        self._materials = ProceduralMaterials()
        self._forget()

    def _forget(self) -> None:
        self._bodies: dict[tuple[int, int], Body] = {}
        self._backdrops: dict[int, tuple[np.ndarray, ...]] = {}

    def __getstate__(self) -> str:
        return self._split

    def __setstate__(self, split: str) -> None:
        self.__init__(split)  # type: ignore[misc]

    def _generator(self, stream: int, item: int) -> np.random.Generator:
        entropy = [SPLITS[self._split], item]
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=(stream,)))
        )

    def _made(self, stream: int, item: int, kind: str) -> Body:
        if (stream, item) not in self._bodies:
            whole = self._materials.body(self._generator(stream, item), kind)
            self._bodies[stream, item] = _halved(whole)
        return self._bodies[stream, item]

    def backdrop(self, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], str]:
        item = int(rng.integers(_BACKDROPS))
        if item not in self._backdrops:
            rng = self._generator(_BACKDROP_STREAM, item)
            self._backdrops[item] = pyramid(self._materials.backdrop(rng, *_BACKDROP_SIZE))
        return self._backdrops[item], f"generated backdrop {item}"

    def body(self, rng: np.random.Generator) -> tuple[Body, bool]:
        item = int(rng.integers(_BODIES))
        kind = BODIES[item % len(BODIES)]
        return self._made(_BODY_STREAM, item, kind), kind == "figure"

    def occluder(self, rng: np.random.Generator) -> Body:
        item = int(rng.integers(_OCCLUDERS))
        return self._made(_OCCLUDER_STREAM, item, _OCCLUDER_KINDS[item % len(_OCCLUDER_KINDS)])
