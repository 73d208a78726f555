"""Whether two engines predict the same tokens: the rule, and an engine that applies it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.tracker.engine.api import Engine, EngineOutput, Template

if TYPE_CHECKING:
    from lib.tracker.engine.api import Array

# Two candidates this close (relative) are a tie: rounding may decide between them.
TIE = 1e-4
TIES_ALLOWED = 1e-4  # of all tokens


def margins(distributions: "Array") -> np.ndarray:
    """How far the best candidate is ahead of the next, relative: `(..., bins)` to `(...)`."""
    values = np.partition(np.asarray(distributions).astype(np.float64), -2, axis=-1)
    return (values[..., -1] - values[..., -2]) / values[..., -1]


@dataclass
class Agreement:
    """Tokens of an engine beside those of the reference, both fed the same crops.

    Attributes:
        tokens: how many were compared.
        ties: those that differ where the reference's two best candidates are tied.
        wrong: those that differ elsewhere.
    """

    tokens: int = 0
    ties: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, reference: EngineOutput, other: EngineOutput) -> None:
        """Compare one call of both; `reference` needs its distributions.

        Tokens after a different one have another input and are left out.
        """
        if reference.distributions is None:
            raise ValueError("the reference must keep its distributions")
        ahead = margins(reference.distributions)
        for target in range(len(reference.tokens)):
            for index in range(reference.tokens.shape[1]):
                self.tokens += 1
                a, b = (int(one.tokens[target, index]) for one in (reference, other))
                if a == b:
                    continue
                margin = float(ahead[target, index])
                found = {"at": what, "token": index, "reference": a, "other": b, "margin": margin}
                (self.ties if margin <= TIE else self.wrong).append(found)
                break

    @property
    def equal(self) -> bool:
        """No token differs but for ties, and these are as rare as promised."""
        return not self.wrong and len(self.ties) <= max(1.0, TIES_ALLOWED * self.tokens)


def box_distance(one: "Array", other: "Array", side: int) -> np.ndarray:
    """Largest difference of two cxcywh boxes `(B, 4)`, in pixels of a crop of that side: `(B,)`."""
    return np.abs(np.asarray(one) - np.asarray(other)).max(axis=-1, initial=0) * side


class SideBySide(Engine):
    """An engine that answers as `lead` and notes where `other` differs; see `Engine`.

    Args:
        lead: whose boxes and templates both get.
        other: the one that is looked at.
        side: of the search crop in pixels.
    """

    name = "side by side"

    def __init__(self, lead: Engine, other: Engine, side: int) -> None:
        self.lead, self.other, self.side = lead, other, side
        self.keep_distributions = lead.keep_distributions = True
        self.agreement = Agreement()
        self.distances: list[float] = []

    def templates(
        self, crops: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]
    ) -> list[Template]:
        """See `Engine.templates`; both keep their own."""
        pairs = zip(
            self.lead.templates(crops, boxes), self.other.templates(crops, boxes), strict=True
        )
        return [Template(own.crop, own.box, (own, its)) for own, its in pairs]

    def generate(
        self,
        templates: Sequence[Sequence[Template]],
        search: Sequence[np.ndarray] | np.ndarray,
        history: np.ndarray | None = None,
    ) -> EngineOutput:
        """See `Engine.generate`; the prediction of `lead`."""
        pairs: list[list[tuple[Template, Template]]]
        pairs = [[one.cached for one in row] for row in templates]
        mine = self.lead.generate([[own for own, _ in row] for row in pairs], search, history)
        its = self.other.generate([[other for _, other in row] for row in pairs], search, history)
        self.agreement.add(f"frame {len(self.distances)}", mine, its)
        self.distances += box_distance(mine.boxes, its.boxes, self.side).tolist()
        return mine

    def facts(self) -> dict[str, Any]:
        """How many tokens and boxes agreed, and how far boxes were apart, in crop pixels."""
        apart = np.array(self.distances)
        return {
            "frames": len(apart),
            "tokens": self.agreement.tokens,
            "ties": len(self.agreement.ties),
            "wrong": len(self.agreement.wrong),
            "equal": self.agreement.equal,
            "box_px_median": float(np.median(apart)),
            "box_px_99": float(np.percentile(apart, 99)),
            "box_px_max": float(apart.max()),
            "within_1px": float((apart <= 1).mean()),
        }
