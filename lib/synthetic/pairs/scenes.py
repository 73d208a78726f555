"""Pairs of an object before a background, with other things around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lib.synthetic.pairs.views import Framing, Shot, cut_to_world, look_at
from lib.synthetic.video.bodies import Body, look_alike
from lib.synthetic.video.layers import Layer, animate, framed_boxes, rim_points
from lib.synthetic.video.motion import similarity
from lib.synthetic.video.occluders import body_reach

_CLEAR_TEMPLATE, _CLEAR_SEARCH = 0.8, 0.45  # shares of the target that nothing may cover


@dataclass(frozen=True)
class Manner:
    """How the objects of a kind of pair move; angles in degrees, at full strength.

    Attributes:
        turning: range of the rotation, to either side.
        wide: chance of a rotation by up to `turned`.
        zoom: range of the backdrop's magnification.
        similar: share of the distractors that are the target in another colour.
        mirror: chance that a frame shows the target mirrored.
    """

    turning: tuple[float, float]
    wide: float
    turned: float
    zoom: tuple[float, float]
    similar: float
    mirror: float


CUTOUT = Manner((3, 15), 0.2, 60, (0.5, 1.3), 0.25, 0.05)
# As `draw_spec` has it; nothing of generated video is mirrored.
GENERATED = Manner((5, 25), 0.35, 130, (0.7, 1.5), 0.75, 0.0)


class Supply(Protocol):
    """What these pairs are made of."""

    manner: Manner

    def backdrop(self, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], str]:
        """A picture in full, half, … size, and its name."""
        ...

    def body(self, rng: np.random.Generator) -> tuple[Body, bool]:
        """An object, and whether it stays upright."""
        ...

    def occluder(self, rng: np.random.Generator) -> Body:
        """Something to hide a part of the target."""
        ...


def _still(views: int) -> np.ndarray:
    return np.zeros((views, 3))


def _bystander(
    rng: np.random.Generator, shot: Shot, body: Body, near: float = 0.9
) -> tuple[Layer, ...]:
    """Layers of something about the target: at rest in the world, or on its own in each frame."""
    framing = shot.framing
    views = len(framing)
    angle = np.deg2rad(rng.normal(0, 8)) + np.zeros(views)
    size = float(np.exp(np.clip(rng.normal(0, 0.3), -0.7, 0.6)))
    away = rng.uniform(0, 2 * np.pi, views)
    far = rng.uniform(near, 3.6, views) * framing.spans
    spots = framing.middles + far[:, None] * np.stack([np.cos(away), np.sin(away)], axis=1)
    poses = similarity(spots, 0.5 * size * framing.spans, angle)
    if rng.random() < 0.6:
        poses = shot.cameras @ np.linalg.inv(shot.cameras[-1]) @ poses[-1]
    stride = rng.uniform(0, 2 * np.pi, views)
    return animate(body, poses, stride, _still(views))


def _occluder(rng: np.random.Generator, shot: Shot, body: Body) -> tuple[Layer, ...]:
    """Layers of something that hides a part of the target in the search frame only."""
    framing = shot.framing
    views = len(framing)
    center, half = shot.boxes[-1, :2] + shot.boxes[-1, 2:] / 2, shot.boxes[-1, 2:] / 2
    scale = framing.spans * rng.uniform(0.3, 0.65)
    reach = body_reach(body) * scale[-1]
    side = np.zeros(2)
    axis = int(rng.integers(2))
    side[axis] = rng.choice([-1, 1])
    overlap = 2 * half[axis] * rng.uniform(0.15, 0.5)
    away = rng.uniform(0, 2 * np.pi, views)
    far = rng.uniform(2, 3.5, views) * framing.spans
    spots = framing.middles + far[:, None] * np.stack([np.cos(away), np.sin(away)], axis=1)
    spots[-1] = center + side * (half + reach - overlap)
    spots[-1, 1 - axis] += rng.uniform(-0.5, 0.5) * half[1 - axis]
    poses = similarity(spots, scale, np.deg2rad(rng.normal(0, 10)) + np.zeros(views))
    return animate(body, poses, rng.uniform(0, 2 * np.pi, views), _still(views))


def _target_points(shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """Points `(V, N, 2)` on the target in every frame, and their weights `(N,)`."""
    if not shot.target:
        grid = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) / 8] * 2), axis=-1).reshape(-1, 2)
        return shot.boxes[:, None, :2] + grid * shot.boxes[:, None, 2:], np.full(64, 1 / 64)
    points = [layer.to_frame(layer.sprite.core) for layer in shot.target]
    weights = np.concatenate([
        np.full(len(layer.sprite.core), abs(np.linalg.det(layer.poses[0, :2, :2])))
        for layer in shot.target
    ])  # fmt: skip
    return np.concatenate(points, axis=1), weights / weights.sum()


def _before(shot: Shot, groups: Sequence[tuple[Layer, ...]]) -> Shot:
    """The shot with those of the things in front of the target that leave enough of it."""
    if not groups:
        return shot
    points, weights = _target_points(shot)
    low, high = points.min(axis=1), points.max(axis=1)
    least = np.full(len(points), _CLEAR_TEMPLATE)
    least[-1] = _CLEAR_SEARCH
    clear = np.ones(points.shape[:2])
    front = list(shot.front)
    for group in groups:
        left = clear
        for layer in group:
            bounds = layer.bounds
            if ((bounds[:, :2] < high) & (bounds[:, 2:] > low)).all(axis=1).any():
                left = left * (1 - layer.opacity_at(points))
        if (left @ weights >= least).all():
            clear = left
            front += group
    return replace(shot, front=tuple(front))


def add_bystanders(rng: np.random.Generator, shot: Shot, bodies: Sequence[Body]) -> Shot:
    """The shot with other things before it, near the target and partly over it."""
    return _before(shot, [_bystander(rng, shot, body, near=0.5) for body in bodies])


def _paths(
    rng: np.random.Generator,
    size: tuple[int, int],
    framing: Framing,
    zoom: np.ndarray,
    strength: float,
) -> np.ndarray:
    """Where the target is in the world in each frame, `(V, 2)`: about one place, or anywhere."""
    world = np.asarray(size, np.float64)
    room = np.minimum(0.45 * world, 0.5 * max(framing.sizes[-1]) / zoom[-1])
    home = rng.uniform(room, world - room)
    near = rng.normal(0, 0.8, (len(framing), 2)) * (framing.spans / zoom)[:, None]
    points = np.clip(home + near, 0.1 * world, 0.9 * world)
    for view in range(1, len(framing)):
        if rng.random() < 0.5 * strength:
            points[view] = rng.uniform(room, world - room)
    return points


def _target_layers(
    rng: np.random.Generator,
    body: Body,
    upright: bool,
    framing: Framing,
    manner: Manner,
    roll: np.ndarray,
    strength: float,
) -> tuple[Layer, ...]:
    """The target in its poses."""
    views = len(framing)
    turning = rng.uniform(*manner.turning)
    if rng.random() < manner.wide:
        turning += rng.uniform(0.15, 1) * manner.turned
    turning = np.deg2rad(min(turning, 20.0) if upright else turning)
    angle = strength * turning * rng.uniform(-1, 1, views) + roll
    bending = strength * float(rng.uniform(0.2, 1)) if rng.random() < 0.7 else 0.0
    squeeze = np.exp(-0.4 * bending * np.abs(rng.uniform(-1, 1, views)))
    squeeze *= np.exp(0.08 * strength * rng.standard_normal(views))
    poses = similarity(framing.middles, framing.spans / 2, angle, squeeze)
    lean = np.tile(np.eye(3), (views, 1, 1))
    lean[:, 0, 1] = 0.08 * strength * np.clip(rng.standard_normal(views), -2, 2)
    lean[rng.random(views) < manner.mirror * strength, 0, 0] = -1
    waves = np.concatenate(
        [0.14 * bending * rng.uniform(-1, 1, (views, 2)), rng.uniform(0, 2 * np.pi, (views, 1))],
        axis=1,
    )
    return animate(body, poses @ lean, rng.uniform(0, 2 * np.pi, views), waves)


def _tight_boxes(target: tuple[Layer, ...], sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    """Boxes `(V, 4)` of what is inside of each frame."""
    rim = rim_points(target)
    low, high = rim.min(axis=1), rim.max(axis=1)
    boxes = np.concatenate([low, high - low], axis=1)
    for view, size in enumerate(sizes):
        if low[view].min() < 0 or (high[view] > size).any():
            boxes[view] = framed_boxes(rim[view : view + 1], size)[0]
    return boxes


def body_shot(
    rng: np.random.Generator, supply: Supply, framing: Framing, strength: float
) -> tuple[Shot, str]:
    """An object before a backdrop.

    Returns:
        the shot, and what it is called in messages.
    """
    manner, views = supply.manner, len(framing)
    backdrop, name = supply.backdrop(rng)
    height, width = backdrop[0].shape[:2]
    zoom = np.exp(rng.uniform(*np.log(manner.zoom)) + 0.12 * strength * rng.standard_normal(views))
    # A frame that shows much more than there is would show mirror images.
    zoom = np.maximum(zoom, max(framing.sizes[-1]) / (1.2 * min(width, height)))
    roll = np.deg2rad(4 * strength) * rng.standard_normal(views)
    points = _paths(rng, (width, height), framing, zoom, strength)
    cameras = look_at(points, framing.middles, zoom, roll, np.ones(views))
    framing, cameras = cut_to_world(framing, cameras, (width, height))
    body, upright = supply.body(rng)
    target = _target_layers(rng, body, upright, framing, manner, roll, strength)
    shot = Shot(
        backdrop=backdrop,
        framing=framing,
        cameras=cameras,
        behind=(),
        target=target,
        front=(),
        boxes=_tight_boxes(target, framing.sizes),
    )
    behind: list[Layer] = []
    front = []
    for _ in range(rng.integers(0, 5)):
        other = look_alike(rng, body) if rng.random() < manner.similar else supply.body(rng)[0]
        layers = _bystander(rng, shot, other)
        if rng.random() < 1 / 3:
            front.append(layers)
        else:
            behind += layers
    if rng.random() < 0.1 + 0.2 * strength:
        front.append(_occluder(rng, shot, supply.occluder(rng)))
    return _before(replace(shot, behind=tuple(behind)), front), name
