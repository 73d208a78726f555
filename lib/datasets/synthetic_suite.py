"""The built-in test sequences: fixed names, seeds and contents.

All have look-alikes, occlusion, scale change and camera motion; each adds its own difficulty:

| name | target | what it adds |
|---|---|---|
| synthetic-001 | figure | swinging limbs |
| synthetic-002 | blob | fast motion |
| synthetic-003 | star | full turns in the image plane |
| synthetic-004 | composite | full occlusion |
| synthetic-005 | ellipse | small target |
| synthetic-006 | polygon | leaves the frame and comes back |
| synthetic-007 | composite | hand shake and motion blur |
| synthetic-008 | polygon | lighting change and shadows |
| synthetic-009 | blob | strong deformation |
| synthetic-010 | star | defocus and sensor noise |
| synthetic-011 | figure | four look-alikes, full occlusion |
| synthetic-012 | ellipse | all of it together |
"""

from dataclasses import replace

from lib.datasets.synthetic_spec import SyntheticSpec

_COMMON = SyntheticSpec(
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

TEST_SPECS: dict[str, SyntheticSpec] = {
    "synthetic-001": replace(_COMMON, body="figure", target_size=0.28),
    "synthetic-002": replace(_COMMON, body="blob", speed=2.0, target_size=0.18, motion_blur=0.4),
    "synthetic-003": replace(_COMMON, body="star", rotation=150, target_size=0.24),
    "synthetic-004": replace(_COMMON, body="composite", full_occlusions=1),
    "synthetic-005": replace(_COMMON, body="ellipse", target_size=0.11, distractors=3),
    "synthetic-006": replace(_COMMON, body="polygon", exits=1),
    "synthetic-007": replace(_COMMON, body="composite", shake=2.0, motion_blur=0.8, speed=1.5),
    "synthetic-008": replace(_COMMON, body="polygon", lighting=0.9, shadow=0.8, target_size=0.22),
    "synthetic-009": replace(_COMMON, body="blob", deformation=1.0, rotation=60, target_size=0.24),
    "synthetic-010": replace(_COMMON, body="star", defocus=1.4, noise=8.0, target_size=0.22),
    "synthetic-011": replace(
        _COMMON, body="figure", distractors=4, full_occlusions=1, target_size=0.22
    ),
    "synthetic-012": replace(
        _COMMON,
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
