"""A sprite in motion, and what follows from geometry alone: box and coverage in every frame."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.synthetic.video.bodies import Body, Sprite
from lib.synthetic.video.motion import about, apply, similarity

WAVE_NUMBER = 2.4  # radians of the bending wave per half sprite
_SPACING = 4.0  # pixels; contour points are closer to each other than this
HIDDEN_SHARE = 0.1  # a target of which less is uncovered and inside the frame counts as absent


@dataclass(frozen=True, eq=False)
class Layer:
    """One sprite over all frames."""

    sprite: Sprite
    poses: np.ndarray  # `(T, 3, 3)` matrices from sprite pixels (level 0) to frame pixels
    # `(T, 3)` amplitudes in x and y (in half sprites) and phase of the bending wave
    waves: np.ndarray

    def during(self, frames: slice | np.ndarray) -> "Layer":
        """The same layer in some of its frames only."""
        return Layer(self.sprite, self.poses[frames], self.waves[frames])

    @cached_property
    def bent(self) -> bool:
        """Whether any frame bends the sprite."""
        return bool(self.waves[:, :2].any())

    @cached_property
    def centers(self) -> np.ndarray:
        """Where the middle of the sprite lies, `(T, 2)`."""
        middle = self.sprite.side / 2
        return self.poses[:, :2] @ (middle, middle, 1)

    @cached_property
    def bounds(self) -> np.ndarray:
        """Corners `(T, 4)` of a box that nothing of the sprite lies outside of."""
        # Bent sprites reach beyond their square by the amplitude of the wave.
        room = self.sprite.side * (0.5 + np.abs(self.waves[:, :2]).max(axis=1))
        reach = room[:, None] * np.abs(self.poses[:, :2, :2]).sum(axis=2)
        return np.concatenate([self.centers - reach, self.centers + reach], axis=1)

    def bend(self, points: np.ndarray) -> np.ndarray:
        """Displacement `e`, so that a flat point `q` shows the sprite at `q + e(q)`.

        Args:
            points: `(T, N, 2)` in units of half a sprite, -1..1.
        """
        amplitude, phase = self.waves[:, None, :2], self.waves[:, None, 2]
        across = np.sin(WAVE_NUMBER * points[..., 1] + phase)
        along = np.sin(WAVE_NUMBER * points[..., 0] + 1.3 * phase)
        return amplitude * np.stack([across, along], axis=-1)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Where points `(N, 2)` of the sprite lie in every frame, `(T, N, 2)`."""
        half = self.sprite.side / 2
        target = np.broadcast_to(points / half - 1, (len(self.poses), *points.shape))
        flat = target
        if self.bent:
            # The bend is given from flat to sprite; it contracts, so iteration inverts it.
            for _ in range(5):
                flat = target - self.bend(flat)
        return apply(self.poses, (flat + 1) * half)

    def opacity_at(self, points: np.ndarray) -> np.ndarray:
        """Alpha 0..1 of this layer at frame points `(T, N, 2)`, as `(T, N)`."""
        side = self.sprite.side
        flat = 2 * apply(np.linalg.inv(self.poses), points) / side - 1
        flat = flat + self.bend(flat) if self.bent else flat
        pixel = np.floor((flat + 1) * (side / 2)).astype(int)
        inside = ((pixel >= 0) & (pixel < side)).all(axis=-1)
        pixel = np.clip(pixel, 0, side - 1)
        alpha = self.sprite.levels[0][pixel[..., 1], pixel[..., 0], 3]
        return np.where(inside, alpha / 255.0, 0.0)


def animate(
    body: Body, poses: np.ndarray, stride: np.ndarray, waves: np.ndarray
) -> tuple[Layer, ...]:
    """Layers of a body.

    Args:
        poses: `(T, 3, 3)` matrices from body units to frame pixels.
        stride: `(T,)` phase of the swinging limbs in radians.
        waves: `(T, 3)` as in `Layer`, for the parts that bend.
    """
    length = len(poses)
    layers = []
    for part in body.parts:
        swing = part.swing * np.sin(stride + part.beat)
        turn = about(similarity(np.zeros((length, 2)), np.ones(length), swing), part.pivot)
        bending = waves if part.bends else np.zeros((length, 3))
        layers.append(Layer(part.sprite, poses @ turn @ part.place, bending))
    return tuple(layers)


def rim_points(layers: tuple[Layer, ...]) -> np.ndarray:
    """Points `(T, N, 2)` on the contours of all layers, in frame pixels."""
    return np.concatenate([layer.to_frame(layer.sprite.rim) for layer in layers], axis=1)


def framed_boxes(rim: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Tight boxes `(T, 4)` xywh of what lies inside the frame of a contour `(T, N, 2)`.

    Where that is less than a pixel wide or high, the box of the frame before is repeated.
    """
    limit = np.asarray(size, np.float64)
    inside = np.asarray(((rim >= 0) & (rim <= limit)).all(axis=2))
    low = np.where(inside[:, :, None], rim, np.inf).min(axis=1)
    high = np.where(inside[:, :, None], rim, -np.inf).max(axis=1)
    # A contour that goes on beyond a border meets it between two of its points.
    low[(low < _SPACING) & (rim.min(axis=1) < 0)] = 0
    high = np.where((high > limit - _SPACING) & (rim.max(axis=1) > limit), limit, high)
    boxes = np.concatenate([low, high - low], axis=1)
    boxes[np.flatnonzero(inside.sum(axis=1) == 0)] = 0
    for frame in range(1, len(boxes)):
        if boxes[frame, 2:].min() < 1:
            boxes[frame] = boxes[frame - 1]
    return boxes


def visible_share(
    target: tuple[Layer, ...], above: tuple[Layer, ...], size: tuple[int, int]
) -> np.ndarray:
    """Share `(T,)` of the target that is inside the frame and not covered by layers above."""
    # Parts count by their area, whatever number of points their sprites have.
    points = [layer.to_frame(layer.sprite.core) for layer in target]
    weights = [
        np.full(len(layer.sprite.core), abs(np.linalg.det(layer.poses[0, :2, :2])))
        for layer in target
    ]
    every, weight = np.concatenate(points, axis=1), np.concatenate(weights)
    inside = ((every >= 0) & (every < np.asarray(size))).all(axis=2)
    clear = np.asarray(inside, np.float64)
    low, high = every.min(axis=1), every.max(axis=1)
    for layer in above:
        near = (layer.bounds[:, :2] < high).all(axis=1) & (layer.bounds[:, 2:] > low).all(axis=1)
        if near.any():
            clear[near] *= 1 - layer.during(near).opacity_at(every[near])
    return clear @ weight / weight.sum()
