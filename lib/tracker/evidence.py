"""What speaks for a box, and against it: numbers of one frame, and of the frames before it.

They are what the network's distributions say (how likely, how spread, how skewed, whether there is
a second place, how far the window pulled), what the pictures say (how like the first template the
box looks), and what the frames before say: how far the box jumped lately and how spread the
distributions were, as a box that went over to another thing looks sure ever after, and what the
target looked like when it was sure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.tracker.appearance import Appearance, patch_of, shared

FEATURES = (
    "log_centre",
    "log_size",
    "entropy_centre",
    "entropy_size",
    "skew",
    "rival",
    "window_pull",
    "against_usual",
    "size_change",
    "alike",
    "shift",
    "recent_jump",
    "recent_entropy",
    "recent_colours",
    "recent_edges",
)
_TINY = 1e-12
# A jump counts for half after 34 frames; the spread is a mean over about three, the looks over
# twenty sure ones.
_FORGET_JUMP, _ENTROPY_RATE, _LOOKS_RATE = 0.98, 0.3, 0.05
_LEAST_JUMP = 0.02  # of a side; less is as still
# Bins farther from the likeliest than this share of all are another place.
_OTHER_PLACE = 8


def distribution_evidence(
    values: np.ndarray, centre: Sequence[int], window: np.ndarray | None
) -> list[float]:
    """The first seven of `FEATURES`.

    Args:
        values: `(4, bins)` that the tokens were chosen from.
        centre: which of the four are the centre's.
        window: factors `(4, bins)` that are in `values`, or None.
    """
    bins = values.shape[1]
    places = np.arange(bins)
    share = values / (values.sum(axis=1, keepdims=True) + _TINY)
    best, top = values.argmax(axis=1), values.max(axis=1) + _TINY
    # Plain numbers from here on: of so few, a call for each costs more than the arithmetic.
    log = np.log(top).tolist()
    entropy = (-(share * np.log(share + _TINY)).sum(axis=1) / math.log(bins)).tolist()
    skew = (np.abs(share @ places - best) / bins).tolist()
    rival = 0.0
    for i in centre:
        reach, at = bins // _OTHER_PLACE, int(best[i])
        others = (values[i, : max(0, at - reach)], values[i, at + reach + 1 :])
        rival = max(rival, *(float(x.max(initial=0.0)) / float(top[i]) for x in others))
    pull = 0.0
    if window is not None:
        free = np.where(window > 1e-3, values / np.maximum(window, 1e-3), 0).argmax(axis=1)
        pull = float(np.abs(free - best)[list(centre)].max() / bins)
    (a, b), (c, d) = centre, (i for i in range(4) if i not in centre)
    pairs = [(x[i] + x[j]) / 2 for x in (log, entropy) for i, j in ((a, b), (c, d))]
    return [*pairs, sum(skew) / 4, rival, pull]


@dataclass(frozen=True, eq=False)
class Rival:
    """The best other place of a frame, one the network did not choose.

    Attributes:
        share: its probability as a share of the chosen one's.
        patch: what it shows, as `patch_of`.
    """

    share: float
    patch: np.ndarray


def rival_of(values: np.ndarray, centre: Sequence[int], crop: np.ndarray, box: np.ndarray) -> Rival:
    """The second maximum along the axis where it is higher, at the chosen place of the other.

    Args:
        values: as in `distribution_evidence`.
        centre: as there.
        crop: pixels of the search crop.
        box: cxcywh in it, normalised.
    """
    bins = values.shape[1]
    at = values[list(centre)]
    best = at.argmax(axis=1)
    far = np.abs(np.arange(bins) - best[:, None]) > bins // _OTHER_PLACE
    others = np.where(far, at, 0)
    share = others.max(axis=1) / (at.max(axis=1) + _TINY)
    axis = int(share.argmax())
    place = np.array(box, np.float64)
    place[axis] = others[axis].argmax() / (bins - 1)
    return Rival(float(share[axis]), patch_of(crop, place))


@dataclass(frozen=True)
class Recent:
    """What the frames before said of a target.

    Attributes:
        jump: the largest step of the box's centre, in sides of the box, older ones counting less.
        entropy: running mean of `entropy_centre`; None before the first frame.
        looks: what the target looked like in the sure frames; None before the first one.
    """

    jump: float = 0.0
    entropy: float | None = None
    looks: Appearance | None = None

    def after(self, step: float, entropy: float) -> "Recent":
        """With one frame more, in which the box went so far."""
        before = entropy if self.entropy is None else self.entropy
        return replace(
            self,
            jump=max(step, _FORGET_JUMP * self.jump),
            entropy=before + _ENTROPY_RATE * (entropy - before),
        )

    def having_seen(self, first: Appearance, now: Appearance) -> "Recent":
        """With what a sure frame shows.

        Args:
            first: what the first template shows.
            now: what the frame does.
        """
        return replace(self, looks=(self.looks or first).towards(now, _LOOKS_RATE))

    def evidence(self, first: Appearance, now: Appearance) -> tuple[float, ...]:
        """The last four of `FEATURES`; arguments as those of `having_seen`."""
        usual = self.looks or first
        return (
            math.log(self.jump + _LEAST_JUMP),
            self.entropy or 0.0,
            shared(usual.middle, now.middle),
            float(usual.edges @ now.edges),
        )
