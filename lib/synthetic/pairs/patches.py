"""Pairs of two views of one place in a photograph."""

import cv2
import numpy as np

from lib.synthetic.pairs.photographs import Photographs
from lib.synthetic.pairs.scenes import add_bystanders
from lib.synthetic.pairs.views import SceneViews, ViewLayout, cut_to_world, look_at

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
