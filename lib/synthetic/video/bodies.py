"""Objects of generated scenes: textured sprites, alone or as the parts of a jointed body.

Whoever has other material (photographs, say) provides a `Materials`; scenes ask for nothing else.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from lib.synthetic.video.backdrop import paint_backdrop
from lib.synthetic.video.shapes import fill, outline, relief
from lib.synthetic.video.textures import palette, surface

SPRITE_SIDE = 128
_LEVELS = 4
_OUTLINE_POINTS = 160


@dataclass(frozen=True, eq=False)
class Sprite:
    """A picture with soft edges, in sizes that halve."""

    # Premultiplied RGBA uint8 arrays `(S, S, 4)`, `(S/2, S/2, 4)`, …
    levels: tuple[np.ndarray, ...]
    rim: np.ndarray  # points `(N, 2)` on the half-transparent contour, pixels of level 0
    core: np.ndarray  # points `(M, 2)` of a grid inside that contour, pixels of level 0

    @property
    def side(self) -> int:
        return self.levels[0].shape[0]


@dataclass(frozen=True, eq=False)
class BodyPart:
    """A sprite's place in a body."""

    sprite: Sprite
    place: np.ndarray  # `(3, 3)` matrix, sprite pixels to body units
    pivot: tuple[float, float] = (0.0, 0.0)  # the joint in body units, about which the part swings
    swing: float = 0.0  # amplitude of the swing in radians
    beat: float = 0.0  # phase of the swing in radians
    bends: bool = True  # whether non-rigid waves run through it


@dataclass(frozen=True, eq=False)
class Body:
    """Parts, from back to front; the box at rest is centred at 0 and its sides' product is 4."""

    parts: tuple[BodyPart, ...]


class Materials(Protocol):
    """Where pictures come from. Implementations must be picklable and depend on `rng` alone."""

    def backdrop(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        """A large background, uint8 RGB `(height, width, 3)`."""

    def body(self, rng: np.random.Generator, kind: str) -> Body:
        """An object; `kind` is one of `synthetic_spec.BODIES` or `panel` (an opaque board)."""


def opaque_core(alpha: np.ndarray) -> np.ndarray:
    """Where a mask, doubled in size, is more than half opaque, as 0 and 1."""
    # Doubling puts the contour within a quarter of a pixel of the true edge.
    doubled = cv2.resize(alpha, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    return (doubled > 127).astype(np.uint8)


def make_sprite(rgb: np.ndarray, alpha: np.ndarray) -> Sprite:
    """A sprite of a colour picture and its mask, uint8 `(S, S, 3)` and `(S, S)`, S a power of 2.

    Something of the mask has to be opaque.
    """
    scaled = cv2.multiply(rgb, cv2.merge([alpha] * 3), scale=1 / 255)
    levels = [cv2.merge([*cv2.split(scaled), alpha])]
    for _ in range(_LEVELS - 1):
        half = levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA))
    contours, _ = cv2.findContours(opaque_core(alpha), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    every = np.concatenate([c[:, 0] for c in contours]).astype(np.float64)
    extreme = [
        every[:, 0].argmin(),
        every[:, 0].argmax(),
        every[:, 1].argmin(),
        every[:, 1].argmax(),
    ]
    spread = np.linspace(0, len(every) - 1, _OUTLINE_POINTS).astype(int)
    rim = (every[np.unique(np.concatenate([spread, extreme]))] + 0.5) / 2
    step = alpha.shape[0] // 11
    y, x = np.nonzero(alpha[step // 2 :: step, step // 2 :: step] > 127)
    core = np.stack([x, y], axis=1) * step + step // 2 + 0.5
    return Sprite(tuple(levels), rim, core if len(core) else rim)


def _place(
    center: tuple[float, float], half: tuple[float, float], angle: float = 0.0
) -> np.ndarray:
    """Matrix that lays a sprite over the box `center` +- `half` (body units), turned by `angle`."""
    pixel = 2 / SPRITE_SIDE
    cos, sin = np.cos(angle), np.sin(angle)
    spin = np.array([[cos, -sin, center[0]], [sin, cos, center[1]], [0, 0, 1]])
    size = np.array([[half[0] * pixel, 0, -half[0]], [0, half[1] * pixel, -half[1]], [0, 0, 1]])
    return spin @ size


def _normalised(parts: list[BodyPart]) -> Body:
    """Shift and scale the parts so that the whole fulfils what `Body` promises."""
    corners = np.concatenate([p.sprite.rim @ p.place[:2, :2].T + p.place[:2, 2] for p in parts])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = 2 / np.sqrt(np.prod(high - low))
    middle = (low + high) / 2
    fit = np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
    moved = []
    for part in parts:
        x, y = (scale * (np.array(part.pivot) - middle)).tolist()
        moved.append(replace(part, place=fit @ part.place, pivot=(x, y)))
    return Body(tuple(moved))


def single_body(sprite: Sprite, aspect: float, *, bends: bool = True) -> Body:
    """A body of one sprite, whose square is shown with width / height = `aspect`."""
    place = _place((0, 0), (aspect**0.5, aspect**-0.5))
    return _normalised([BodyPart(sprite, place, bends=bends)])


def _painted(
    rng: np.random.Generator, shape: str, colours: np.ndarray, accent: np.ndarray, marks: int
) -> Sprite:
    side = SPRITE_SIDE
    mask = fill(outline(rng, shape), side)
    rgb = surface(rng, side, side, colours=colours).astype(np.float32)
    for _ in range(marks):
        kind = str(rng.choice(["ellipse", "polygon", "blob", "panel"]))
        size = rng.uniform(0.12, 0.4, 2)
        spot = outline(rng, kind) * size + rng.uniform(-0.5, 0.5, 2)
        weight = fill(spot, side, 1.2)[:, :, None] / np.float32(255)
        rgb += weight * (surface(rng, side, side, colours=accent) - rgb)
    # Light falls from above, as it mostly does.
    rgb *= relief(mask, rng.normal(-np.pi / 2, 0.5), rng.uniform(0.3, 1))[:, :, None]
    return make_sprite(np.clip(rgb, 0, 255).astype(np.uint8), mask)


def _figure(rng: np.random.Generator, colours: np.ndarray, accent: np.ndarray) -> Body:
    """A walking figure: legs and arms swing about hip and shoulder."""
    skin = palette(rng, (0.2, 0.45))
    torso = _painted(rng, "capsule", colours, accent, 2)
    leg = _painted(rng, "capsule", accent, colours, 0)
    arm = _painted(rng, "capsule", colours, skin, 1)
    head = _painted(rng, "ellipse", skin, accent, 1)
    wide, stride = rng.uniform(0.8, 1.35), rng.uniform(0.25, 0.6)
    hip, shoulder = (0.0, 0.1), (0.0, -0.5)
    limbs = [
        (arm, (0.02, -0.22), (0.09, 0.34), shoulder, -0.8 * stride, 0.0),
        (leg, (0.0, 0.52), (0.13, 0.47), hip, -stride, 0.0),
        (leg, (0.0, 0.52), (0.13, 0.47), hip, stride, 0.0),
        (torso, (0.0, -0.2), (0.25, 0.4), hip, 0.05, 0.7),
        (head, (0.0, -0.78), (0.17, 0.2), shoulder, 0.08, 1.2),
        (arm, (0.02, -0.22), (0.09, 0.34), shoulder, 0.8 * stride, 0.0),
    ]
    parts = [
        BodyPart(sprite, _place((x, y), (wide * w, h)), pivot, swing, beat, bends=False)
        for sprite, (x, y), (w, h), pivot, swing, beat in limbs
    ]
    return _normalised(parts)


def _composite(rng: np.random.Generator, colours: np.ndarray, accent: np.ndarray) -> Body:
    """A main part with smaller ones around it, some of which swing a little."""
    stretch = np.exp(rng.uniform(-0.5, 0.5))
    half = (float(stretch**0.5), float(stretch**-0.5))
    main = str(rng.choice(["ellipse", "blob", "capsule", "polygon"]))
    parts = [BodyPart(_painted(rng, main, colours, accent, 2), _place((0, 0), half))]
    for angle in rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(0.8, 2.4, rng.integers(2, 5))):
        x, y = 0.8 * half[0] * np.cos(angle), 0.8 * half[1] * np.sin(angle)
        size = rng.uniform(0.25, 0.55)
        kind = str(rng.choice(["ellipse", "capsule", "polygon", "blob"]))
        shape = (size * rng.uniform(0.4, 1), size)
        sprite = _painted(rng, kind, accent if rng.random() < 0.6 else colours, colours, 0)
        place = _place((1.2 * x, 1.2 * y), shape, angle + np.pi / 2)
        swing, beat = rng.uniform(0, 0.35), rng.uniform(0, 2 * np.pi)
        parts.append(BodyPart(sprite, place, (x, y), swing, beat, bends=False))
    order = rng.permutation(len(parts))
    return _normalised([parts[i] for i in order])


class ProceduralMaterials:
    """Pictures made of noise and patterns; no files."""

    def backdrop(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        return paint_backdrop(rng, width, height)

    def body(self, rng: np.random.Generator, kind: str) -> Body:
        colours, accent = palette(rng, (0.08, 0.5)), palette(rng, (0.08, 0.6))
        if kind == "figure":
            return _figure(rng, colours, accent)
        if kind == "composite":
            return _composite(rng, colours, accent)
        aspect = float(np.exp(rng.uniform(-0.45, 0.45)))
        marks = 0 if kind == "panel" else int(rng.integers(1, 4))
        sprite = _painted(rng, kind, colours, accent, marks)
        return single_body(sprite, aspect, bends=kind != "panel")


def look_alike(rng: np.random.Generator, body: Body) -> Body:
    """The body again with a small change: other tint, proportions, mirrored half of the time."""
    angle = float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.9))
    # A turn about the grey axis changes the hue; being linear it suits premultiplied colours.
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    tint = axis + np.cos(angle) * (np.eye(3) - axis) + np.sin(angle) * cross
    change = np.eye(4)
    # The brightness differs as well: a hue tells nothing on grey, black or white.
    change[:3, :3] = float(np.exp(rng.choice([-1, 1]) * rng.uniform(0.12, 0.35))) * tint
    stretch = float(np.exp(rng.uniform(-0.2, 0.2)))
    mirror = float(rng.choice([-1, 1]))
    shape = np.diag([mirror * stretch, 1 / stretch, 1.0])
    parts = []
    for part in body.parts:
        levels = []
        for level in part.sprite.levels:
            tinted = cv2.transform(level, change)
            # Premultiplied colour may not exceed its alpha, or edges would glow.
            levels.append(cv2.min(tinted, cv2.merge([tinted[:, :, 3]] * 4)))
        pivot = (mirror * stretch * part.pivot[0], part.pivot[1] / stretch)
        sprite = replace(part.sprite, levels=tuple(levels))
        parts.append(replace(part, sprite=sprite, place=shape @ part.place, pivot=pivot))
    return Body(tuple(parts))
