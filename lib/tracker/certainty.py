"""How sure a box is, from 0 to 1: evidence from one frame, and a calibration of it.

The evidence is what the network's distributions say (how likely, how spread, how skewed, whether
there is a second place, how far the window pulled), what the pictures say (how like the first
template the box looks), and what the frames before say (how far the box jumped lately, how spread
the distributions were): a box that went over to another thing looks sure ever after. A logistic
regression turns it into the probability that the box overlaps the target by half or more. It is
fitted for a network by `seqtrack calibrate` and lies beside its weights.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from lib.tracker.engine.api import Template
from lib.utils.errors import CheckpointError
from lib.utils.files import atomic_write_text
from lib.utils.json_text import parse_json

if TYPE_CHECKING:
    from lib.tracker.settings import TrackerSettings

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
)
_NOW, _JUMP, _SPREAD = map(FEATURES.index, ("entropy_centre", "recent_jump", "recent_entropy"))
# Calibrations of before go on as they were fitted: what is new has no weight in them.
_OLDER = FEATURES[:-2]
ADVICE = "fit one with: seqtrack calibrate --config NAME --dataset synthetic_calibration"
_AGAIN = "remove it, or fit it again with seqtrack calibrate"
_TINY = 1e-12
_PATCH = 24  # pixels along the side of what is compared
_LEVELS = 4  # of a colour channel in a histogram
# A jump counts for half after 34 frames; the spread is a mean over about three.
_FORGET_JUMP, _ENTROPY_RATE = 0.98, 0.3
_LEAST_JUMP = 0.02  # of a side; less is as still
# Bins farther from the likeliest than this share of all are another place.
_OTHER_PLACE = 8


def calibration_path(weights: Path) -> Path:
    """Where the calibration of a weights file lies."""
    return weights.with_name(f"{weights.name}.calibration.json")


def patch_of(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What a box of a crop shows, `(24, 24, 3)` uint8, whatever its shape.

    Args:
        pixels: `(S, S, 3)` uint8.
        box: cxcywh normalised to the crop.
    """
    side, n = pixels.shape[0], _PATCH
    x, y, w, h = (float(value) * side for value in box)
    # Pixel centres: column i of the patch lies at x - w / 2 + (i + 0.5) * w / n - 0.5.
    to_crop = np.array(
        [
            [w / n, 0, x - w / 2 + w / (2 * n) - 0.5],
            [0, h / n, y - h / 2 + h / (2 * n) - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(pixels, to_crop, (n, n), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def template_patch(template: Template) -> np.ndarray:
    """As `patch_of`, for the target of a template."""
    x, y, w, h = template.box
    return patch_of(template.crop, np.array([x + w / 2, y + h / 2, w, h]))


def alike(first: np.ndarray, now: np.ndarray) -> float:
    """How alike the colours of two patches are: Bhattacharyya's coefficient of histograms, 0..1.

    On the training clips it tells the target from what is not it, where the correlation of the
    pixels does not: a turn or a box that is a little off leaves it as it is.
    """
    return _shared(_colours(first), _colours(now))


def _shared(first: np.ndarray, now: np.ndarray) -> float:
    """Bhattacharyya's coefficient of two histograms."""
    return float(np.sqrt(first * now).sum())


def _colours(patch: np.ndarray) -> np.ndarray:
    """Share of the pixels in each of 4 x 4 x 4 boxes of the RGB cube, `(4, 4, 4)`."""
    counts = cv2.calcHist([patch], [0, 1, 2], None, [_LEVELS] * 3, [0, 256] * 3)
    return counts / (patch.shape[0] * patch.shape[1])


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
    """

    jump: float = 0.0
    entropy: float | None = None

    def after(self, step: float, entropy: float) -> "Recent":
        """With one frame more, in which the box went so far."""
        before = entropy if self.entropy is None else self.entropy
        return Recent(
            max(step, _FORGET_JUMP * self.jump), before + _ENTROPY_RATE * (entropy - before)
        )

    def evidence(self) -> tuple[float, float]:
        """The last two of `FEATURES`."""
        return math.log(self.jump + _LEAST_JUMP), self.entropy or 0.0


@dataclass(frozen=True)
class Calibration:
    """A logistic regression on standardised evidence.

    Attributes:
        means: (K,) of the evidence it was fitted on.
        scales: (K,) standard deviations.
        weights: (K,).
        bias: of the logit.
        record: what it was fitted on and for which weights.
    """

    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    record: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        return np.array([self.means, self.scales, self.weights])

    def __call__(self, evidence: np.ndarray) -> np.ndarray:
        """Certainty `(...)` in [0, 1] of evidence `(..., K)`."""
        means, scales, weights = self._rows
        z = ((evidence - means) / scales).clip(-5, 5)
        return 1 / (1 + np.exp(-(z @ weights + self.bias)))

    @classmethod
    def fit(
        cls, evidence: np.ndarray, good: np.ndarray, record: Mapping[str, Any] | None = None
    ) -> "Calibration":
        """The calibration by which `good` is likeliest (Newton's method, a small ridge).

        Args:
            evidence: `(N, K)`.
            good: `(N,)` whether the box was on the target.
            record: kept with it.

        Raises:
            ValueError: all are good, or none.
        """
        if good.all() or not good.any():
            raise ValueError("a calibration needs boxes on the target and boxes off it")
        means, scales = evidence.mean(axis=0), np.maximum(evidence.std(axis=0), 1e-3)
        z = np.clip((evidence - means) / scales, -5, 5)
        z = np.concatenate([z, np.ones((len(z), 1))], axis=1)
        ridge = np.diag([*np.full(z.shape[1] - 1, 1e-3 * len(z)), 1e-9])
        beta = np.zeros(z.shape[1])
        for _ in range(50):
            p = 1 / (1 + np.exp(-(z @ beta)))
            slope = z.T @ (good - p) - ridge @ beta
            curve = (z * (p * (1 - p))[:, None]).T @ z + ridge
            step = np.linalg.solve(curve, slope)
            beta += step
            if np.abs(step).max() < 1e-8:
                break
        *weights, bias = beta.tolist()
        return cls(
            tuple(means.tolist()), tuple(scales.tolist()), tuple(weights), bias, record or {}
        )

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        atomic_write_text(path, json.dumps(self.tree(), indent=2) + "\n")

    def tree(self) -> dict[str, Any]:
        """What `from_tree` makes it of, for a file of JSON."""
        return {"features": list(FEATURES), **asdict(self)}

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            CheckpointError: it cannot be read, or is of other evidence than this version's.
        """
        try:
            tree = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: no calibration ({error!r:.160}); {_AGAIN}") from error
        return cls.from_tree(tree, path)

    @classmethod
    def from_tree(cls, tree: Any, path: Path) -> "Calibration":
        """The calibration that `tree` made a tree of.

        Args:
            tree: read from a file.
            path: the file, for messages.

        Raises:
            CheckpointError: as `load`.
        """
        try:
            rows = [tuple(map(float, tree[key])) for key in ("means", "scales", "weights")]
            made = cls(*rows, float(tree["bias"]), dict(tree["record"]))
            features = tuple(tree["features"])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{path}: no calibration ({error!r:.160}); {_AGAIN}") from error
        numbers = np.array([*rows[0], *rows[1], *rows[2], made.bias])
        if features not in (FEATURES, _OLDER) or any(len(row) != len(features) for row in rows):
            raise CheckpointError(f"{path}: a calibration of another version's evidence; {_AGAIN}")
        if not np.isfinite(numbers).all() or min(rows[1]) <= 0:
            raise CheckpointError(f"{path}: numbers that are not finite, or no scale; {_AGAIN}")
        more = len(FEATURES) - len(features)
        means, scales, weights = (
            row + (rest,) * more for row, rest in zip(rows, (0.0, 1.0, 0.0), strict=True)
        )
        return replace(made, means=means, scales=scales, weights=weights)


@dataclass(frozen=True, eq=False)
class Sight:
    """What one frame says of one target.

    Attributes:
        evidence: (K,) values of `FEATURES`.
        certainty: that the box is on the target; the score's share of the highest where there is
            no calibration.
        momentary: the same, if nothing were known of the frames before.
        patch: what the box shows.
        recent: what the next frame has to know.
        rival: the best other place; None where nobody asks.
    """

    evidence: np.ndarray
    certainty: float
    momentary: float
    patch: np.ndarray
    recent: Recent = Recent()
    rival: Rival | None = None

    @property
    def alike(self) -> float:
        """How like the first template it looks, 0..1."""
        return float(self.evidence[FEATURES.index("alike")])

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
        self._first: WeakKeyDictionary[Template, np.ndarray] = WeakKeyDictionary()

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
            self._first[first] = _colours(template_patch(first))
        like = _shared(self._first[first], _colours(patch))
        shift = math.hypot(*(box[:2] - 0.5).tolist())
        spread = distribution_evidence(values, self.centre, self.window)
        recent = recent.after(step, spread[_NOW])
        rest = (against_usual, abs(size_change), like, shift, *recent.evidence())
        evidence = np.array([*spread, *rest])
        certainty = momentary = score
        if self.calibration is not None:
            # As if the box had jumped as far as usual, and the spread had always been this one.
            alone = evidence.copy()
            alone[_JUMP], alone[_SPREAD] = self.calibration.means[_JUMP], evidence[_NOW]
            certainty, momentary = self.calibration(np.stack([evidence, alone])).tolist()
        rival = rival_of(values, self.centre, crop, box) if self.sees_rivals else None
        return Sight(evidence, certainty, momentary, patch, recent, rival)
