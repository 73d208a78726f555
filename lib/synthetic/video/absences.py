"""Built-in sequences whose target is gone for long: to calibrate certainty on, and to test it.

In turn nothing hides the target, something hides all of it, or it leaves the frame. The rest of a
scene is drawn. `synthetic_calibration` is of the split `val`, `synthetic_absence` of `test`.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from lib.synthetic.video.spec import SyntheticSpec, draw_spec

_LENGTH = 120
_LONGER = 3.0  # absences of 6 to 36 frames
_STREAM = 77  # tells these draws from others of the same seed


def absence_spec(number: int) -> SyntheticSpec:
    """What sequence `number` of such a suite holds; a suite ends at any number."""
    rng = np.random.default_rng([number, _STREAM])
    drawn = draw_spec(rng, _LENGTH)
    return replace(
        drawn,
        absence=_LONGER,
        full_occlusions=int(number % 3 == 1),
        exits=int(number % 3 == 2),
        partial_occlusions=int(rng.random() < 0.4),
        distractors=int(rng.integers(0, 4)),
    )


def _suite(name: str, count: int) -> Mapping[str, SyntheticSpec]:
    return MappingProxyType({f"{name}-{i:03d}": absence_spec(i) for i in range(1, count + 1)})


# Name of the data set -> its split, and sequence -> what it holds. The number is the seed.
ABSENCE_SUITES = MappingProxyType(
    {
        "synthetic_absence": ("test", _suite("absence", 18)),
        "synthetic_calibration": ("val", _suite("calibration", 60)),
    }
)
