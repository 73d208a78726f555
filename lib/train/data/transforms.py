"""From the frames of a draw to the crops of a training sample.

In this order, as in the reference: all images grey or mirrored together; a jittered box per
frame; the crop around it; brightness and mirroring per crop. The random numbers are drawn apart
from their use (`Variation`), so that recorded ones can be put in their place.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from lib.config.schema.training import Data, SearchSampling, TemplateSampling
from lib.datasets.training.sample import EncodedImage, FrameSample, UnusableSampleError
from lib.train.data.history import PastNoise, draw_noise, past_boxes
from lib.utils.crop import box_in_crop, crop_square
from lib.utils.errors import DataError
from lib.utils.image_io import JPEG_SHRINKS

_JOINT_FLIP = 0.5


@dataclass(frozen=True)
class TrainingSample:
    """What the network is given for one sample, and the truth."""

    templates: np.ndarray  # `(T, S_z, S_z, 3)` uint8 RGB
    search: np.ndarray  # `(S_x, S_x, 3)` uint8 RGB
    template_boxes: np.ndarray  # `(T, 4)` float32 xywh, normalised to the template's crop
    box: np.ndarray  # `(4,)` float32 xywh, normalised to the search crop; it may stick out
    number: int  # of the sample in its epoch
    source: str  # where its frames came from, for messages
    redraws: int = 0  # draws before this one that gave no sample
    broken: tuple[str, ...] = ()  # what was wrong with those of them that hit a broken file
    # `(N, 4)` as `box`, the boxes before, oldest first, NaN where one is not known; None: not asked
    history: np.ndarray | None = None


@dataclass(frozen=True)
class Variation:
    """The random numbers of one sample of N frames."""

    grey: bool  # all images become grey
    mirrored: bool  # all images and boxes are mirrored
    normal: np.ndarray  # `(N, 2)`, for the log size of the jittered box
    uniform: np.ndarray  # `(N, 2)` in [0, 1), for its centre
    brightness: np.ndarray  # `(N,)` factors
    flips: np.ndarray  # `(N,)` bool, whether a crop is mirrored
    stretch: float = 1.0  # all images are stretched by it, width against height
    past: PastNoise | None = None  # where the network reads boxes of the frames before


class DecodedFrame(NamedTuple):
    """A decoded frame `(H, W, 3)`, `shrink` pixels of the file to one along each axis, and the box
    `(4,)` float64 xywh in pixels of the file."""

    image: np.ndarray
    shrink: int
    box: np.ndarray


@dataclass(frozen=True)
class TrainingTransform:
    """The crops of a sample as section DATA of a configuration wants them.

    `history` is MODEL.HISTORY.
    """

    data: Data
    history: int = 0

    def vary(self, rng: np.random.Generator, frames: int) -> Variation:
        grey, mirrored = rng.random() < self.data.gray, rng.random() < _JOINT_FLIP
        jitter = [(rng.standard_normal(2), rng.random(2)) for _ in range(frames)]
        spread = self.data.brightness
        return Variation(
            grey=grey,
            mirrored=mirrored,
            normal=np.stack([normal for normal, _ in jitter]),
            uniform=np.stack([uniform for _, uniform in jitter]),
            brightness=rng.uniform(1 - spread, 1 + spread, frames),
            flips=rng.random(frames) < self.data.flip,
            stretch=self._stretch(rng),
            past=draw_noise(rng, self.data.history, self.history) if self.history else None,
        )

    def _stretch(self, rng: np.random.Generator) -> float:
        if not self.data.stretch:
            return 1.0
        return float(np.exp(self.data.stretch * np.clip(rng.standard_normal(), -2, 2)))

    def apply(self, draw: FrameSample, variation: Variation, number: int = 0) -> TrainingSample:
        """Make the sample that `variation` decides, from templates and search frame.

        Raises:
            DataError: a file of the draw cannot be decoded; the message names it.
            UnusableSampleError: a box has no area, or its crop would be smaller than a pixel or
                miss the image.
        """
        last = len(draw.sightings) - 1
        pixels, boxes, history = [], [], np.zeros((0, 4), np.float32)
        before = draw.before if variation.past else None
        for i, frame in enumerate(self.frames(draw, variation)):
            try:
                past = before if i == last else None
                crop, box, history = self._cut(frame, self._rule(i, last), variation, i, past)
            except DataError as error:
                raise UnusableSampleError(f"{draw.source}: {error}") from None
            pixels.append(crop)
            boxes.append(box)
        return TrainingSample(
            templates=np.stack(pixels[:last]),
            search=pixels[last],
            template_boxes=np.stack(boxes[:last]),
            box=boxes[last],
            history=history if variation.past else None,
            number=number,
            source=draw.source,
        )

    def frames(self, draw: FrameSample, variation: Variation) -> list[DecodedFrame]:
        """The frames of a draw, those that are files decoded as small as their crops allow.

        A file that is used more than once is decoded once, for the crop that needs most of it.

        Raises:
            DataError: a file cannot be decoded; the message names it.
        """
        last = len(draw.sightings) - 1
        shrinks: dict[EncodedImage, int] = {}
        for i, (image, box) in enumerate(draw.sightings):
            if isinstance(image, EncodedImage):
                shrink = largest_shrink(box, variation.normal[i], self._rule(i, last))
                shrinks[image] = min(shrink, shrinks.get(image, shrink))
        decoded = {image: image.decode(shrink) for image, shrink in shrinks.items()}
        return [
            DecodedFrame(*decoded[image], box)
            if isinstance(image, EncodedImage)
            else DecodedFrame(image, 1, box)
            for image, box in draw.sightings
        ]

    def _cut(
        self,
        frame: DecodedFrame,
        rule: SearchSampling | TemplateSampling,
        variation: Variation,
        i: int,
        before: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop `(S, S, 3)` uint8 of frame `i`, its box `(4,)` and those before `(N, 4)` in it."""
        image, boxes = _changed_image(frame, variation, before)
        box, path, shrink = boxes[0], boxes[1:], frame.shrink
        # Where the frame before does not show the target, the history ends with it.
        known = len(path) > 0 and np.isfinite(path[-1]).all()
        numbers = variation.normal[i], variation.uniform[i]
        jitters = rule.center_jitter, rule.scale_jitter, rule.center_power
        around = jitter_box(path[-1] if known else box, *numbers, *jitters)
        crop = crop_square(image, (around / shrink).tolist(), rule.factor, rule.size)
        if known and variation.past:
            path = past_boxes(path, around, variation.past, self.data.history.jitter)
        else:
            path = np.full_like(path, np.nan)
        found = box_in_crop(np.concatenate([box[None], path]) / shrink, crop)
        pixels = _brighten(crop.pixels, variation.brightness[i])
        if variation.flips[i]:
            pixels = cv2.flip(pixels, 1)
            found[:, 0] = 1 - found[:, 0] - found[:, 2]
        return pixels, found[0], found[1:]

    def _rule(self, i: int, last: int) -> SearchSampling | TemplateSampling:
        return self.data.search if i == last else self.data.template


def largest_shrink(
    box: np.ndarray, normal: np.ndarray, rule: SearchSampling | TemplateSampling
) -> int:
    """By which of `JPEG_SHRINKS` a frame can be smaller while its crop has no less pixels.

    Box and random numbers are those of `jitter_box`; 1 for a box without area.
    """
    if not _has_area(box):
        return 1
    side = rule.factor * np.sqrt(box[2:].prod()) * np.exp(rule.scale_jitter * normal.mean())
    return max(shrink for shrink in JPEG_SHRINKS if shrink == 1 or side >= shrink * rule.size)


def jitter_box(
    box: np.ndarray,
    normal: np.ndarray,
    uniform: np.ndarray,
    centre: float,
    scale: float,
    power: float = 1.0,
) -> np.ndarray:
    """A box that is off by chance, `(4,)` float32 xywh, in single precision like the reference.

    Args:
        box: `(4,)` xywh.
        normal: `(2,)`, decides the log size.
        uniform: `(2,)` in [0, 1), decides the centre.
        centre: range of the centre, in units of `sqrt(w * h)` of the new size.
        scale: standard deviation of the log size.
        power: what the shift, as a share of its range, is raised to.
    """
    left_top, size = np.split(box.astype(np.float32), 2)
    new_size = size * np.exp(np.float32(scale) * normal.astype(np.float32))
    reach = np.sqrt(new_size.prod()) * np.float32(centre)
    shift = uniform.astype(np.float32) - np.float32(0.5)
    if power != 1:
        shift *= np.abs(2 * shift) ** np.float32(power - 1)
    new_centre = left_top + size / 2 + reach * shift
    return np.concatenate([new_centre - new_size / 2, new_size])


def _changed_image(
    frame: DecodedFrame, variation: Variation, before: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The image of a frame, grey, stretched or mirrored, and with it the boxes `(1 + N, 4)`: its
    own, then those before."""
    image, shrink, box = frame
    if not _has_area(box):
        raise DataError(f"the box {box.tolist()} has no area")
    boxes = box[None] if before is None else np.concatenate([box[None], before])
    if variation.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if variation.stretch != 1:
        wide, high = variation.stretch**0.5, variation.stretch**-0.5
        image = cv2.resize(image, None, fx=wide, fy=high, interpolation=cv2.INTER_LINEAR)
        boxes = boxes * [wide, high, wide, high]
    if variation.mirrored:
        # Not a view: one that runs backwards is copied pixel by pixel when it is cut.
        image = cv2.flip(image, 1)
        left = image.shape[1] * shrink - 1 - boxes[:, 0] - boxes[:, 2]
        boxes = np.concatenate([left[:, None], boxes[:, 1:]], axis=1)
    return image, boxes


def _has_area(box: np.ndarray) -> bool:
    return bool(np.isfinite(box).all() and (box[2:] > 0).all())


def _brighten(pixels: np.ndarray, factor: float) -> np.ndarray:
    levels = np.rint(np.arange(256) * factor).clip(0, 255).astype(np.uint8)
    return cv2.LUT(pixels, levels)
