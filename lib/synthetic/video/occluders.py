"""Things that pass between camera and target at a planned time."""

from dataclasses import dataclass

import numpy as np

from lib.synthetic.video.bodies import Body
from lib.synthetic.video.layers import HIDDEN_SHARE, Layer, animate, visible_share
from lib.synthetic.video.motion import apply

_TRIES = 14
_SOON = 16  # frames before and after the planned time in which an occlusion is judged


@dataclass(frozen=True, eq=False)
class Stage:
    """What is fixed when occluders are placed."""

    target: tuple[Layer, ...]  # the layers of the target
    corners: np.ndarray  # `(T, 4)` left, top, right, bottom of the target's box, unclipped
    camera: np.ndarray  # `(T, 3, 3)` world to frame without hand shake
    shake: np.ndarray  # `(T, 3, 3)` hand shake
    size: tuple[int, int]  # width and height of the frame
    absence: float = 1.0  # how many times longer than usual something hides all of the target


def body_reach(body: Body) -> np.ndarray:
    """Half width and half height `(2,)` of a body at rest, in body units."""
    points = [p.sprite.rim @ p.place[:2, :2].T + p.place[:2, 2] for p in body.parts]
    return np.abs(np.concatenate(points)).max(axis=0)


def _world_velocity(
    time: int, corners: np.ndarray, camera: np.ndarray, direction: np.ndarray, speed: float
) -> np.ndarray:
    """Velocity `(2,)` in the world with which an occluder meets the target at `speed`.

    If the target passes a thing that stands still at about that speed, it stands still.
    """
    centers = (corners[:, None, :2] + corners[:, None, 2:]) / 2
    world = apply(np.linalg.inv(camera), centers)[:, 0]
    before, after = max(0, time - 4), min(len(world) - 1, time + 4)
    own = (world[after] - world[before]) / max(1, after - before)
    pace = float(np.hypot(*own))
    if 0.6 * speed < pace < 1.5 * speed and abs(own[0]) > 0.7 * pace:
        return np.zeros(2)
    return own + speed * direction


def _half_size(
    rng: np.random.Generator, body: Body, box: np.ndarray, entry: float, absence: float | None
) -> tuple[np.ndarray, float]:
    """Half width and height of an occluder, and its offset below the target's centre.

    Args:
        box: `(2,)` width and height of the target.
        entry: frames in which the occluder travels the target's width.
        absence: as in `Stage`; None where it hides a part only.
    """
    width, height = box
    if absence is not None:
        hidden = rng.uniform(2, 5) * absence
        half = np.array([0.5 * width * (1 + hidden / entry), 0.5 * height * rng.uniform(1.1, 1.6)])
        return half, 0.0
    if len(body.parts) > 1:
        return body_reach(body) * 0.5 * np.sqrt(width * height) * rng.uniform(0.75, 1.1), 0.0
    if not body.parts[0].bends:
        # Boards stand upright like posts; soft bodies lie low like bushes.
        return np.array([width * rng.uniform(0.16, 0.28), height * rng.uniform(0.9, 2.0)]), 0.0
    half = np.array([width * rng.uniform(0.6, 1.1), height * rng.uniform(0.5, 0.8)])
    return half, height * rng.uniform(0.45, 0.7)


def _pass_by(
    rng: np.random.Generator, body: Body, time: int, stage: Stage, whole: bool, grow: float
) -> tuple[Layer, ...]:
    """Layers of a body, `grow` times its usual size, that crosses the view about frame `time`."""
    camera = stage.camera
    length = len(camera)
    low, high = stage.corners[time, :2], stage.corners[time, 2:]
    zoom = np.sqrt(np.linalg.det(camera[time, :2, :2]))
    box = (high - low) / zoom
    entry = rng.uniform(6, 12)
    half, below = _half_size(rng, body, box * grow, entry, stage.absence if whole else None)
    middle = np.array([*(low + high) / 2, 1]) @ np.linalg.inv(camera[time]).T
    direction = np.array([rng.choice([-1.0, 1.0]), rng.uniform(-0.3, 0.3)])
    velocity = _world_velocity(time, stage.corners, camera, direction, box[0] / entry)
    poses = np.tile(np.eye(3), (length, 1, 1))
    poses[:, :2, 2] = middle[:2] + (0, below) + velocity * (np.arange(length) - time)[:, None]
    fit = np.diag([*(half / body_reach(body)), 1.0])
    stride = rng.uniform(0, 2 * np.pi) + np.arange(length) * 2 * np.pi / rng.uniform(14, 24)
    still = np.zeros((length, 3))
    return animate(body, stage.shake @ camera @ poses @ fit, stride, still)


def place_occluder(
    rng: np.random.Generator, body: Body, time: int, stage: Stage, whole: bool
) -> tuple[Layer, ...] | None:
    """Layers of a thing that covers the target about frame `time`.

    Args:
        whole: cover all of it, for 3 to 9 frames times `stage.absence`; otherwise a part, 20 % to
            80 % of its area.

    Returns:
        None when no drawn crossing did that.
    """
    soon = int(_SOON * stage.absence)
    frames = slice(max(0, time - soon), time + soon + 1)
    target = tuple(layer.during(frames) for layer in stage.target)
    for attempt in range(_TRIES):
        # The first size that hides all is taken: absence stays short, whatever the shapes.
        layers = _pass_by(rng, body, time, stage, whole, 0.85 + 0.06 * attempt if whole else 1.0)
        share = visible_share(target, tuple(layer.during(frames) for layer in layers), stage.size)
        hidden = (share < HIDDEN_SHARE).sum() / stage.absence
        if whole and 3 <= hidden <= 9:
            return layers
        if not whole and 0.2 <= share.min() <= 0.8:
            return layers
    return None
