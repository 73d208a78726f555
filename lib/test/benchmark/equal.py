"""Whether two engines say the same: the rule, and the frames where they may differ."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lib.models.engine import Readout

# Two candidates this close (relative) are a tie: rounding may decide between them.
TIE = 1e-4
TIES_ALLOWED = 1e-4  # of all tokens


def margins(distributions: Tensor) -> Tensor:
    """How far the best candidate is ahead of the next, relative: `(..., bins)` to `(...)`."""
    best, second = distributions.double().topk(2, dim=-1).values.unbind(-1)
    return (best - second) / best


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

    def add(self, what: str, reference: Readout, other: Readout) -> None:
        """Compare one call of both; `reference` needs its distributions.

        Words that follow a different one answer another question and are left out.
        """
        if reference.distributions is None:
            raise ValueError("the reference must keep its distributions")
        ahead = margins(reference.distributions)
        for target in range(len(reference.tokens)):
            for place in range(reference.tokens.shape[1]):
                self.tokens += 1
                a, b = (int(said.tokens[target, place]) for said in (reference, other))
                if a == b:
                    continue
                margin = float(ahead[target, place])
                found = {"at": what, "token": place, "reference": a, "other": b, "margin": margin}
                (self.ties if margin <= TIE else self.wrong).append(found)
                break

    @property
    def equal(self) -> bool:
        """No token differs but for ties, and these are as rare as promised."""
        return not self.wrong and len(self.ties) <= max(1.0, TIES_ALLOWED * self.tokens)


def box_distance(one: Tensor, other: Tensor, side: int) -> Tensor:
    """Largest difference of two cxcywh boxes `(B, 4)`, in pixels of a crop of that side: `(B,)`."""
    return (one - other).abs().amax(dim=-1) * side if len(one) else torch.zeros(0)
