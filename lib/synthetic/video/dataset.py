"""Built-in tracking sequences: generated, seeded, without any file.

A sequence follows from (split, seed, spec, materials) alone. Splits are separate namespaces of
the random generator (PCG64 seeded with the pair), so training never meets a test sequence. The
same seed gives the same boxes everywhere, and the same pixels wherever OpenCV's and numpy's
builds are the same; other builds may round single pixels by one grey level.

Ground truth: the tight axis-aligned box of the target's part inside the frame, with what is
behind occluders. `visible` is False where less than a tenth of the target's area is both inside
the frame and uncovered. Rows stay finite and non-empty: a hidden target keeps its true box, one
outside of the frame the last box it had inside.
"""

from functools import cached_property

import numpy as np

from lib.datasets.sequence import Video
from lib.synthetic.video.absences import ABSENCE_SUITES
from lib.synthetic.video.bodies import Materials, ProceduralMaterials
from lib.synthetic.video.render import Renderer
from lib.synthetic.video.scene import Scene, cast_bodies, plan_scene
from lib.synthetic.video.spec import SyntheticSpec, draw_spec
from lib.synthetic.video.suite import SUITES
from lib.utils.errors import DataError, did_you_mean

SPLITS = {"train": 1, "val": 2, "test": 3}
# Name of a built-in data set -> its split, and sequence -> what it holds. The number is the seed.
BUILT_IN = {**{name: ("test", suite) for name, suite in SUITES.items()}, **ABSENCE_SUITES}


class SyntheticFrames:
    """Frames of one generated sequence; pickles as its recipe, never as pixels.

    Args:
        seed: any integer >= 0.
        spec: the content; drawn from the seed when None.
        length: number of frames, for a drawn spec.
        size: (width, height), for a drawn spec.
        split: the namespace of the seed, one of `SPLITS`.
        materials: where textures and shapes come from.

    Raises:
        DataError: the seed or the split is not as above.
    """

    def __init__(
        self,
        seed: int,
        spec: SyntheticSpec | None = None,
        *,
        length: int = 100,
        size: tuple[int, int] = (320, 240),
        split: str = "train",
        materials: Materials | None = None,
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"synthetic split {split!r} is unknown; choose {', '.join(SPLITS)}")
        if seed < 0:
            raise DataError(f"synthetic seed is {seed}; it must be 0 or more")
        self.seed = seed
        self.split = split
        self.materials = ProceduralMaterials() if materials is None else materials
        self.spec = draw_spec(self._generator(0), length, size) if spec is None else spec

    def _generator(self, stream: int) -> np.random.Generator:
        """An independent generator for one purpose, so that a change to one leaves the others."""
        entropy = [SPLITS[self.split], self.seed]
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=(stream,)))
        )

    @cached_property
    def scene(self) -> Scene:
        """Geometry of all frames, planned when first asked for."""
        cast = cast_bodies(self._generator(1), self.spec, self.materials)
        return plan_scene(self._generator(2), self.spec, cast)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.scene, self.materials, self._generator(3), self._generator(4))

    def __getstate__(self) -> dict[str, object]:
        """Only the recipe: scene and pictures are made again where they are needed."""
        return {name: self.__dict__[name] for name in ("seed", "split", "materials", "spec")}

    def __len__(self) -> int:
        """Number of frames."""
        return self.spec.length

    def read(self, index: int) -> np.ndarray:
        """Frame `index` as (H, W, 3) uint8 RGB, without drawing its predecessors.

        Raises:
            DataError: there is no such frame.
        """
        if not 0 <= index < len(self):
            raise DataError(f"{self.describe(index)} does not exist; there are {len(self)} frames")
        return self._renderer.draw(index)

    def describe(self, index: int) -> str:
        """What to call frame `index` in a message."""
        return f"generated {self.split} sequence {self.seed}, frame {index}"


def synthetic_sequence(
    seed: int,
    length: int = 100,
    size: tuple[int, int] = (320, 240),
    *,
    split: str = "train",
    spec: SyntheticSpec | None = None,
    name: str | None = None,
    materials: Materials | None = None,
) -> Video:
    """A generated sequence, fully determined by its arguments.

    Args:
        seed: any integer >= 0.
        length: number of frames; ignored with a `spec`, which has its own.
        size: (width, height) of the frames; ignored with a `spec`.
        split: `train`, `val` or `test`: equal seeds of two splits have nothing in common.
        spec: the content; drawn from the seed when None.
        name: made of split and seed when None.
        materials: where textures and shapes come from; procedural when None.

    Raises:
        DataError: an argument is out of range, or no scene meets the spec.
    """
    frames = SyntheticFrames(seed, spec, length=length, size=size, split=split, materials=materials)
    return Video(
        name=name or f"synthetic-{split}-{seed}",
        frames=frames,
        ground_truth=frames.scene.boxes,
        visible=frames.scene.visible,
        annotation=f"generated with seed {seed} of split {split}",
    )


def load_synthetic(name: str) -> Video:
    """One of the built-in sequences; `suite` and `absences` say what they hold.

    Raises:
        DataError: no suite has a sequence of that name.
    """
    for split, suite in BUILT_IN.values():
        if name in suite:
            number = list(suite).index(name) + 1
            return synthetic_sequence(number, split=split, spec=suite[name], name=name)
    names = [name for _, suite in BUILT_IN.values() for name in suite]
    spans = ", ".join(f"{min(suite)} to {max(suite)}" for _, suite in BUILT_IN.values())
    hint = did_you_mean(name, names)
    raise DataError(f"built-in sequence {name!r} is unknown{hint}; there are {spans}")
