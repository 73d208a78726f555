"""Pairs of an object before a background, or of a place in a photograph, among other things."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from lib.synthetic.pairs.photographs import Photographs
from lib.synthetic.pairs.views import SceneViews, ViewLayout, cut_to_world, look_at
from lib.synthetic.video.bodies import Body, look_alike
from lib.synthetic.video.layers import Layer, animate, framed_boxes, rim_points
from lib.synthetic.video.motion import similarity
from lib.synthetic.video.occluders import body_reach

_CLEAR_TEMPLATE, _CLEAR_SEARCH = 0.8, 0.45  # shares of the target that nothing may cover


@dataclass(frozen=True)
class MotionConfig:
    """How the objects of a kind of pair move; angles in degrees, at full strength."""

    turning: tuple[float, float]  # range of the rotation, to either side
    wide: float  # chance of a rotation by up to `turned`
    turned: float
    zoom: tuple[float, float]  # range of the backdrop's magnification
    similar: float  # share of the distractors that are the target in another colour
    mirror: float  # chance that a frame shows the target mirrored


CUTOUT = MotionConfig((3, 15), 0.2, 60, (0.5, 1.3), 0.25, 0.05)
# As `draw_spec` has it; nothing of generated video is mirrored.
GENERATED = MotionConfig((5, 25), 0.35, 130, (0.7, 1.5), 0.75, 0.0)


class AssetPool(Protocol):
    """What these pairs are made of."""

    motion: MotionConfig

    def backdrop(self, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], str]:
        """A picture in full, half, … size, and its name."""

    def body(self, rng: np.random.Generator) -> tuple[Body, bool]:
        """An object, and whether it stays upright."""

    def occluder(self, rng: np.random.Generator) -> Body:
        """Something to hide a part of the target."""


def _still(views: int) -> np.ndarray:
    return np.zeros((views, 3))


def _bystander(
    rng: np.random.Generator, scene: SceneViews, body: Body, near: float = 0.9
) -> tuple[Layer, ...]:
    """Layers of something about the target: at rest in the world, or on its own in each frame."""
    layout = scene.layout
    views = len(layout)
    angle = np.deg2rad(rng.normal(0, 8)) + np.zeros(views)
    size = float(np.exp(np.clip(rng.normal(0, 0.3), -0.7, 0.6)))
    away = rng.uniform(0, 2 * np.pi, views)
    far = rng.uniform(near, 3.6, views) * layout.spans
    spots = layout.middles + far[:, None] * np.stack([np.cos(away), np.sin(away)], axis=1)
    poses = similarity(spots, 0.5 * size * layout.spans, angle)
    if rng.random() < 0.6:
        poses = scene.cameras @ np.linalg.inv(scene.cameras[-1]) @ poses[-1]
    stride = rng.uniform(0, 2 * np.pi, views)
    return animate(body, poses, stride, _still(views))


def _occluder(rng: np.random.Generator, scene: SceneViews, body: Body) -> tuple[Layer, ...]:
    """Layers of something that hides a part of the target in the search frame only."""
    layout = scene.layout
    views = len(layout)
    center, half = scene.boxes[-1, :2] + scene.boxes[-1, 2:] / 2, scene.boxes[-1, 2:] / 2
    scale = layout.spans * rng.uniform(0.3, 0.65)
    reach = body_reach(body) * scale[-1]
    side = np.zeros(2)
    axis = int(rng.integers(2))
    side[axis] = rng.choice([-1, 1])
    overlap = 2 * half[axis] * rng.uniform(0.15, 0.5)
    away = rng.uniform(0, 2 * np.pi, views)
    far = rng.uniform(2, 3.5, views) * layout.spans
    spots = layout.middles + far[:, None] * np.stack([np.cos(away), np.sin(away)], axis=1)
    spots[-1] = center + side * (half + reach - overlap)
    spots[-1, 1 - axis] += rng.uniform(-0.5, 0.5) * half[1 - axis]
    poses = similarity(spots, scale, np.deg2rad(rng.normal(0, 10)) + np.zeros(views))
    return animate(body, poses, rng.uniform(0, 2 * np.pi, views), _still(views))


def _target_points(scene: SceneViews) -> tuple[np.ndarray, np.ndarray]:
    """Points `(V, N, 2)` on the target in every frame, and their weights `(N,)`."""
    if not scene.target:
        grid = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) / 8] * 2), axis=-1).reshape(-1, 2)
        return scene.boxes[:, None, :2] + grid * scene.boxes[:, None, 2:], np.full(64, 1 / 64)
    points = [layer.to_frame(layer.sprite.core) for layer in scene.target]
    weights = np.concatenate([
        np.full(len(layer.sprite.core), abs(np.linalg.det(layer.poses[0, :2, :2])))
        for layer in scene.target
    ])  # fmt: skip
    return np.concatenate(points, axis=1), weights / weights.sum()


def _before(scene: SceneViews, groups: Sequence[tuple[Layer, ...]]) -> SceneViews:
    """The scene with those of the things in front of the target that leave enough of it."""
    if not groups:
        return scene
    points, weights = _target_points(scene)
    low, high = points.min(axis=1), points.max(axis=1)
    least = np.full(len(points), _CLEAR_TEMPLATE)
    least[-1] = _CLEAR_SEARCH
    clear = np.ones(points.shape[:2])
    front = list(scene.front)
    for group in groups:
        left = clear
        for layer in group:
            bounds = layer.bounds
            if ((bounds[:, :2] < high) & (bounds[:, 2:] > low)).all(axis=1).any():
                left = left * (1 - layer.opacity_at(points))
        if (left @ weights >= least).all():
            clear = left
            front += group
    return replace(scene, front=tuple(front))


def add_bystanders(
    rng: np.random.Generator, scene: SceneViews, bodies: Sequence[Body]
) -> SceneViews:
    """The scene with other things before it, near the target and partly over it."""
    return _before(scene, [_bystander(rng, scene, body, near=0.5) for body in bodies])


def _paths(
    rng: np.random.Generator,
    size: tuple[int, int],
    layout: ViewLayout,
    zoom: np.ndarray,
    strength: float,
) -> np.ndarray:
    """Where the target is in the world in each frame, `(V, 2)`: about one place, or anywhere."""
    world = np.asarray(size, np.float64)
    room = np.minimum(0.45 * world, 0.5 * max(layout.sizes[-1]) / zoom[-1])
    home = rng.uniform(room, world - room)
    near = rng.normal(0, 0.8, (len(layout), 2)) * (layout.spans / zoom)[:, None]
    points = np.clip(home + near, 0.1 * world, 0.9 * world)
    for view in range(1, len(layout)):
        if rng.random() < 0.5 * strength:
            points[view] = rng.uniform(room, world - room)
    return points


def _target_layers(
    rng: np.random.Generator,
    body: Body,
    upright: bool,
    layout: ViewLayout,
    motion: MotionConfig,
    roll: np.ndarray,
    strength: float,
) -> tuple[Layer, ...]:
    views = len(layout)
    turning = rng.uniform(*motion.turning)
    if rng.random() < motion.wide:
        turning += rng.uniform(0.15, 1) * motion.turned
    turning = np.deg2rad(min(turning, 20.0) if upright else turning)
    angle = strength * turning * rng.uniform(-1, 1, views) + roll
    bending = strength * float(rng.uniform(0.2, 1)) if rng.random() < 0.7 else 0.0
    squeeze = np.exp(-0.4 * bending * np.abs(rng.uniform(-1, 1, views)))
    squeeze *= np.exp(0.08 * strength * rng.standard_normal(views))
    poses = similarity(layout.middles, layout.spans / 2, angle, squeeze)
    lean = np.tile(np.eye(3), (views, 1, 1))
    lean[:, 0, 1] = 0.08 * strength * np.clip(rng.standard_normal(views), -2, 2)
    lean[rng.random(views) < motion.mirror * strength, 0, 0] = -1
    waves = np.concatenate(
        [0.14 * bending * rng.uniform(-1, 1, (views, 2)), rng.uniform(0, 2 * np.pi, (views, 1))],
        axis=1,
    )
    return animate(body, poses @ lean, rng.uniform(0, 2 * np.pi, views), waves)


def _tight_boxes(target: tuple[Layer, ...], sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    rim = rim_points(target)
    low, high = rim.min(axis=1), rim.max(axis=1)
    boxes = np.concatenate([low, high - low], axis=1)
    for view, size in enumerate(sizes):
        if low[view].min() < 0 or (high[view] > size).any():
            boxes[view] = framed_boxes(rim[view : view + 1], size)[0]
    return boxes


def body_views(
    rng: np.random.Generator, assets: AssetPool, layout: ViewLayout, strength: float
) -> tuple[SceneViews, str]:
    """An object before a backdrop.

    Returns:
        the scene, and what it is called in messages.
    """
    motion, views = assets.motion, len(layout)
    backdrop, name = assets.backdrop(rng)
    height, width = backdrop[0].shape[:2]
    zoom = np.exp(rng.uniform(*np.log(motion.zoom)) + 0.12 * strength * rng.standard_normal(views))
    # A frame that shows much more than there is would show mirror images.
    zoom = np.maximum(zoom, max(layout.sizes[-1]) / (1.2 * min(width, height)))
    roll = np.deg2rad(4 * strength) * rng.standard_normal(views)
    points = _paths(rng, (width, height), layout, zoom, strength)
    cameras = look_at(points, layout.middles, zoom, roll, np.ones(views))
    layout, cameras = cut_to_world(layout, cameras, (width, height))
    body, upright = assets.body(rng)
    target = _target_layers(rng, body, upright, layout, motion, roll, strength)
    scene = SceneViews(
        backdrop=backdrop,
        layout=layout,
        cameras=cameras,
        behind=(),
        target=target,
        front=(),
        boxes=_tight_boxes(target, layout.sizes),
    )
    behind: list[Layer] = []
    front = []
    for _ in range(rng.integers(0, 5)):
        other = look_alike(rng, body) if rng.random() < motion.similar else assets.body(rng)[0]
        layers = _bystander(rng, scene, other)
        if rng.random() < 1 / 3:
            front.append(layers)
        else:
            behind += layers
    if rng.random() < 0.1 + 0.2 * strength:
        front.append(_occluder(rng, scene, assets.occluder(rng)))
    return _before(replace(scene, behind=tuple(behind)), front), name


_SIDES = (16.0, 84.0)  # of random places, world pixels
_LARGEST = 120.0  # root of the area of an object; around larger ones too little would be seen
_TEXTURE = 13.0  # grey levels: standard deviation in a place that can be recognised
_ATTEMPTS = 8


def _draw_place(rng: np.random.Generator, photographs: Photographs, index: int) -> np.ndarray:
    """A box xywh in photograph `index`: that of an object, or any with some texture."""
    found = [c for c in photographs.cutouts(index) if c.box[2] * c.box[3] < _LARGEST**2]
    if found and rng.random() < 0.5:
        return np.array(found[int(rng.integers(len(found)))].box, np.float64)
    picture = photographs.levels(index)[0]
    height, width = picture.shape[:2]
    box = np.zeros(4)
    for _ in range(_ATTEMPTS):
        side = np.exp(rng.uniform(*np.log(_SIDES)))
        aspect = np.exp(0.4 * rng.standard_normal())
        w = min(side * aspect**0.5, 0.6 * width)
        h = min(side * aspect**-0.5, 0.6 * height)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        box = np.array([x, y, w, h])
        inside = picture[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1]
        if cv2.meanStdDev(inside)[1].mean() > _TEXTURE:
            break
    return box


def patch_views(
    rng: np.random.Generator, photographs: Photographs, layout: ViewLayout, strength: float
) -> tuple[SceneViews, str]:
    """Views of one place, with other things pasted in some of them.

    Returns:
        the scene, and what it is called in messages.
    """
    views = len(layout)
    index = photographs.draw(rng)
    x, y, w, h = _draw_place(rng, photographs, index)
    center = np.array([x + w / 2, y + h / 2])
    zoom = layout.spans / np.sqrt(w * h)
    roll = np.deg2rad(6 * strength) * np.clip(rng.standard_normal(views), -2, 2)
    stretch = np.exp(0.14 * strength * np.clip(rng.standard_normal(views), -2.5, 2.5))
    points = np.broadcast_to(center, (views, 2))
    cameras = look_at(points, layout.middles, zoom, roll, stretch)
    # A rolled place is no upright box; its sides are kept, as annotators of small turns do.
    sizes = np.stack([zoom * stretch**0.5 * w, zoom * stretch**-0.5 * h], axis=1)
    layout, cameras = cut_to_world(layout, cameras, photographs.size(index))
    limit = np.asarray(layout.sizes, np.float64)
    low = np.clip(layout.middles - sizes / 2, 0, limit)
    high = np.clip(layout.middles + sizes / 2, 0, limit)
    boxes = np.concatenate([low, high - low], axis=1)
    scene = SceneViews(
        backdrop=photographs.levels(index),
        layout=layout,
        cameras=cameras,
        behind=(),
        target=(),
        front=(),
        boxes=boxes,
    )
    if rng.random() < 0.3:
        others = [photographs.draw_body(rng) for _ in range(rng.integers(1, 4))]
        scene = add_bystanders(rng, scene, others)
    return scene, f"two views of {photographs.names[index]}"
