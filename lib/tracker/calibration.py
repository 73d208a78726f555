"""A calibration turns evidence into the probability that a box is on the target.

It overlaps the target by half or more: that is what is told, by a logistic regression on
`lib.tracker.evidence.FEATURES`. `seqtrack calibrate` fits it for a network's weights, and it lies
beside them.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.tracker.evidence import FEATURES
from lib.utils.errors import CheckpointError, DataError
from lib.utils.files import atomic_write_text
from lib.utils.json_text import parse_json

ADVICE = "fit one with: seqtrack calibrate --config NAME --dataset synthetic_calibration"
NOTHING = "nothing can be calibrated on these videos"
_AGAIN = "remove it, or fit it again with seqtrack calibrate"
# What hangs on where the search region lies, or on the box of the frames before.
OF_PLACE = tuple(map(FEATURES.index, ("shift", "recent_jump", "recent_entropy")))
# What hangs on which frames were sure.
OF_LOOKS = tuple(map(FEATURES.index, ("recent_colours", "recent_edges")))
# Calibrations of before go on as they were fitted: what is new has no weight in them.
_OLDER = (FEATURES[:11], FEATURES[:13])


def calibration_path(weights: Path) -> Path:
    """Where the calibration of a weights file lies."""
    return weights.with_name(f"{weights.name}.calibration.json")


@dataclass(frozen=True)
class Regression:
    """A logistic regression on standardised evidence.

    Attributes:
        means: (K,) of the evidence it was fitted on.
        scales: (K,) standard deviations.
        weights: (K,).
        bias: of the logit.
    """

    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        return np.array([self.means, self.scales, self.weights])

    def __call__(self, evidence: np.ndarray) -> np.ndarray:
        """Probability `(...)` of evidence `(..., K)`."""
        means, scales, weights = self._rows
        z = ((evidence - means) / scales).clip(-5, 5)
        return 1 / (1 + np.exp(-(z @ weights + self.bias)))

    @classmethod
    def fit(
        cls,
        evidence: np.ndarray,
        good: np.ndarray,
        counts: np.ndarray | None = None,
        without: Sequence[int] = (),
    ) -> "Regression":
        """The one by which `good` is likeliest (Newton's method, a small ridge).

        Args:
            evidence: `(N, K)`.
            good: `(N,)` whether the box was on the target.
            counts: `(N,)` how much each row counts; None: all the same.
            without: which of the evidence gets no weight.

        Raises:
            DataError: all are good, or none.
        """
        if good.all() or not good.any():
            raise DataError(f"{NOTHING}: a calibration needs boxes on the target and boxes off it")
        evidence = np.array(evidence)
        evidence[:, without] = 0.0
        share = np.ones(len(evidence)) if counts is None else counts / counts.mean()
        means = np.average(evidence, axis=0, weights=share)
        spread = np.average((evidence - means) ** 2, axis=0, weights=share) ** 0.5
        scales = np.maximum(spread, 1e-3)
        z = np.clip((evidence - means) / scales, -5, 5)
        z = np.concatenate([z, np.ones((len(z), 1))], axis=1)
        ridge = np.diag([*np.full(z.shape[1] - 1, 1e-3 * len(z)), 1e-9])
        beta = np.zeros(z.shape[1])
        for _ in range(50):
            p = 1 / (1 + np.exp(-(z @ beta)))
            slope = z.T @ (share * (good - p)) - ridge @ beta
            curve = (z * (share * p * (1 - p))[:, None]).T @ z + ridge
            step = np.linalg.solve(curve, slope)
            beta += step
            if np.abs(step).max() < 1e-8:
                break
        *weights, bias = beta.tolist()
        return cls(tuple(means.tolist()), tuple(scales.tolist()), tuple(weights), bias)

    @classmethod
    def from_tree(cls, tree: Any, count: int) -> "Regression":
        """The numbers of a file, for the first `count` kinds of evidence.

        Raises:
            ValueError: they are too few or too many, not finite, or no scales.
            KeyError, TypeError, OverflowError: it is no such tree.
        """
        rows = [tuple(map(float, tree[key])) for key in ("means", "scales", "weights")]
        bias = float(tree["bias"])
        if any(len(row) != count for row in rows):
            raise ValueError(f"not {count} numbers each")
        if not np.isfinite([*rows[0], *rows[1], *rows[2], bias]).all() or min(rows[1]) <= 0:
            raise ValueError("numbers that are not finite, or no scale")
        more = len(FEATURES) - count
        means, scales, weights = (
            row + (rest,) * more for row, rest in zip(rows, (0.0, 1.0, 0.0), strict=True)
        )
        return cls(means, scales, weights, bias)

    def forgetting(self, without: Sequence[int]) -> "Regression":
        """The same, with no weight on some of the evidence."""
        weights = (0.0 if i in without else weight for i, weight in enumerate(self.weights))
        return Regression(self.means, self.scales, tuple(weights), self.bias)


@dataclass(frozen=True)
class Calibration:
    """Three regressions on the same evidence, each with what it may know.

    Attributes:
        whole: of all of it: the certainty of a box.
        alone: of a frame by itself, wherever its search region lies: what places are compared by.
        steady: of all but what the target looked like in sure frames: which frames these are must
            not hang on themselves, or a target that changes is never sure again.
        record: what it was fitted on and for which weights.
    """

    whole: Regression
    alone: Regression
    steady: Regression
    record: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        atomic_write_text(path, json.dumps(self.tree(), indent=2) + "\n")

    def tree(self) -> dict[str, Any]:
        """What `from_tree` makes it of, for a file of JSON."""
        parts = {"alone": asdict(self.alone), "steady": asdict(self.steady)}
        return {"features": list(FEATURES), **asdict(self.whole), **parts, "record": self.record}

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
            features, record = tuple(tree["features"]), dict(tree["record"])
            if features != FEATURES and features not in _OLDER:
                raise CheckpointError(
                    f"{path}: a calibration of another version's evidence; {_AGAIN}"
                )
            whole = Regression.from_tree(tree, len(features))
            if features in _OLDER:
                return cls(whole, whole.forgetting(OF_PLACE), whole, record)
            parts = (
                Regression.from_tree(tree[part], len(features)) for part in ("alone", "steady")
            )
            return cls(whole, *parts, record)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{path}: no calibration ({error!r:.160}); {_AGAIN}") from error
