"""Silhouettes of generated objects: soft alpha masks of several families."""

import cv2
import numpy as np

SHAPES = ("ellipse", "polygon", "star", "blob", "capsule", "panel")
_MARGIN = 0.94  # an outline keeps this far from the border, so that its soft edge fits inside


def outline(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Corner points `(N, 2)` in -1..1 (x right, y down) of a random shape of a kind in `SHAPES`."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    if kind == "polygon":
        corners = int(rng.integers(4, 8))
        angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
        radius = rng.uniform(0.75, 1, corners)
    elif kind == "star":
        points = int(rng.integers(4, 8))
        sharp = rng.uniform(0.18, 0.34)
        radius = 1 - sharp + sharp * np.cos(points * angle)
    elif kind == "blob":
        radius = np.ones_like(angle)
        for wave in range(2, 6):
            strength = rng.uniform(0.04, 0.36) / wave
            radius += strength * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    elif kind in ("capsule", "panel"):
        power = 5.0 if kind == "capsule" else 14.0
        radius = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    else:
        radius = np.ones_like(angle)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if kind in ("polygon", "star", "blob"):
        turn = rng.uniform(0, 2 * np.pi)
        spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = points @ spin.T
    low, high = points.min(axis=0), points.max(axis=0)
    return _MARGIN * (2 * (points - low) / (high - low) - 1)


def fill(points: np.ndarray, side: int, softness: float = 0.8) -> np.ndarray:
    """The anti-aliased mask of an outline, uint8 `(side, side)`.

    Args:
        points: corners `(N, 2)` in -1..1.
        softness: standard deviation of the edge in pixels.
    """
    fine = 2 * side
    corners = np.rint((points + 1) * side - 0.5).astype(np.int32)
    mask = np.zeros((fine, fine), np.uint8)
    cv2.fillPoly(mask, [corners], 255)
    small = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), softness)


def relief(mask: np.ndarray, light: float, depth: float) -> np.ndarray:
    """Shading of a rounded body: bright toward the light, darker at the rim.

    Args:
        mask: uint8 `(S, S)`.
        light: direction the light comes from, radians.
        depth: 0 (flat) to 1 (strong).

    Returns:
        float32 `(S, S)` factor around 1.
    """
    side = mask.shape[0]
    inside = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    dome = np.sqrt(np.clip(inside / max(float(inside.max()), 1.0), 0, 1))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    tilt = x * np.cos(light) + y * np.sin(light)
    return (1 + depth * (0.35 * tilt + 0.4 * (dome - 0.7))).astype(np.float32)
