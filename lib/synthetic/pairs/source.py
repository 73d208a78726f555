"""The built-in training set SYNTHETIC: pairs of frames made from photographs and generated things.

Three kinds: two views of one place in a photograph; an object cut out of a photograph that moves
over another one; a generated object that moves over a generated background. A pair follows from
the random generator it is drawn with, whatever was drawn before and in whichever process.
"""

from pathlib import Path

import numpy as np

from lib.datasets.training.sample import BoxedFrame, FrameSample, UnusableSampleError
from lib.synthetic.pairs.photographs import Photographs
from lib.synthetic.pairs.photometric import (
    PHOTO,
    VIDEO,
    Conditions,
    PhotometricAugment,
    sample_motion_blur,
)
from lib.synthetic.pairs.pools import GeneratedPool, PhotoPool
from lib.synthetic.pairs.scenes import body_views, patch_views
from lib.synthetic.pairs.views import SceneViews, draw_view, frame_views
from lib.utils.errors import DataError, did_you_mean

KINDS = ("patch", "cutout", "generated")
PAIR_SPLITS = ("train", "val")
_MILD = 0.3  # strength of the pairs that change mildly
_SMALLEST = 4.0  # pixels; a target of which less is inside its frame is drawn again
_ATTEMPTS = 50


class PairSource:
    """Draws pairs; picklable, without pictures.

    Args:
        templates: number of template frames of a draw.
        split: `train` or `val`; what they are made of has nothing in common, but for photographs of
            which there are too few to divide.
        textures: the folder of photographs; None for generated pairs only.
        patch_ratio: how often the kinds are drawn, relative to each other; the first two need
            `textures` and are left out without it.
        strength: share of pairs with full changes at the start and at the end of the training.
        factors: sides of the crops of template and search frame, in units of the target's size;
            frames are somewhat larger than these.
        processes: of this machine that draw, as in `Photographs`.

    Raises:
        DataError: an unknown split, a folder without photographs, or nothing to draw.
    """

    name = "SYNTHETIC"

    def __init__(
        self,
        *,
        templates: int = 1,
        split: str = "train",
        textures: Path | None = None,
        patch_ratio: float = 1.0,
        cutout_ratio: float = 1.0,
        generated_ratio: float = 1.0,
        strength: tuple[float, float] = (0.1, 0.5),
        factors: tuple[float, float] = (4.0, 4.0),
        processes: int = 1,
    ) -> None:
        if split not in PAIR_SPLITS:
            hint = did_you_mean(split, PAIR_SPLITS)
            raise DataError(f"split {split!r} of SYNTHETIC is unknown{hint}; choose train or val")
        ratios = np.array([patch_ratio, cutout_ratio, generated_ratio], np.float64)
        if textures is None:
            ratios[:2] = 0
        if ratios.sum() <= 0:
            raise DataError(
                "SYNTHETIC has nothing to draw: set DATA.SYNTHETIC.GENERATED_RATIO, or "
                "DATA.SYNTHETIC.TEXTURES with PATCH_RATIO or CUTOUT_RATIO, above 0"
            )
        self._shares = ratios / ratios.sum()
        self._templates = templates
        self._strength = strength
        self._factors = factors
        self._split = split
        self._generated = GeneratedPool(split)
        self._photographs = None
        if textures is not None and ratios[:2].any():
            self._photographs = Photographs(Path(textures), split, processes)

    def _scene(
        self, rng: np.random.Generator, kind: str, strength: float
    ) -> tuple[SceneViews, str]:
        layout = frame_views(rng, self._templates, self._factors, strength)
        if self._photographs is None or kind == "generated":
            return body_views(rng, self._generated, layout, strength)
        if kind == "patch":
            return patch_views(rng, self._photographs, layout, strength)
        scene, name = body_views(rng, PhotoPool(self._photographs), layout, strength)
        return scene, f"a cut-out before {name}"

    def draw(self, rng: np.random.Generator, progress: float) -> FrameSample:
        """Draw the frames of one sample; see `SampleSource`.

        Raises:
            DataError: a photograph or label map cannot be used.
            UnusableSampleError: no view of what was drawn shows enough of it.
        """
        kind = str(rng.choice(KINDS, p=self._shares))
        first, last = self._strength
        full = rng.random() < first + (last - first) * float(np.clip(progress, 0, 1))
        strength = 1.0 if full else _MILD
        for _ in range(_ATTEMPTS):
            scene, name = self._scene(rng, kind, strength)
            if scene.boxes[:, 2:].min() >= _SMALLEST:
                break
        else:
            raise UnusableSampleError(f"SYNTHETIC {name}: no view shows enough of the target")
        conditions = VIDEO if kind == "generated" else PHOTO
        return FrameSample(self._sightings(rng, scene, conditions, strength), f"SYNTHETIC {name}")

    def _sightings(
        self, rng: np.random.Generator, scene: SceneViews, conditions: Conditions, strength: float
    ) -> tuple[BoxedFrame, ...]:
        changes = PhotometricAugment(rng, conditions, strength)
        frames = []
        for view, box in enumerate(scene.boxes):
            # Whoever starts a tracker chooses a fairly good frame.
            worse = strength if view == self._templates else 0.7 * strength
            blur = sample_motion_blur(rng, conditions.motion_blur, scene.layout.spans[view], worse)
            frames.append(BoxedFrame(draw_view(scene, view, blur, changes, worse), box))
        return tuple(frames)
