"""Small frames of a world: how large they are, where they look, and how they are drawn.

World coordinates are pixels of the backdrop. A camera is a matrix from there to the pixels of a
frame, and a frame is drawn with one warp, straight at its own small size.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib.synthetic.pairs.photometric import MotionBlur, PhotometricAugment
from lib.synthetic.video.layers import Layer
from lib.synthetic.video.motion import apply
from lib.synthetic.video.render import draw_layer, pixel_matrix

_SPANS = (18.0, 75.0)  # usual sizes of the target in its frame, pixels
_SPAN_LIMITS = (14.0, 96.0)
_TEMPLATE_ROOM, _SEARCH_ROOM = 1.4, 1.9  # sides of frames in units of the crop
# A target that is large in its video has less around it than a crop holds: chance, and sides of
# the frames in units of the search crop. What lies beyond the frame is black.
_CLOSE, _CLOSE_ROOM = 0.6, (0.5, 1.2)
_LEAST_ROOM = 1.5  # of a template's frame, in units of the target's size
_EDGE = 0.12  # chance that the border of the frame is near the target


@dataclass(frozen=True, eq=False)
class ViewLayout:
    """Frames of a pair before anybody knows what they show: V of them, the search frame last."""

    spans: np.ndarray  # `(V,)` root of the target's area, frame pixels
    sizes: tuple[tuple[int, int], ...]  # width and height of each frame
    middles: np.ndarray  # `(V, 2)` where the target's centre is, frame pixels

    def __len__(self) -> int:
        return len(self.sizes)


def frame_views(
    rng: np.random.Generator, templates: int, factors: tuple[float, float], strength: float
) -> ViewLayout:
    """Draw frames around a target.

    Args:
        factors: sides of the crops of template and search frame, in units of the target's size.
        strength: 0 to 1, how much the target's size differs from frame to frame.
    """
    views = templates + 1
    usual = np.exp(rng.uniform(*np.log(_SPANS)))
    spans = usual * np.exp(0.18 * (0.4 + 0.6 * strength) * rng.standard_normal(views))
    spans = np.clip(spans, *_SPAN_LIMITS)
    room = np.full(views, _TEMPLATE_ROOM * factors[0])
    room[-1] = _SEARCH_ROOM * factors[1]
    if rng.random() < _CLOSE:
        # All frames of a video have the same size: black about one crop says nothing of the target.
        room = np.minimum(room, rng.uniform(*_CLOSE_ROOM) * factors[1])
        room[:-1] = np.maximum(room[:-1], _LEAST_ROOM)
    stretch = np.exp(rng.uniform(-0.15, 0.15, views))
    sides = np.stack([stretch, 1 / stretch], axis=1) * (room * spans)[:, None]
    sides = np.maximum(np.rint(sides), 24)
    middles = sides * (0.5 + rng.uniform(-0.08, 0.08, (views, 2)))
    for view in np.flatnonzero(rng.random(views) < _EDGE):
        axis = int(rng.integers(2))
        # A target that is cut is no good template.
        gap = spans[view] * rng.uniform(0.7 if view < templates else 0.15, 1.6)
        middles[view, axis] = gap if rng.random() < 0.5 else sides[view, axis] - gap
    sizes = tuple((int(w), int(h)) for w, h in sides)
    return ViewLayout(spans, sizes, middles)


def look_at(
    points: np.ndarray, middles: np.ndarray, zoom: np.ndarray, roll: np.ndarray, stretch: np.ndarray
) -> np.ndarray:
    """Cameras `(V, 3, 3)`, world to frame, that see `points` `(V, 2)` at `middles` `(V, 2)`.

    Args:
        zoom: `(V,)` magnification.
        roll: `(V,)` radians.
        stretch: `(V,)` ratio of horizontal to vertical magnification.
    """
    cos, sin = np.cos(roll), np.sin(roll)
    wide, high = zoom * np.sqrt(stretch), zoom / np.sqrt(stretch)
    cameras = np.zeros((len(points), 3, 3))
    # Stretched last, so that an upright box stays upright in a rolled view.
    cameras[:, 0, 0], cameras[:, 0, 1] = wide * cos, -wide * sin
    cameras[:, 1, 0], cameras[:, 1, 1] = high * sin, high * cos
    cameras[:, 2, 2] = 1
    cameras[:, :2, 2] = middles - apply(cameras, points[:, None])[:, 0]
    return cameras


def cut_to_world(
    layout: ViewLayout, cameras: np.ndarray, world: tuple[int, int]
) -> tuple[ViewLayout, np.ndarray]:
    """Frames and cameras, cut where the world's picture of a width and height ends.

    In a rolled view the cut goes through the middle of its edge, so that frames stay rectangles.
    """
    width, height = world
    edges = np.array([[0, height / 2], [width / 2, 0], [width, height / 2], [width / 2, height]])
    found = apply(cameras, edges)
    limit = np.asarray(layout.sizes, np.float64)
    low = np.clip(np.rint([found[:, 0, 0], found[:, 1, 1]]).T, 0, None)
    high = np.minimum(np.rint([found[:, 2, 0], found[:, 3, 1]]).T, limit)
    # Nothing is left of a frame that looks beyond the world; it stays as it is.
    empty = (high - low).min(axis=1) < 16
    low[empty], high[empty] = 0, limit[empty]
    sizes = tuple((int(w), int(h)) for w, h in high - low)
    moved = cameras.copy()
    moved[:, :2, 2] -= low
    return replace(layout, sizes=sizes, middles=layout.middles - low), moved


@dataclass(frozen=True, eq=False)
class SceneViews:
    """All that is to be drawn."""

    backdrop: tuple[np.ndarray, ...]  # the world's picture in full, half, quarter size
    layout: ViewLayout  # the frames
    cameras: np.ndarray  # `(V, 3, 3)`
    behind: tuple[Layer, ...]  # layers between backdrop and target, poses in frame pixels
    # The target's layers; none where the target is a place of the backdrop
    target: tuple[Layer, ...]
    front: tuple[Layer, ...]  # layers before the target
    boxes: np.ndarray  # `(V, 4)` xywh of the target, frame pixels


def _background(scene: SceneViews, view: int) -> np.ndarray:
    camera = scene.cameras[view]
    zoom = np.sqrt(abs(np.linalg.det(camera[:2, :2])))
    # Shrinking by much more than a half would skip pixels.
    level = 0 if zoom > 0.6 else 1 if zoom > 0.3 else 2
    picture = scene.backdrop[min(level, len(scene.backdrop) - 1)]
    grown = np.diag([
        scene.backdrop[0].shape[1] / picture.shape[1],
        scene.backdrop[0].shape[0] / picture.shape[0],
        1.0,
    ])  # fmt: skip
    return cv2.warpAffine(
        picture,
        pixel_matrix(camera @ grown),
        scene.layout.sizes[view],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def draw_view(
    scene: SceneViews, view: int, blur: MotionBlur, changes: PhotometricAugment, strength: float
) -> np.ndarray:
    image = _background(scene, view)
    if blur.behind is not None:
        image = cv2.filter2D(image, -1, blur.behind)
    for layer in scene.behind:
        draw_layer(image, layer, view, blur.behind)
    for layer in scene.target:
        draw_layer(image, layer, view, blur.target)
    for layer in scene.front:
        draw_layer(image, layer, view, None)
    if blur.whole is not None:
        image = cv2.filter2D(image, -1, blur.whole)
    return changes.apply(image, strength)
