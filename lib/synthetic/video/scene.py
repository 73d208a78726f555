"""A scene: who is where in every frame, planned up front from the spec and a seed."""

from dataclasses import dataclass

import numpy as np

from lib.synthetic.video.bodies import Body, Materials, look_alike
from lib.synthetic.video.layers import (
    HIDDEN_SHARE,
    Layer,
    animate,
    framed_boxes,
    rim_points,
    visible_share,
)
from lib.synthetic.video.motion import bump, camera_path, hand_shake, similarity, wander, waver
from lib.synthetic.video.occluders import Stage, body_reach, place_occluder
from lib.synthetic.video.spec import SyntheticSpec
from lib.utils.errors import DataError

_ATTEMPTS = 200
_FIRST = 0.9  # visible share in the first frame, clear of look-alikes even behind it
_FASTEST = 0.08  # centre displacement per frame, as a share of the frame width
_PRESENT = 0.85  # a target that is mostly hidden teaches and tests nothing
_LEAST_PRESENT = 0.4  # where the spec asks for long absences


@dataclass(frozen=True, eq=False)
class Scene:
    """Geometry of a sequence of T frames."""

    spec: SyntheticSpec
    # `(T, 3, 3)` matrices from world pixels (0, 0 at the backdrop's centre) to frames
    cameras: np.ndarray
    layers: tuple[Layer, ...]  # all sprites, from back to front
    boxes: np.ndarray  # `(T, 4)` xywh, the ground truth
    share: np.ndarray  # `(T,)` visible share of the target

    @property
    def visible(self) -> np.ndarray:
        """`(T,)` bool: enough of the target can be seen."""
        return self.share >= HIDDEN_SHARE


@dataclass(frozen=True, eq=False)
class Cast:
    """The bodies of a scene; motion is planned for them afterwards."""

    target: Body
    distractors: tuple[Body, ...]
    partial: tuple[Body, ...]
    full: tuple[Body, ...]


def cast_bodies(rng: np.random.Generator, spec: SyntheticSpec, materials: Materials) -> Cast:
    """Make all bodies that the spec asks for."""
    target = materials.body(rng, spec.body)
    distractors = [look_alike(rng, target) for _ in range(spec.distractors)]
    kinds = ["panel", "blob", "figure", "composite"]
    partial = [materials.body(rng, str(rng.choice(kinds))) for _ in range(spec.partial_occlusions)]
    full = [materials.body(rng, str(rng.choice(kinds[:2]))) for _ in range(spec.full_occlusions)]
    return Cast(target, tuple(distractors), tuple(partial), tuple(full))


@dataclass(frozen=True, eq=False)
class _BodyTrack:
    """Motion of an actor: `(T, 2)` centre, `(T,)` half size, and matrices without hand shake."""

    center: np.ndarray
    half: np.ndarray
    poses: np.ndarray
    stride: np.ndarray
    waves: np.ndarray


def _track(
    rng: np.random.Generator, spec: SyntheticSpec, center: np.ndarray, half: np.ndarray
) -> _BodyTrack:
    """Turn a path into poses: turning, squeezing, swinging and bending of the spec's strength."""
    length = spec.length
    angle = np.deg2rad(waver(rng, length, spec.rotation, 30 / spec.speed))
    squeeze = np.exp(-0.4 * spec.deformation * np.abs(waver(rng, length, 1.0, 35)))
    poses = similarity(center, half, angle, squeeze)
    pace = 2 * np.pi / rng.uniform(14, 26) * np.exp(waver(rng, length, 0.3, 30))
    stride = rng.uniform(0, 2 * np.pi) + np.cumsum(pace)
    strength = 0.14 * spec.deformation
    low, high = np.full(2, -strength), np.full(2, strength)
    phase = rng.uniform(0, 2 * np.pi) + np.cumsum(pace) * 0.7
    waves = np.concatenate([wander(rng, length, low, high, 25), phase[:, None]], axis=1)
    return _BodyTrack(center, half, poses, stride, waves)


def _sizes(rng: np.random.Generator, spec: SyntheticSpec) -> np.ndarray:
    """Half the root of the target's area in every frame, pixels."""
    change = waver(rng, spec.length, 1.0, 38)
    # Stretched to the promised range, but for clips too short to get there at a natural pace.
    middle, reach = (change.max() + change.min()) / 2, max(float(np.ptp(change)) / 2, 1e-9)
    change = (change - middle) / reach * spec.scale_change * min(1.0, spec.length / 60)
    return 0.5 * spec.target_size * spec.size[1] * np.exp(change)


def _leave(center: np.ndarray, reach: np.ndarray, spec: SyntheticSpec, frame: int) -> np.ndarray:
    """Bend a path so that it is outside of the nearest edge about `frame`."""
    size = spec.size
    x, y = center[frame]
    rx, ry = 1.02 * reach
    ways = np.array([[-x - rx, 0], [size[0] - x + rx, 0], [0, -y - ry], [0, size[1] - y + ry]])
    way = ways[np.abs(ways).sum(axis=1).argmin()]
    width = max(6.0 * spec.absence, float(np.abs(way).sum()) / 9)
    return center + bump(len(center), frame, width)[:, None] * way


def _target_track(
    rng: np.random.Generator, spec: SyntheticSpec, body: Body, exits: list[int]
) -> _BodyTrack:
    """Motion of the target in the frame of a camera that does not shake."""
    frame = np.asarray(spec.size, np.float64)
    half = _sizes(rng, spec)
    margin = np.minimum(1.05 * body_reach(body) * half[0] + 4, 0.48 * frame)
    center = wander(rng, spec.length, margin, frame - margin, 46 / spec.speed)
    for time in exits:
        center = _leave(center, body_reach(body) * half[time], spec, time)
    return _track(rng, spec, center, half)


def _distractor_track(
    rng: np.random.Generator, spec: SyntheticSpec, target: _BodyTrack
) -> _BodyTrack:
    """Motion of a look-alike: on its own with one close meeting, or a companion of the target."""
    frame = np.asarray(spec.size, np.float64)
    half = _sizes(rng, spec) * np.exp(rng.uniform(-0.15, 0.15))
    gap = 2.2 * float(target.half.mean())
    if rng.random() < 0.4:
        away = rng.uniform(0, 2 * np.pi)
        beside = 1.6 * gap * np.array([np.cos(away), np.sin(away)])
        reach = np.full(2, 0.7 * gap)
        center = target.center + beside + wander(rng, spec.length, -reach, reach, 30)
    else:
        center = wander(rng, spec.length, -0.05 * frame, 1.05 * frame, 50 / spec.speed)
        time = int(rng.uniform(0.2, 0.95) * spec.length)
        away = rng.uniform(0, 2 * np.pi)
        meeting = target.center[time] + 0.8 * gap * np.array([np.cos(away), np.sin(away)])
        pull = (meeting - center[time]) * bump(spec.length, time, 14)[:, None]
        center = center + pull
    return _track(rng, spec, center, half)


def _event_times(rng: np.random.Generator, spec: SyntheticSpec) -> list[int]:
    """Frames for all events, apart from each other, in random order."""
    count = spec.partial_occlusions + spec.full_occlusions + spec.exits
    if count == 0:
        return []
    slots = np.linspace(0.14, 0.95, count + 1) * spec.length
    times = (slots[:-1] + rng.uniform(0.35, 0.65, count) * np.diff(slots)).astype(int).tolist()
    return [times[i] for i in rng.permutation(count)]


def _plan(rng: np.random.Generator, spec: SyntheticSpec, cast: Cast) -> Scene | None:
    """One random arrangement; None when it breaks a promise of the spec."""
    times = _event_times(rng, spec)
    hides = spec.partial_occlusions + spec.full_occlusions
    camera = camera_path(rng, spec.length, spec.size, spec.pan, spec.zoom, spec.roll)
    shake = hand_shake(rng, spec.length, spec.size, spec.shake)
    track = _target_track(rng, spec, cast.target, times[hides:])
    target = animate(cast.target, shake @ track.poses, track.stride, track.waves)
    rim = rim_points(target)
    corners = np.concatenate([rim.min(axis=1), rim.max(axis=1)], axis=1)
    boxes = framed_boxes(rim, spec.size)
    alone = Scene(spec, shake @ camera, target, boxes, visible_share(target, (), spec.size))
    if not _acceptable(alone, times[hides:]):
        return None
    behind: list[Layer] = []
    front: list[Layer] = []
    for index, body in enumerate(cast.distractors):
        other = _distractor_track(rng, spec, track)
        side = front if index % 3 == 2 else behind
        side += animate(body, shake @ other.poses, other.stride, other.waves)
    start = slice(0, 1)
    others = tuple(layer.during(start) for layer in (*behind, *front))
    clear = visible_share(tuple(layer.during(start) for layer in target), others, spec.size)
    if clear[0] < _FIRST:
        return None
    stage = Stage(target, corners, camera, shake, spec.size, spec.absence)
    for index, body in enumerate(cast.partial + cast.full):
        whole = index >= spec.partial_occlusions
        layers = place_occluder(rng, body, times[index], stage, whole)
        if layers is None:
            return None
        front += layers
    share = visible_share(target, tuple(front), spec.size)
    scene = Scene(spec, alone.cameras, (*behind, *target, *front), boxes, share)
    return scene if _acceptable(scene, times[hides:]) else None


def _acceptable(scene: Scene, exits: list[int]) -> bool:
    """Whether first frame, presence, size and speed are sane and every exit is a real one."""
    spec = scene.spec
    width, height = spec.size
    x, y, w, h = scene.boxes[0]
    inside = x > 0 and y > 0 and x + w < width and y + h < height
    present = max(_LEAST_PRESENT, 1 - (1 - _PRESENT) * spec.absence)
    if not inside or scene.share[0] < _FIRST or scene.visible.mean() < present:
        return False
    sides = np.sqrt(scene.boxes[scene.visible, 2:].prod(axis=1))
    if sides.max() > 0.62 * height:
        return False
    centers = scene.boxes[:, :2] + scene.boxes[:, 2:] / 2
    step = np.hypot(*np.diff(centers, axis=0).T)[scene.visible[1:]]
    if len(step) and step.max() > _FASTEST * width:
        return False
    near = int(8 * spec.absence)
    away = [(scene.share[max(0, t - near) : t + near + 1] < HIDDEN_SHARE).sum() for t in exits]
    return all(2 * spec.absence <= frames <= 12 * spec.absence for frames in away)


def plan_scene(rng: np.random.Generator, spec: SyntheticSpec, cast: Cast) -> Scene:
    """Arrange the bodies; arrangements that break the spec's promises are drawn again.

    Raises:
        DataError: no arrangement was found, because the spec asks for too much.
    """
    for _ in range(_ATTEMPTS):
        scene = _plan(rng, spec, cast)
        if scene is not None:
            return scene
    raise DataError(
        f"no scene of {spec.length} frames meets this synthetic spec: {spec}; "
        "ask for fewer occlusions and exits, a smaller target or more frames"
    )
