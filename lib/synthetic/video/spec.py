"""What a generated sequence contains: a small frozen description, drawn from the seed."""

from dataclasses import dataclass

import numpy as np

from lib.utils.errors import DataError, did_you_mean

BODIES = ("ellipse", "polygon", "star", "blob", "composite", "figure")
BODY_HINT = ", ".join(BODIES)


@dataclass(frozen=True)
class SyntheticSpec:
    """The content of one generated sequence. A strength of 0 leaves a challenge out."""

    size: tuple[int, int] = (320, 240)  # width and height of the frames in pixels
    length: int = 100  # number of frames
    body: str = "blob"  # family of the target's shape, one of `BODIES`
    target_size: float = 0.2  # square root of the target's box area, relative to the frame height
    speed: float = 1.0  # 1 is calm motion (a few pixels per frame at 320x240), 2 twice as fast
    scale_change: float = 0.3  # the target's size varies by up to the factor exp(+-scale_change)
    rotation: float = 20.0  # in-plane turning range in degrees, to either side
    deformation: float = 0.4  # strength of non-rigid waves (0..1) and of out-of-plane squeezing
    distractors: int = 2  # number of look-alikes; one in three is drawn in front of the target
    partial_occlusions: int = 1  # times that something hides a part of the target
    full_occlusions: int = 0  # times that something hides all of it for some frames
    exits: int = 0  # times that the target leaves the frame and comes back
    # How long it is then gone: with 1, 2 to 12 frames, with 3 three times as long
    absence: float = 1.0
    pan: float = 0.3  # range of camera travel relative to the frame size
    shake: float = 0.6  # hand shake in pixels
    zoom: float = 0.1  # log-range of camera zoom
    roll: float = 2.0  # camera roll in degrees
    motion_blur: float = 0.3  # shutter time as a share of the frame time, 0..1
    defocus: float = 0.0  # largest standard deviation of the lens blur in pixels
    lighting: float = 0.2  # strength of slow gain and gamma changes, 0..1
    shadow: float = 0.2  # darkness of shadows that lie over the scene, 0..1
    noise: float = 3.0  # standard deviation of the sensor noise in grey levels

    def __post_init__(self) -> None:
        """Refuse values that no scene can be made of.

        Raises:
            DataError: a field is out of its range; the message names it.
        """
        if self.body not in BODIES:
            hint = did_you_mean(self.body, BODIES)
            raise DataError(f"synthetic body {self.body!r} is unknown{hint}; choose {BODY_HINT}")
        limits: dict[str, tuple[float, float]] = {
            "length": (1, 10_000),
            "target_size": (0.06, 0.5),
            "speed": (0.1, 5),
            "scale_change": (0, 1),
            "rotation": (0, 180),
            "deformation": (0, 1),
            "distractors": (0, 8),
            "partial_occlusions": (0, 5),
            "full_occlusions": (0, 5),
            "exits": (0, 5),
            "absence": (1, 6),
            "pan": (0, 0.45),
            "shake": (0, 6),
            "zoom": (0, 0.2),
            "roll": (0, 15),
            "motion_blur": (0, 1),
            "defocus": (0, 3),
            "lighting": (0, 1),
            "shadow": (0, 1),
            "noise": (0, 20),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise DataError(f"synthetic {name} is {value}, outside {low} to {high}")
        width, height = self.size
        if not (64 <= width <= 4096 and 64 <= height <= 4096):
            raise DataError(f"synthetic size is {self.size}; each side is 64 to 4096 pixels")

    @property
    def challenges(self) -> frozenset[str]:
        """Names of what makes this sequence hard, as in the table of the test sequences."""
        present = {
            "look-alikes": self.distractors > 0,
            "partial occlusion": self.partial_occlusions > 0,
            "full occlusion": self.full_occlusions > 0,
            "leaves the frame": self.exits > 0,
            "camera motion": self.pan > 0 or self.zoom > 0 or self.roll > 0,
            "camera shake": self.shake >= 1,
            "scale change": self.scale_change >= 0.25,
            "rotation": self.rotation >= 40,
            "deformation": self.deformation >= 0.4 or self.body == "figure",
            "fast motion": self.speed >= 1.5,
            "motion blur": self.motion_blur >= 0.5,
            "defocus": self.defocus >= 1,
            "lighting change": self.lighting >= 0.5 or self.shadow >= 0.5,
            "small target": self.target_size <= 0.13,
            "noise": self.noise >= 6,
        }
        return frozenset(name for name, there in present.items() if there)


def draw_spec(
    rng: np.random.Generator, length: int = 100, size: tuple[int, int] = (320, 240)
) -> SyntheticSpec:
    """A random description: every challenge turns up, seldom all at once."""

    def sometimes(chance: float, low: float, high: float) -> float:
        there = rng.random() < chance
        value = float(rng.uniform(low, high))
        return value if there else 0.0

    # Events need room: 45 frames each.
    room = length // 45
    partial = min(room, int(rng.random() < 0.6))
    full = min(room - partial, int(rng.random() < 0.3))
    exits = min(room - partial - full, int(rng.random() < 0.2))
    body = str(rng.choice(BODIES))
    turning = float(rng.uniform(5, 25)) + sometimes(0.35, 20, 130)
    return SyntheticSpec(
        size=size,
        length=length,
        body=body,
        target_size=float(np.exp(rng.uniform(np.log(0.1), np.log(0.31)))),
        speed=float(rng.uniform(0.7, 2.0)),
        scale_change=float(rng.uniform(0.15, 0.5)),
        # Who walks stays upright.
        rotation=min(turning, 20.0) if body == "figure" else turning,
        deformation=sometimes(0.7, 0.2, 1.0),
        distractors=int(rng.integers(0, 5)),
        partial_occlusions=partial,
        full_occlusions=full,
        exits=exits,
        pan=sometimes(0.85, 0.1, 0.45),
        shake=sometimes(0.6, 0.3, 2.5),
        zoom=sometimes(0.6, 0.03, 0.2),
        roll=sometimes(0.5, 0.5, 6.0),
        motion_blur=sometimes(0.6, 0.2, 0.9),
        defocus=sometimes(0.25, 0.5, 1.6),
        lighting=sometimes(0.5, 0.2, 1.0),
        shadow=sometimes(0.5, 0.2, 0.8),
        noise=float(rng.uniform(1, 8)),
    )
