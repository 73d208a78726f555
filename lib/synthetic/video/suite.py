"""The built-in test sequences: fixed names, seeds and contents.

All have look-alikes, occlusion, scale change and camera motion; each adds its own difficulty:

| number | target | what it adds |
|---|---|---|
| 001 | figure | swinging limbs |
| 002 | blob | fast motion |
| 003 | star | turns in the image plane |
| 004 | composite | full occlusion |
| 005 | ellipse | small target |
| 006 | polygon | leaves the frame and comes back |
| 007 | composite | hand shake and motion blur |
| 008 | polygon | lighting change and shadows |
| 009 | blob | strong deformation |
| 010 | star | defocus and sensor noise |
| 011 | figure | four look-alikes; in `synthetic_hard` full occlusion, too |
| 012 | ellipse | all of it together |

`synthetic` is as hard as a small tracker can be asked to follow; `synthetic_hard` has more of
everything at once and is what the next ones are for. The number is the seed.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from lib.synthetic.video.spec import SyntheticSpec

_COMMON = SyntheticSpec(
    length=110,
    target_size=0.24,
    speed=0.8,
    distractors=2,
    partial_occlusions=1,
    scale_change=0.35,
    rotation=12,
    deformation=0.25,
    pan=0.25,
    zoom=0.1,
    shake=0.6,
    lighting=0.2,
    noise=2.0,
)

_CONTENTS: dict[str, SyntheticSpec] = {
    "synthetic-001": replace(_COMMON, body="figure", target_size=0.28),
    "synthetic-002": replace(_COMMON, body="blob", speed=1.5, motion_blur=0.4),
    "synthetic-003": replace(_COMMON, body="star", rotation=60),
    "synthetic-004": replace(_COMMON, body="composite", full_occlusions=1),
    "synthetic-005": replace(_COMMON, body="ellipse", target_size=0.15, distractors=3),
    "synthetic-006": replace(_COMMON, body="polygon", exits=1),
    "synthetic-007": replace(_COMMON, body="composite", shake=1.5, motion_blur=0.6),
    "synthetic-008": replace(_COMMON, body="polygon", lighting=0.7, shadow=0.5),
    "synthetic-009": replace(_COMMON, body="blob", deformation=0.7, rotation=30),
    "synthetic-010": replace(_COMMON, body="star", defocus=1.0, noise=6.0),
    "synthetic-011": replace(_COMMON, body="figure", distractors=4),
    "synthetic-012": replace(
        _COMMON,
        length=120,
        body="ellipse",
        full_occlusions=1,
        shake=1.0,
        rotation=30,
        deformation=0.5,
        motion_blur=0.5,
        defocus=0.7,
        lighting=0.5,
        shadow=0.4,
        noise=4.0,
    ),
}

_HARD_COMMON = SyntheticSpec(
    length=110,
    distractors=2,
    partial_occlusions=1,
    scale_change=0.4,
    pan=0.3,
    zoom=0.1,
    shake=0.6,
    lighting=0.25,
    noise=3.0,
)

_HARD: dict[str, SyntheticSpec] = {
    "synthetic-hard-001": replace(_HARD_COMMON, body="figure", target_size=0.28),
    "synthetic-hard-002": replace(
        _HARD_COMMON, body="blob", speed=2.0, target_size=0.18, motion_blur=0.4
    ),
    "synthetic-hard-003": replace(_HARD_COMMON, body="star", rotation=150, target_size=0.24),
    "synthetic-hard-004": replace(_HARD_COMMON, body="composite", full_occlusions=1),
    "synthetic-hard-005": replace(_HARD_COMMON, body="ellipse", target_size=0.11, distractors=3),
    "synthetic-hard-006": replace(_HARD_COMMON, body="polygon", exits=1),
    "synthetic-hard-007": replace(
        _HARD_COMMON, body="composite", shake=2.0, motion_blur=0.8, speed=1.5
    ),
    "synthetic-hard-008": replace(
        _HARD_COMMON, body="polygon", lighting=0.9, shadow=0.8, target_size=0.22
    ),
    "synthetic-hard-009": replace(
        _HARD_COMMON, body="blob", deformation=1.0, rotation=60, target_size=0.24
    ),
    "synthetic-hard-010": replace(
        _HARD_COMMON, body="star", defocus=1.4, noise=8.0, target_size=0.22
    ),
    "synthetic-hard-011": replace(
        _HARD_COMMON, body="figure", distractors=4, full_occlusions=1, target_size=0.22
    ),
    "synthetic-hard-012": replace(
        _HARD_COMMON,
        length=120,
        body="ellipse",
        target_size=0.17,
        speed=1.6,
        distractors=3,
        full_occlusions=1,
        exits=1,
        shake=1.5,
        rotation=45,
        deformation=0.7,
        motion_blur=0.6,
        defocus=1.0,
        lighting=0.6,
        shadow=0.5,
        noise=6.0,
    ),
}

# Name of the data set -> sequence -> what it holds.
SUITES: Mapping[str, Mapping[str, SyntheticSpec]] = MappingProxyType(
    {"synthetic": MappingProxyType(_CONTENTS), "synthetic_hard": MappingProxyType(_HARD)}
)
