"""Backgrounds of generated scenes: layered surfaces with the statistics of natural clutter."""

import cv2
import numpy as np

from lib.synthetic.video.shapes import fill, outline
from lib.synthetic.video.textures import palette, surface, value_noise

SCENES = ("ground", "clutter", "street", "landscape")
_TILE = 160  # side of the surfaces that leaves are cut from, and of their masks


def _stamp(
    canvas: np.ndarray, tile: np.ndarray, mask: np.ndarray, x: int, y: int, gain: float
) -> None:
    """Blend `tile * gain` through `mask` (both `(h, w)`) onto the canvas at (x, y), cut there."""
    height, width = mask.shape
    left, top = max(0, -x), max(0, -y)
    right = min(width, canvas.shape[1] - x)
    bottom = min(height, canvas.shape[0] - y)
    if right <= left or bottom <= top:
        return
    window = canvas[y + top : y + bottom, x + left : x + right]
    weight = mask[top:bottom, left:right].astype(np.float32) / 255
    picture = cv2.convertScaleAbs(tile[top:bottom, left:right], alpha=gain)
    window[...] = cv2.blendLinear(picture, np.ascontiguousarray(window), weight, 1 - weight)


def _scatter(
    rng: np.random.Generator,
    canvas: np.ndarray,
    tiles: list[np.ndarray],
    shapes: tuple[str, ...],
    sizes: np.ndarray,
    rows: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Lay textured leaves of the given sizes over the canvas, big ones first.

    Args:
        rows: the band of the canvas, as shares of its height, that their centres lie in.
    """
    height, width = canvas.shape[:2]
    masks = [fill(outline(rng, str(rng.choice(shapes))), _TILE, 1.5) for _ in range(10)]
    for size in np.sort(sizes)[::-1]:
        aspect = float(np.exp(rng.uniform(-0.6, 0.6)))
        w, h = max(6, round(size * aspect**0.5)), max(6, round(size * aspect**-0.5))
        # The texture keeps about its own scale: a big leaf is not a blurry one.
        cut = int(np.clip(2 * size, 24, _TILE))
        u, v = rng.integers(0, _TILE - cut + 1, 2)
        tile = tiles[rng.integers(len(tiles))][v : v + cut, u : u + cut]
        tile = cv2.resize(
            tile, (w, h), interpolation=cv2.INTER_AREA if cut > w else cv2.INTER_LINEAR
        )
        mask = cv2.resize(masks[rng.integers(len(masks))], (w, h), interpolation=cv2.INTER_AREA)
        x = int(rng.integers(-w // 2, width - w // 2))
        y = round(rng.uniform(*rows) * height - h / 2)
        drop = max(1, round(size * 0.05))
        shadow = cv2.convertScaleAbs(mask, alpha=0.35)
        _stamp(canvas, np.zeros_like(tile), shadow, x, y + drop, 1)
        _stamp(canvas, tile, mask, x, y, float(np.exp(rng.normal(0, 0.22))))


def _power_law(rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    """Sizes with many small and few large ones, as occlusion in nature gives."""
    u = rng.random(count)
    power = -1.6
    return (low**power + u * (high**power - low**power)) ** (1 / power)


def _street(
    rng: np.random.Generator, canvas: np.ndarray, tiles: list[np.ndarray], horizon: float
) -> None:
    """House fronts in a row above the horizon, with rows of windows."""
    height, width = canvas.shape[:2]
    x = 0
    while x < width:
        w = int(rng.uniform(0.1, 0.28) * width)
        top = int(rng.uniform(0.02, 0.6) * horizon * height)
        h = int(horizon * height) - top
        wall = cv2.resize(tiles[rng.integers(len(tiles))], (w, h), interpolation=cv2.INTER_LINEAR)
        full = np.full((h, w), 255, np.uint8)
        _stamp(canvas, wall, full, x, top, float(rng.uniform(0.7, 1.2)))
        pane_w, pane_h = int(rng.integers(10, 22)), int(rng.integers(12, 28))
        pane = cv2.resize(tiles[rng.integers(len(tiles))], (pane_w, pane_h))
        dark = float(rng.uniform(0.3, 0.7))
        for row in range(top + 8, top + h - pane_h, int(pane_h * 1.7)):
            for column in range(x + 6, x + w - pane_w, int(pane_w * 1.6)):
                glass = np.full((pane_h, pane_w), 230, np.uint8)
                _stamp(canvas, pane, glass, column, row, dark * float(rng.uniform(0.8, 1.2)))
        x += w + int(rng.integers(0, 12))


def _scene_ramps(rng: np.random.Generator) -> list[np.ndarray]:
    """Palettes of one place: mostly earth, leaves, stone and sky, under a common light."""
    centers = np.array([30.0, 40.0, 95.0, 120.0, 215.0, rng.uniform(0, 360)])
    hues = rng.choice(centers, 6) + rng.normal(0, 12, 6)
    light = np.clip(rng.uniform(80, 180) + rng.normal(0, 10, 3), 0, 255)
    share = rng.uniform(0.0, 0.25)
    ramps = [palette(rng, (0.03, 0.5), float(hue)) for hue in hues]
    return [(ramp * (1 - share) + light * share).astype(np.uint8) for ramp in ramps]


def paint_backdrop(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A background of one of the kinds in `SCENES`.

    Returns:
        uint8 RGB `(height, width, 3)`.
    """
    scene = str(rng.choice(SCENES))
    ramps = _scene_ramps(rng)
    tiles = [surface(rng, _TILE, _TILE, colours=ramps[i % len(ramps)]) for i in range(8)]
    canvas = surface(rng, height, width, "noise", ramps[0], rng.uniform(0.1, 0.4) * height)
    natural = ("blob", "ellipse", "polygon")
    reach = 0.28 * height
    horizon = float(rng.uniform(0.3, 0.5))
    if scene in ("street", "landscape"):
        above = int(horizon * height)
        sky = surface(rng, above, width, "gradient", ramps[1], 0.3 * width)
        canvas[:above] = cv2.GaussianBlur(sky, (0, 0), 3)
    if scene == "street":
        _street(rng, canvas, tiles, horizon)
        _scatter(rng, canvas, tiles, natural, _power_law(rng, 80, 10, 0.7 * reach), (horizon, 1))
    elif scene == "landscape":
        far = _power_law(rng, 60, 20, reach)
        _scatter(rng, canvas, tiles, ("blob", "ellipse"), far, (horizon - 0.03, horizon + 0.06))
        _scatter(rng, canvas, tiles, natural, _power_law(rng, 90, 8, 0.6 * reach), (horizon, 1))
    elif scene == "ground":
        _scatter(rng, canvas, tiles, natural, _power_law(rng, 150, 9, reach))
    else:
        mixed = (*natural, "panel", "star")
        _scatter(rng, canvas, tiles, mixed, _power_law(rng, 220, 18, 1.6 * reach))
    exposure = float(np.clip(rng.uniform(85, 140) / max(float(canvas.mean()), 1.0), 0.7, 2.0))
    light: np.ndarray = 0.75 + 0.5 * value_noise(rng, height // 4, width // 4, width / 8, 2)
    light = cv2.resize(exposure * light, (width, height), interpolation=cv2.INTER_LINEAR)
    lit = cv2.multiply(canvas, cv2.merge([light] * 3), dtype=cv2.CV_8U)
    return cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.4, 1.1)))
