"""Pictures of a planned scene: any frame by its number, without its predecessors."""

import math

import cv2
import numpy as np

from lib.synthetic.video.bodies import Materials
from lib.synthetic.video.layers import WAVE_NUMBER, Layer
from lib.synthetic.video.motion import waver
from lib.synthetic.video.scene import Scene
from lib.synthetic.video.textures import value_noise

_WORLD = 2.2  # side of the backdrop relative to the frame; mirrored beyond
_NOISE_PAD = 64  # the noise picture is shifted by up to this much from frame to frame
_NOISE_DEVIATION = 32
_LONGEST_STREAK = 21


def motion_blur_kernel(velocity: np.ndarray, shutter: float) -> np.ndarray | None:
    """Kernel of the motion blur of something that moves by `velocity` pixels a frame, or None."""
    reach = shutter * velocity
    span = math.hypot(*reach.tolist())
    if span < 1.2:
        return None
    reach = reach * min(1.0, _LONGEST_STREAK / span)
    radius = math.ceil(float(np.abs(reach).max()) / 2)
    kernel = np.zeros((2 * radius + 3, 2 * radius + 3), np.float32)
    for share in np.linspace(-0.5, 0.5, 2 * radius + 3):
        x, y = share * reach + radius + 1
        column, row = math.floor(x), math.floor(y)
        u, v = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer([1 - v, v], [1 - u, u])
    return kernel / kernel.sum()


def pixel_matrix(matrix: np.ndarray) -> np.ndarray:
    """OpenCV's form `(2, 3)` of a matrix: it counts from pixel centres, we from their corners."""
    shifted = matrix[:2].copy()
    shifted[:, 2] += matrix[:2, :2] @ (0.5, 0.5) - 0.5
    return shifted


def _velocity(positions: np.ndarray, frame: int) -> np.ndarray:
    """Central difference of `(T, 2)` positions at a frame."""
    before, after = max(0, frame - 1), min(len(positions) - 1, frame + 1)
    return (positions[after] - positions[before]) / max(1, after - before)


class Renderer:
    """Draws the frames of a scene; holds its backdrop, noise and light.

    Args:
        looks: generator for the backdrop.
        light: generator for lighting, shadows and noise.
    """

    def __init__(
        self,
        scene: Scene,
        materials: Materials,
        looks: np.random.Generator,
        light: np.random.Generator,
    ) -> None:
        self.scene = scene
        spec = scene.spec
        width, height = spec.size
        world_w, world_h = round(_WORLD * width), round(_WORLD * height)
        self.backdrop = materials.backdrop(looks, world_w, world_h)
        self.gain = np.exp(waver(light, spec.length, 0.5 * spec.lighting, 28))
        self.gamma = np.exp(waver(light, spec.length, 0.28 * spec.lighting, 28))
        self.tint = np.exp([waver(light, spec.length, 0.1 * spec.lighting, 40) for _ in range(3)])
        self.defocus = spec.defocus * np.abs(waver(light, spec.length, 1.0, 22))
        dark = value_noise(light, world_h // 2, world_w // 2, width / 5, 2)
        dark = 0.5 + 0.5 * np.tanh(9 * (dark - 0.52))
        self.shade = (255 * (1 - 0.65 * spec.shadow * dark)).astype(np.uint8)
        grain = light.standard_normal((height + _NOISE_PAD, width + _NOISE_PAD, 3), np.float32)
        self.noise = np.clip(128 + _NOISE_DEVIATION * grain, 0, 255).astype(np.uint8)
        self.shift = light.integers(0, _NOISE_PAD, (spec.length, 2))
        aim = np.array([width / 2, height / 2, 1])
        world = np.linalg.inv(scene.cameras) @ aim
        # Where the world point now at the frame's centre is in each frame, relative to it.
        self._drift = [scene.cameras[:, :2] @ point for point in world]

    def draw(self, frame: int) -> np.ndarray:
        """Frame `frame` as uint8 RGB `(H, W, 3)`."""
        spec = self.scene.spec
        image = self._background(frame)
        for layer in self.scene.layers:
            moving = _velocity(layer.centers, frame)
            draw_layer(image, layer, frame, motion_blur_kernel(moving, spec.motion_blur))
        if spec.shadow > 0:
            factor = self._world_picture(self.shade, frame)
            image = cv2.multiply(image, cv2.merge([factor] * 3), scale=1 / 255)
        if self.defocus[frame] > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), float(self.defocus[frame]))
        image = self._light(image, frame)
        row, column = self.shift[frame]
        noise = self.noise[row : row + spec.size[1], column : column + spec.size[0]]
        strength = spec.noise / _NOISE_DEVIATION
        return cv2.addWeighted(image, 1, noise, strength, -128 * strength)

    def _world_picture(self, picture: np.ndarray, frame: int) -> np.ndarray:
        """A picture of the world, of any resolution, seen by the camera of a frame."""
        size = self.scene.spec.size
        rows, columns = picture.shape[:2]
        world_w, world_h = _WORLD * size[0], _WORLD * size[1]
        place = np.array(
            [[world_w / columns, 0, -world_w / 2], [0, world_h / rows, -world_h / 2], [0, 0, 1]]
        )
        matrix = pixel_matrix(self.scene.cameras[frame] @ place)
        return cv2.warpAffine(
            picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )

    def _background(self, frame: int) -> np.ndarray:
        image = self._world_picture(self.backdrop, frame)
        kernel = motion_blur_kernel(
            _velocity(self._drift[frame], frame), self.scene.spec.motion_blur
        )
        return image if kernel is None else cv2.filter2D(image, -1, kernel)

    def _light(self, image: np.ndarray, frame: int) -> np.ndarray:
        if self.scene.spec.lighting == 0:
            return image
        grey = (np.arange(256) / 255) ** self.gamma[frame]
        curves = 255 * self.gain[frame] * grey[:, None] * self.tint[:, frame]
        return cv2.LUT(image, np.clip(np.rint(curves), 0, 255).astype(np.uint8)[None])


def draw_layer(image: np.ndarray, layer: Layer, frame: int, kernel: np.ndarray | None) -> None:
    """Blend one layer into the image, in place; `kernel` is its motion blur."""
    height, width = image.shape[:2]
    left, top, right, bottom = layer.bounds[frame].tolist()
    if left > width or top > height or right < 0 or bottom < 0:
        return
    edge = 0 if kernel is None else kernel.shape[0] // 2
    x0, y0 = max(0, math.floor(left) - edge - 1), max(0, math.floor(top) - edge - 1)
    x1 = min(width, math.ceil(right) + edge + 1)
    y1 = min(height, math.ceil(bottom) + edge + 1)
    if x1 <= x0 or y1 <= y0:
        return
    # Blurring needs what lies just outside of the frame too.
    patch = _warp(layer, frame, (x0 - edge, y0 - edge, x1 + edge, y1 + edge))
    if kernel is not None:
        patch = cv2.filter2D(patch, -1, kernel)[edge:-edge, edge:-edge]
    red, green, blue, alpha = cv2.split(patch)
    clear = cv2.merge([255 - alpha] * 3)
    window = image[y0:y1, x0:x1]
    under = cv2.multiply(np.ascontiguousarray(window), clear, scale=1 / 255)
    window[...] = cv2.add(under, cv2.merge([red, green, blue]))


def _warp(layer: Layer, frame: int, window: tuple[int, int, int, int]) -> np.ndarray:
    """The sprite as it lies in a window (left, top, right, bottom) of the frame, RGBA uint8."""
    x0, y0, x1, y1 = window
    pose = layer.poses[frame].copy()
    pose[:2, 2] -= (x0, y0)
    (a, b), (c, d) = pose[:2, :2].tolist()
    magnification = math.sqrt(abs(a * d - b * c))
    level = min(len(layer.sprite.levels) - 1, max(0, math.floor(-math.log2(magnification + 1e-9))))
    picture = layer.sprite.levels[level]
    pose[:2, :2] *= 2**level
    if not layer.bent:
        return cv2.warpAffine(picture, pixel_matrix(pose), (x1 - x0, y1 - y0))
    half = np.float32(picture.shape[0] / 2)
    inverse = (np.linalg.inv(pose)[:2] / half).astype(np.float32)
    x = np.arange(x1 - x0, dtype=np.float32) + np.float32(0.5)
    y = np.arange(y1 - y0, dtype=np.float32)[:, None] + np.float32(0.5)
    u = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] - 1
    v = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] - 1
    across, along, phase = (np.float32(value) for value in layer.waves[frame])
    wave_u = u + across * np.sin(WAVE_NUMBER * v + phase)
    wave_v = v + along * np.sin(WAVE_NUMBER * u + np.float32(1.3) * phase)
    shift = half - np.float32(0.5)
    return cv2.remap(picture, half * wave_u + shift, half * wave_v + shift, cv2.INTER_LINEAR)
