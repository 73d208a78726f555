"""Sure, unsure, lost: a state with hysteresis, and where a target in doubt is looked for.

The tracker goes on as it would without a state: what is half hidden is best followed from where it
is. When a target becomes uncertain, and for a while after that, every frame is searched in more
places: about the last sure box first, then farther and farther around, at the usual scale. What
speaks for such a place, again and again, is compared with what speaks for the box that is
followed: the network takes look-alikes for the target, but is less sure of them than of the target
itself, as soon as it sees both. States are values, so many targets go in one batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from lib.utils.boxes import Box

if TYPE_CHECKING:
    from lib.config.schema.model import LostTarget

TrackState = Literal["tracked", "uncertain", "lost"]
# Certainties nearer to 0 or 1 than this tell nothing more.
_LEAST = 0.002
# A place that is followed already is not left for one for which only so much more speaks.
_STAY = 1.0
# How fast the usual support follows.
_USUAL_RATE = 0.1


class Look(NamedTuple):
    """What one search region of a frame gave.

    Attributes:
        box: xywh that was found.
        certainty: of it.
        momentary: the same of the frame by itself, wherever its search region lies.
    """

    box: Box
    certainty: float
    momentary: float

    @property
    def support(self) -> float:
        """What speaks for the box in this frame alone: log odds."""
        p = min(max(self.momentary, _LEAST), 1 - _LEAST)
        return math.log(p / (1 - p))


class Candidate(NamedTuple):
    """Another place where the target may be.

    Attributes:
        box: xywh.
        support: running mean.
        frames: in a row in which it was the best place elsewhere.
    """

    box: Box
    support: float
    frames: int


@dataclass(frozen=True)
class Presence:
    """What is believed of one target.

    Attributes:
        state: of the three.
        level: running mean of the certainty.
        sure_box: xywh, the last one that was sure.
        support: running mean of what speaks for the box that is followed; None at first.
        usual: the same, slower, of sure frames without doubt; None at first.
        watch: for so many frames more it is looked for elsewhere, too.
        looks: frames in which it was.
        candidate: the best place elsewhere.
    """

    state: TrackState
    level: float
    sure_box: Box
    support: float | None = None
    usual: float | None = None
    watch: int = 0
    looks: int = 0
    candidate: Candidate | None = None


def sure_of(box: Box) -> Presence:
    """What is believed of a target that was just given."""
    return Presence("tracked", 1.0, box)


def judge(now: Presence, rule: "LostTarget", look: Look) -> Presence:
    """What is believed after a frame.

    Args:
        now: before it.
        rule: TEST.LOST.
        look: where the target is followed.
    """
    sure = look.certainty >= rule.sure
    level = now.level + rule.rate * (look.certainty - now.level)
    state = _state(now.state, rule, level)
    watch = rule.watch if state != "tracked" else max(0, now.watch - 1)
    usual = now.usual
    if usual is None or (sure and not watch):
        usual = _towards(usual, look.support, _USUAL_RATE)
    return Presence(
        state=state,
        level=level,
        sure_box=look.box if sure and state != "lost" else now.sure_box,
        support=_towards(now.support, look.support, rule.rate),
        usual=usual,
        watch=watch,
        looks=now.looks + 1 if watch else 0,
        candidate=now.candidate if watch else None,
    )


def _state(before: TrackState, rule: "LostTarget", level: float) -> TrackState:
    if level < rule.below:
        return "lost"
    if level >= rule.sure:
        return "tracked"
    if level < rule.unsure:
        return "lost" if before == "lost" else "uncertain"
    return "uncertain" if before == "lost" else before


def _towards(mean: float | None, new: float, rate: float) -> float:
    return new if mean is None else mean + rate * (new - mean)


def places_to_look(
    now: Presence, rule: "LostTarget", search_factor: float, size: tuple[int, int]
) -> list[Box]:
    """The xywh boxes about which a target in doubt is looked for, beside where it is followed.

    Args:
        now: before the frame.
        rule: TEST.LOST.
        search_factor: of the search regions.
        size: height and width of the picture.
    """
    if not now.watch:
        return []
    places = [] if now.candidate is None else [now.candidate.box]
    x, y, w, h = now.sure_box
    # Neighbours overlap by half, so that all of a target is inside of one of them.
    stride = 0.5 * search_factor * (w * h) ** 0.5
    cells = _cells((x + w / 2, y + h / 2), stride, size)
    count = min(max(1, rule.looks - len(places)), len(cells))
    turn = (np.arange(count) + (now.looks - 1) * count) % len(cells)
    return places + [(cx - w / 2, cy - h / 2, w, h) for cx, cy in cells[turn].tolist()]


def _cells(start: tuple[float, float], stride: float, size: tuple[int, int]) -> np.ndarray:
    """`start`, and points that far apart all over the picture, nearest first: `(N, 2)` x, y."""
    along = []
    for extent in (size[1], size[0]):
        count = max(1, int(np.ceil(extent / stride)) - 1)
        along.append((np.arange(count) + 1) * extent / (count + 1))
    points = np.stack(np.meshgrid(*along), axis=-1).reshape(-1, 2)
    points = np.concatenate([[start], points])
    return points[((points - start) ** 2).sum(axis=1).argsort(kind="stable")]


def compare(
    now: Presence, rule: "LostTarget", box: Box, looks: Sequence[Look]
) -> tuple[Presence, int | None]:
    """What is believed after looks elsewhere, and which of them found the target; None: none did.

    Args:
        now: after `judge`.
        rule: TEST.LOST.
        box: xywh where the target is followed.
        looks: at `places_to_look`.
    """
    before = now.candidate
    apart = [n for n, look in enumerate(looks) if not _meet(box, look.box)]
    if not apart or now.support is None or now.usual is None:
        return replace(now, candidate=None), None
    again = [before is not None and _meet(before.box, look.box) for look in looks]
    best = max(apart, key=lambda n: looks[n].support + _STAY * again[n])
    look = looks[best]
    candidate = Candidate(look.box, look.support, 1)
    if before is not None and again[best]:
        support = _towards(before.support, look.support, rule.rate)
        candidate = Candidate(look.box, support, before.frames + 1)
    least = max(now.support + rule.margin, now.usual - rule.slack)
    if candidate.frames < rule.confirm or candidate.support < least:
        return replace(now, candidate=candidate), None
    # What speaks for it may change again: the place that is left is one to look at now.
    found = replace(
        now,
        state="tracked",
        level=look.momentary,
        sure_box=look.box,
        support=candidate.support,
        watch=rule.watch,
        looks=1,
        candidate=None,
    )
    return found, best


def _meet(one: Box, other: Box) -> bool:
    """Whether the centre of the other box is inside of the first."""
    x, y = other[0] + other[2] / 2, other[1] + other[3] / 2
    return one[0] <= x <= one[0] + one[2] and one[1] <= y <= one[1] + one[3]
