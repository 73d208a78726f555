"""Sure, unsure, lost: a state with hysteresis, and how a lost target is looked for.

While a target is lost its box stays where it was last sure, and each frame is one look elsewhere.
Looks come in pairs. The first widens step by step about the last sure box, and then goes over the
picture, nearest places first; the second goes back to the usual scale, at the place that the
first one found. Only such a close look takes the target back, and only if it is sure, or again and
again not unsure, and what it shows looks like the first template. States are values, so many
targets go in one batch.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from lib.utils.boxes import Box

if TYPE_CHECKING:
    from lib.config.schema.model import LostTarget

TrackState = Literal["tracked", "uncertain", "lost"]


@dataclass(frozen=True)
class Presence:
    """What is believed of one target.

    Attributes:
        state: of the three.
        level: running mean of the certainty.
        sure_box: xywh, the last one that was sure.
        looks: frames since it was lost.
        candidate: xywh, where the next look is a close one; None for a wide one.
        usual: how like the first template it looks, 0..1: a running mean over the sure boxes.
    """

    state: TrackState
    level: float
    sure_box: Box
    looks: int = 0
    candidate: Box | None = None
    usual: float = 1.0


def sure_of(box: Box) -> Presence:
    """What is believed of a target that was just given."""
    return Presence("tracked", 1.0, box)


def where_to_look(
    now: Presence, rule: "LostTarget", search_factor: float, size: tuple[int, int]
) -> tuple[Box, float]:
    """Box and search factor of the next look for a lost target.

    Args:
        now: its state is lost.
        rule: TEST.LOST.
        search_factor: the usual one.
        size: height and width of the picture.
    """
    if now.candidate is not None:
        return now.candidate, search_factor
    step = now.looks // 2
    scales = np.geomspace(1.0, rule.widest, rule.steps)
    if step < len(scales):
        return now.sure_box, search_factor * float(scales[step])
    factor = search_factor * rule.widest
    places = _tiles(now.sure_box, factor, size)
    return places[(step - len(scales)) % len(places)], factor


def _tiles(box: Box, factor: float, size: tuple[int, int]) -> list[Box]:
    """The box moved so that squares of `factor` about it cover the picture; nearest first."""
    x, y, w, h = box
    side = factor * (w * h) ** 0.5
    along = []
    for extent in (size[1], size[0]):
        count = max(1, int(np.ceil(extent / (0.5 * side))) - 1)
        along.append((np.arange(count) + 1) * extent / (count + 1))
    places = [(cx, cy) for cy in along[1].tolist() for cx in along[0].tolist()]
    places.sort(key=lambda at: (at[0] - x - w / 2) ** 2 + (at[1] - y - h / 2) ** 2)
    return [(cx - w / 2, cy - h / 2, w, h) for cx, cy in places]


def judge(
    now: Presence, rule: "LostTarget", box: Box, certainty: float, likeness: float
) -> tuple[Presence, Box]:
    """What is believed after a frame, and the box that counts.

    Args:
        now: before it.
        rule: TEST.LOST.
        box: xywh that was found.
        certainty: of it.
        likeness: how like the first template it looks, 0..1.
    """
    # By and by the light changes, or the view; another thing is there from one frame to the next.
    unlike = now.usual >= rule.unlike > likeness and likeness < now.usual / 2
    if unlike:
        certainty = 0.0
    if now.state == "lost":
        return _looked(now, rule, box, certainty, likeness)
    usual = now.usual
    if certainty >= rule.sure:
        usual += rule.rate * (likeness - usual)
    level = now.level + rule.rate * (certainty - now.level)
    state: TrackState = now.state
    if level < rule.below:
        # It may have gone with whatever hides the target: back to where it was sure.
        return Presence("lost", level, now.sure_box, usual=usual), now.sure_box
    if state == "tracked" and level < rule.unsure:
        state = "uncertain"
    elif state == "uncertain" and level >= rule.sure:
        state = "tracked"
    sure_box = box if certainty >= rule.sure else now.sure_box
    return Presence(state, level, sure_box, usual=usual), box


def _looked(
    now: Presence, rule: "LostTarget", box: Box, certainty: float, likeness: float
) -> tuple[Presence, Box]:
    close = now.candidate is not None or now.looks == 0
    if close and certainty >= rule.unsure and likeness >= min(rule.alike, now.usual):
        level = now.level + rule.rate * (certainty - now.level)
        if certainty >= rule.back:
            return Presence("tracked", certainty, box, usual=now.usual), box
        if level >= rule.unsure:
            return Presence("uncertain", level, box, usual=now.usual), box
        # It may well be the target: looking elsewhere would lose it again.
        return replace(now, level=level, candidate=box), now.sure_box
    next_look = replace(now, level=min(now.level, certainty), looks=now.looks + 1, candidate=None)
    if now.candidate is None:
        # A size that was read off at another scale says little.
        x, y, w, h = box
        _, _, old_w, old_h = now.sure_box
        place = (x + (w - old_w) / 2, y + (h - old_h) / 2, old_w, old_h)
        next_look = replace(next_look, candidate=place)
    return next_look, now.sure_box
