"""Changes of the crops of video, of which a small training has few: other light, other things."""

from dataclasses import replace

import cv2
import numpy as np

from lib.datasets.training.sample import BoxedFrame, EncodedImage
from lib.synthetic.pairs.photometric import PHOTO, PhotometricAugment, sample_motion_blur
from lib.train.data.transforms import TrainingSample
from lib.utils.crop import crop_square
from lib.utils.errors import DataError

_PASTED = 64  # pixels of the side of what is pasted, before it gets its size
_MARGIN = 1.15  # of its box that is cut out with it
_COVERED = 0.2  # share of the target that may be covered
_ATTEMPTS = 6


def changed(rng: np.random.Generator, sample: TrainingSample) -> TrainingSample:
    """The sample under other light, with other noise, blur and compression."""
    strength = float(rng.uniform(0.2, 1))
    changes = PhotometricAugment(rng, PHOTO, strength)

    def change(crop: np.ndarray, worse: float) -> np.ndarray:
        outside = ~crop.any(axis=2)
        blur = sample_motion_blur(rng, PHOTO.motion_blur, crop.shape[0] / 4, worse)
        for kernel in (blur.whole, blur.behind, blur.target):
            # Where the target is cannot be told from the rest: all of it is blurred.
            crop = crop if kernel is None else cv2.filter2D(crop, -1, kernel)
        crop = changes.apply(crop, worse)
        crop[outside] = 0
        return crop

    templates = np.stack([change(crop, 0.7 * strength) for crop in sample.templates])
    return replace(sample, templates=templates, search=change(sample.search, strength))


def with_distractors(
    rng: np.random.Generator, sample: TrainingSample, other: BoxedFrame
) -> TrainingSample:
    """The sample with another target in its search region, once or twice, beside its own.

    Args:
        rng: decides where, how large and how often.
        sample: is left as it is.
        other: a frame with the other target.
    """
    image, box = other
    shrink = 1
    if isinstance(image, EncodedImage):
        image, shrink = image.decode(1)
    x, y, w, h = np.asarray(box, np.float64) / shrink
    if not min(w, h) > 0:
        return sample
    try:
        # The square of a box of equal sides: its own shape is given back when it is pasted.
        cut = crop_square(image, (x, y, w, h), _MARGIN * max(w, h) / np.sqrt(w * h), _PASTED).pixels
    except DataError:
        return sample
    place = np.linspace(-1, 1, _PASTED)
    shape = np.hypot(*np.meshgrid(place * max(w, h) / w, place * max(w, h) / h))
    mask = np.clip((1.0 - shape) / 0.15, 0, 1).astype(np.float32)
    search, side = sample.search.copy(), sample.search.shape[0]
    target = sample.box * side
    size = np.sqrt(target[2] * target[3])
    for _ in range(int(rng.integers(1, 3))):
        for _ in range(_ATTEMPTS):
            span = size * max(w, h) / np.sqrt(w * h) * np.exp(0.3 * rng.standard_normal())
            span = int(np.clip(span, 8, side))
            left, top = rng.integers(-span // 3, side - 2 * span // 3, 2)
            if _overlap((left, top, span, span), target) <= _COVERED * target[2] * target[3]:
                _paste(search, cut, mask, int(left), int(top), span)
                break
    return replace(sample, search=search)


def _overlap(box: tuple[int, ...], target: np.ndarray) -> float:
    low = np.maximum(box[:2], target[:2])
    high = np.minimum(np.add(box[:2], box[2:]), target[:2] + target[2:])
    return float(np.clip(high - low, 0, None).prod())


def _paste(
    image: np.ndarray, cut: np.ndarray, mask: np.ndarray, left: int, top: int, span: int
) -> None:
    kind = cv2.INTER_AREA if span < _PASTED else cv2.INTER_LINEAR
    cut, mask = (cv2.resize(one, (span, span), interpolation=kind) for one in (cut, mask))
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + span, image.shape[1]), min(top + span, image.shape[0])
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    under = image[y0:y1, x0:x1]
    alpha = mask[inside][..., None] * (under.any(axis=2, keepdims=True))
    under[:] = np.rint(under + alpha * (cut[inside].astype(np.float32) - under)).astype(np.uint8)
