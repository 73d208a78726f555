"""How sure a box is, from 0 to 1: the evidence of a frame, weighed by the weights' calibration."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from lib.tracker.appearance import Appearance, patch_of, shared, template_patch
from lib.tracker.calibration import Calibration
from lib.tracker.engine.api import Template
from lib.tracker.evidence import FEATURES, Recent, Rival, distribution_evidence, rival_of

if TYPE_CHECKING:
    from lib.tracker.settings import TrackerSettings

_NOW = FEATURES.index("entropy_centre")
# A frame that is so sure shows what the target looks like.
_SURE = 0.9


@dataclass(frozen=True, eq=False)
class Sight:
    """What one frame says of one target.

    Attributes:
        evidence: (K,) values of `FEATURES`.
        certainty: that the box is on the target; the score's share of the highest where there is
            no calibration.
        momentary: the same of the frame by itself, wherever its search region lies.
        patch: what the box shows.
        recent: what the next frame has to know.
        rival: the best other place; None where nobody asks.
    """

    evidence: np.ndarray
    certainty: float
    momentary: float
    patch: np.ndarray
    recent: Recent = field(default_factory=Recent)
    rival: Rival | None = None

    @property
    def size_change(self) -> float:
        """Of the box against the first one, the absolute logarithm of the side."""
        return float(self.evidence[FEATURES.index("size_change")])


class Witness:
    """Says how sure the boxes of a network are.

    Args:
        settings: of the tracker.
        calibration: of its weights; None where there is none.
    """

    def __init__(self, settings: "TrackerSettings", calibration: Calibration | None) -> None:
        self.calibration = calibration
        self.sees_rivals = settings.gated
        self.centre, self.window = settings.centre, None
        if settings.window:
            # The factors of `BoxTokenizer.window`, to the last bit but one.
            self.window = np.ones((4, settings.bins))
            self.window[list(self.centre)] = np.hanning(settings.bins)
        self._first: WeakKeyDictionary[Template, Appearance] = WeakKeyDictionary()

    def look(
        self,
        values: np.ndarray,
        crop: np.ndarray,
        box: np.ndarray,
        first: Template,
        score: float,
        against_usual: float,
        size_change: float,
        step: float,
        recent: Recent,
    ) -> Sight:
        """What a frame says.

        Args:
            values: `(4, bins)` that the tokens were chosen from.
            crop: pixels of the search crop.
            box: cxcywh in it, normalised.
            first: the first template.
            score: as a share of the highest.
            against_usual: logarithm of the score over the usual one.
            size_change: of the box against the first one, a logarithm.
            step: of the box's centre since the frame before, in sides of the box.
            recent: from the frame before.
        """
        patch = patch_of(crop, box)
        if first not in self._first:
            self._first[first] = Appearance.of(template_patch(first))
        known, now = self._first[first], Appearance.of(patch)
        shift = math.hypot(*(box[:2] - 0.5).tolist())
        spread = distribution_evidence(values, self.centre, self.window)
        recent = recent.after(step, spread[_NOW])
        like = shared(known.colours, now.colours)
        rest = (against_usual, abs(size_change), like, shift, *recent.evidence(known, now))
        evidence = np.array([*spread, *rest])
        certainty = momentary = score
        if self.calibration is not None:
            certainty = float(self.calibration.whole(evidence))
            momentary = float(self.calibration.alone(evidence))
            if self.calibration.steady(evidence) >= _SURE:
                recent = recent.having_seen(known, now)
        rival = rival_of(values, self.centre, crop, box) if self.sees_rivals else None
        return Sight(evidence, certainty, momentary, patch, recent, rival)
