"""Procedural surfaces: multi-scale patterns in muted palettes, made from a random generator.

Everything here is small (a few hundred pixels wide) and quick (about a millisecond a surface);
the renderer only ever warps the results. Arrays are uint8 RGB unless a name says otherwise.
"""

import math

import cv2
import numpy as np

FIELDS = ("noise", "stripes", "cells", "checker", "spots", "mosaic", "gradient")


def value_noise(
    rng: np.random.Generator,
    height: int,
    width: int,
    cell: float,
    octaves: int = 4,
    persistence: float = 0.55,
) -> np.ndarray:
    """Sum of smooth random grids, each octave of half the cell and less strength.

    Args:
        cell: size in pixels of the coarsest grid cell; octaves below a pixel are left out.
        persistence: strength of an octave relative to the one before.

    Returns:
        float32 `(height, width)` in 0..1, mean about 0.5.
    """
    rows, columns = int(height / cell) + 3, int(width / cell) + 3
    total: np.ndarray = rng.standard_normal((rows, columns), dtype=np.float32)
    strength = 1.0
    power = 1.0
    for _ in range(octaves - 1):
        if cell < 2:
            break
        # Growing the coarse sum step by step costs a third of drawing every octave in full.
        cell, rows, columns, strength = cell / 2, 2 * rows, 2 * columns, strength * persistence
        total = cv2.resize(total, (columns, rows), interpolation=cv2.INTER_CUBIC)
        finer: np.ndarray = rng.standard_normal((rows, columns), dtype=np.float32)
        total = total + strength * finer
        power += strength**2
        keep = int(height / cell) + 3, int(width / cell) + 3
        total = total[: keep[0], : keep[1]]
        rows, columns = total.shape
    # Resizing by whole cells and cropping keeps the pattern isotropic for any aspect.
    target = (math.ceil(columns * cell), math.ceil(rows * cell))
    full = cv2.resize(total, target, interpolation=cv2.INTER_CUBIC)[:height, :width]
    return np.clip(0.5 + 0.24 / power**0.5 * full, 0, 1)


def palette(
    rng: np.random.Generator,
    saturation: tuple[float, float] = (0.08, 0.5),
    hue_about: float | None = None,
) -> np.ndarray:
    """A colour ramp of neighbouring hues from dark to bright, uint8 `(256, 3)`.

    Args:
        saturation: range of the colours' saturation, 0..1.
        hue_about: degrees; any hue when None.
    """
    count = int(rng.integers(3, 5))
    base = rng.uniform(0, 360) if hue_about is None else hue_about
    hue = base + rng.normal(0, 16, count)
    if rng.random() < 0.25:
        hue[-1] += rng.uniform(60, 180)
    value = np.sort(rng.uniform(0.12, 0.92, count))
    # A ramp with hardly any contrast would hide the pattern that is drawn with it.
    spread = max(0.0, 0.28 - (value[-1] - value[0]))
    value = np.clip(value + np.linspace(-spread, spread, count), 0.08, 0.95)
    sat = rng.uniform(*saturation, count)
    hsv = np.stack([hue % 360, sat, value], axis=1).astype(np.float32)[None]
    colours = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0] * 255
    stops = np.linspace(0, 255, count)
    ramp = [np.interp(np.arange(256), stops, colours[:, c]) for c in range(3)]
    return np.stack(ramp, axis=1).astype(np.uint8)


def _rotated(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates turned by a random angle and bent by smooth noise, float32."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    bend = rng.uniform(0, 0.25) * min(height, width)
    wobble = bend * (value_noise(rng, height, width, min(height, width) / 2.5, 2) - 0.5)
    along = x * np.cos(angle) + y * np.sin(angle) + wobble
    across = y * np.cos(angle) - x * np.sin(angle) + wobble
    return along.astype(np.float32), across.astype(np.float32)


def _soft_square(wave: np.ndarray, hardness: float) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(hardness * wave)


def _mosaic(
    rng: np.random.Generator, height: int, width: int, cell: float, edges: bool
) -> np.ndarray:
    """Voronoi cells with one grey value each; `edges` draws dark seams between them."""
    count = max(6, int(height * width / cell**2))
    seeds = np.full((height, width), 255, np.uint8)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    grey = rng.uniform(0.1, 0.9, int(labels.max()) + 1).astype(np.float32)[labels]
    if edges:
        grey *= 1 - 0.5 * np.clip(distance / (0.7 * cell), 0, 1) ** 2
    return cv2.GaussianBlur(grey, (0, 0), 0.8)


def field(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """One pattern of a kind in `FIELDS`, float32 `(height, width)` in 0..1."""
    side = min(height, width)
    if kind == "noise":
        return value_noise(rng, height, width, side * rng.uniform(0.1, 0.5), 5)
    if kind in ("cells", "mosaic"):
        return _mosaic(rng, height, width, side * rng.uniform(0.09, 0.3), kind == "cells")
    if kind == "spots":
        dots = value_noise(rng, height, width, side * rng.uniform(0.08, 0.22), 1)
        return _soft_square(dots - rng.uniform(0.5, 0.72), rng.uniform(6, 16))
    along, across = _rotated(rng, height, width)
    if kind == "gradient":
        return np.clip(0.5 + (along - along.mean()) / np.float32(1.2 * side), 0, 1)
    pitch = 2 * np.pi / (side * rng.uniform(0.1, 0.4))
    wave = np.sin(pitch * along)
    if kind == "checker":
        wave = wave * np.sin(pitch * across * rng.uniform(0.6, 1.2))
    return _soft_square(wave, rng.uniform(0.8, 4))


def surface(
    rng: np.random.Generator,
    height: int,
    width: int,
    kind: str | None = None,
    colours: np.ndarray | None = None,
    cell: float | None = None,
) -> np.ndarray:
    """A textured surface: a pattern mixed with noise of several octaves, coloured, with grain.

    Args:
        kind: one of `FIELDS`; drawn when None.
        colours: a ramp as `palette` makes; drawn when None.
        cell: size in pixels of the coarsest noise; drawn when None.

    Returns:
        uint8 `(height, width, 3)`.
    """
    kind = str(rng.choice(FIELDS)) if kind is None else kind
    colours = palette(rng) if colours is None else colours
    share = rng.uniform(0.45, 0.8)
    cell = min(height, width) * float(rng.uniform(0.15, 0.5)) if cell is None else cell
    pattern = field(rng, kind, height, width)
    rough = value_noise(rng, height, width, cell, 7, float(rng.uniform(0.55, 0.8)))
    grey = share * pattern + (1 - share) * rough
    grain: np.ndarray = rng.standard_normal((height, width), dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(0.6, 1.4)))
    grey = np.clip(grey + rng.uniform(0.02, 0.09) * grain, 0, 1)
    return colours[(255 * grey).astype(np.uint8)]
