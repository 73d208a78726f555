"""What a tracker remembers of a target, and what one step says of it: values, so that many go in
one batch."""

from dataclasses import dataclass, field

from lib.tracker.certainty import Sight
from lib.tracker.engine.api import Template
from lib.tracker.evidence import Recent
from lib.tracker.gate import GateMemory
from lib.tracker.lost import Presence
from lib.utils.boxes import Box


@dataclass(frozen=True)
class TargetState:
    """All that is remembered of one target.

    Attributes:
        box: xywh in image pixels.
        templates: the T templates, oldest first; equal ones are the same object.
        first_size: width and height in the first frame, in image pixels.
        frame: number of the last frame; 0 is the first one.
        usual_score: running mean of the score over the frames that were not held; None at first.
        presence: what is believed of it, where a state is told.
        recent: what the frames before said of how sure its box is.
        memory: what the gated update needs of the frames before.
        history: the last boxes, oldest first, xywh in image pixels: at most as many as the network
            reads, and none while the target is lost.
    """

    box: Box
    templates: tuple[Template, ...]
    first_size: tuple[float, float]
    frame: int = 0
    usual_score: float | None = None
    presence: Presence | None = None
    recent: Recent = field(default_factory=Recent)
    memory: GateMemory | None = None
    history: tuple[Box, ...] = ()


@dataclass(frozen=True)
class TrackerOutput:
    """What one step says of one target.

    Attributes:
        state: the target's new state; `state.box` is the answer.
        tokens: the four tokens.
        token_confidence: their four probabilities.
        score: ten times the sum of these, which the update threshold is compared with.
        updated: whether a new template was taken.
        resize_factor: crop pixels per image pixel of the search crop.
        certainty: in [0, 1], that the box is on the target.
        sight: what that was told from; None where nobody asked.
    """

    state: TargetState
    tokens: tuple[int, ...]
    token_confidence: tuple[float, ...]
    score: float
    updated: bool
    resize_factor: float
    certainty: float
    sight: Sight | None = None
