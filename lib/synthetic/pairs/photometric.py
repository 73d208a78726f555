"""How light, lens, sensor and compression change the frames of a training pair."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from lib.synthetic.video.render import motion_blur_kernel

_NOISE_SIDE = 640
_NOISE_DEVIATION = 32
_LONGEST_STREAK = 10.0  # pixels; longer ones take OpenCV several times as long


@dataclass(frozen=True)
class Conditions:
    """What frames go through at full strength; chances are per frame."""

    shared: float  # spread of the light that all frames of a pair have in common
    own: float  # spread of the light of single frames
    swap: float  # chance that all frames have their colour channels exchanged
    shadow: float  # chance of a smooth shadow
    motion_blur: float  # chance of motion blur
    defocus: float  # chance of lens blur
    coarse: float  # chance of a low resolution
    jpeg: float  # chance of compression
    noise: tuple[float, float]  # range of the sensor noise's standard deviation in grey levels


PHOTO = Conditions(1.0, 1.0, 0.05, 0.15, 0.3, 0.15, 0.2, 0.35, (0.0, 9.0))
# Photographs bring the noise and compression of their camera; generated pictures bring none, and
# the frames of generated video have the noise and blur that `draw_spec` gives them.
VIDEO = Conditions(0.5, 0.8, 0.02, 0.35, 0.35, 0.25, 0.08, 0.1, (1.0, 8.0))


@dataclass(frozen=True, eq=False)
class MotionBlur:
    """Motion blur of one frame: kernels for what is behind the target, the target, and all."""

    behind: np.ndarray | None = None
    target: np.ndarray | None = None
    whole: np.ndarray | None = None


def sample_motion_blur(
    rng: np.random.Generator, chance: float, span: float, strength: float
) -> MotionBlur:
    """Motion blur of a frame in which the target is `span` pixels large."""
    if rng.random() >= chance * (0.4 + 0.6 * strength):
        return MotionBlur()
    length = min(span * strength * rng.uniform(0.04, 0.3), _LONGEST_STREAK)
    angle = rng.uniform(0, 2 * np.pi)
    kernel = motion_blur_kernel(length * np.array([np.cos(angle), np.sin(angle)]), 1.0)
    # Either the camera shakes, or it follows the target, or the target alone is quick.
    what = rng.random()
    if what < 0.4:
        return MotionBlur(whole=kernel)
    return MotionBlur(behind=kernel) if what < 0.65 else MotionBlur(target=kernel)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(20))
    grain = rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3), np.float32)
    return np.clip(128 + _NOISE_DEVIATION * grain, 0, 255).astype(np.uint8)


def _draw_light(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Log gain, log gamma, log contrast, offset, and log tint of three channels."""
    scale = np.array([0.2, 0.16, 0.14, 0.03, 0.05, 0.05, 0.05])
    return np.clip(rng.standard_normal(7), -2.2, 2.2) * scale * spread


def _curves(light: np.ndarray) -> np.ndarray:
    """Look-up table uint8 `(1, 256, 3)` of light as `_draw_light` gives it."""
    gain, gamma, contrast = np.exp(light[:3])
    grey = (np.arange(256) / 255) ** gamma
    grey = gain * ((grey - 0.45) * contrast + 0.45) + light[3]
    curves = 255 * grey[:, None] * np.exp(light[4:])
    return np.clip(np.rint(curves), 0, 255).astype(np.uint8)[None]


def _shaded(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """The image under a smooth shadow with a fairly sharp edge."""
    height, width = image.shape[:2]
    coarse = rng.standard_normal((6, 6)).astype(np.float32)
    field = cv2.resize(coarse, (width // 4 + 1, height // 4 + 1), interpolation=cv2.INTER_CUBIC)
    dark = 0.5 + 0.5 * np.tanh(3 * (field - 0.3))
    factor = (255 * (1 - rng.uniform(0.15, 0.55) * strength * dark)).astype(np.uint8)
    factor = cv2.resize(factor, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge([factor] * 3), scale=1 / 255)


def _coarsened(image: np.ndarray, share: float) -> np.ndarray:
    """The image as if it had had `share` of its resolution."""
    height, width = image.shape[:2]
    small = (max(8, round(share * width)), max(8, round(share * height)))
    less = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(less, (width, height), interpolation=cv2.INTER_LINEAR)


def _noisy(rng: np.random.Generator, image: np.ndarray, deviation: float) -> np.ndarray:
    height, width = image.shape[:2]
    if deviation < 0.5:
        return image
    grain = _grain()
    if height > _NOISE_SIDE or width > _NOISE_SIDE:
        # Only very large frames: the pattern repeats, far from where anybody looks.
        grain = np.tile(grain, (height // _NOISE_SIDE + 1, width // _NOISE_SIDE + 1, 1))
    y = int(rng.integers(0, grain.shape[0] - height + 1))
    x = int(rng.integers(0, grain.shape[1] - width + 1))
    strength = deviation / _NOISE_DEVIATION
    window = grain[y : y + height, x : x + width]
    return cv2.addWeighted(image, 1, window, strength, -128 * strength)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)


class PhotometricAugment:
    """The changes of the frames of one pair: some in common, others of each frame.

    Args:
        strength: 0 (none) to 1.
    """

    def __init__(self, rng: np.random.Generator, conditions: Conditions, strength: float) -> None:
        self._rng = rng
        self._conditions = conditions
        self._light = _draw_light(rng, conditions.shared * (0.5 + 0.5 * strength))
        self._order = rng.permutation(3) if rng.random() < conditions.swap else None

    def apply(self, image: np.ndarray, strength: float) -> np.ndarray:
        """The next frame as it was recorded, uint8 RGB of the same shape."""
        rng, with_ = self._rng, self._conditions
        chance = 0.4 + 0.6 * strength
        if rng.random() < with_.shadow * chance:
            image = _shaded(rng, image, strength)
        if rng.random() < with_.defocus * chance:
            image = cv2.GaussianBlur(image, (0, 0), 0.4 + 1.1 * strength * rng.random())
        if rng.random() < with_.coarse * chance:
            image = _coarsened(image, 1 - (0.15 + 0.5 * strength) * rng.random())
        light = self._light + _draw_light(rng, with_.own * strength)
        image = cv2.LUT(image, _curves(light))
        if self._order is not None:
            image = np.ascontiguousarray(image[:, :, self._order])
        low, high = with_.noise
        image = _noisy(rng, image, low + (high - low) * rng.random() ** 2 * chance)
        if rng.random() < with_.jpeg * chance:
            image = _compressed(image, int(85 - 70 * strength * rng.random()))
        return image
