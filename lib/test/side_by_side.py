"""Two engines on the same crops: one leads, the other is compared with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib.models.engine import Engine, Readout, Template
from lib.test.benchmark.equal import Agreement, box_distance


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
        self, templates: Sequence[Sequence[Template]], search: Sequence[np.ndarray] | np.ndarray
    ) -> Readout:
        """See `Engine.generate`; what `lead` says."""
        pairs: list[list[tuple[Template, Template]]]
        pairs = [[one.kept for one in row] for row in templates]
        said = self.lead.generate([[own for own, _ in row] for row in pairs], search)
        its = self.other.generate([[other for _, other in row] for row in pairs], search)
        self.agreement.add(f"frame {len(self.distances)}", said, its)
        self.distances += box_distance(said.boxes, its.boxes, self.side).tolist()
        return said

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
