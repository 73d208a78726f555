"""When the gated rule (TEST.UPDATE_RULE) writes a template: only of what is surely the target.

After the gated memories of SAMURAI and DAM4SAM (2024), which need no training either: the network
is sure, the size is plausible, nothing rejected looks more like the box than the first template,
and tracking back to the frame before returns to the old box.
"""

from dataclasses import dataclass, replace

import numpy as np

from lib.tracker.appearance import alike, template_patch
from lib.tracker.certainty import Sight
from lib.tracker.engine.api import Template
from lib.utils.boxes import Box, iou_xywh

# Certainty that a template needs.
SURE = 0.9
# Largest change of size from frame to frame, and from the first frame: logarithms of the side.
_STEP, _WHOLE = 0.2, 1.0
# A place with this share of the chosen one's probability is a look-alike to remember.
_RIVAL = 0.2
# Overlap with the old box to which tracking back returns.
RETURNS = 0.6


@dataclass(frozen=True, eq=False)
class GateMemory:
    """What is kept of the frames before.

    Attributes:
        image: the last frame.
        rejected: patch of the last look-alike that was not chosen; None before there was one.
    """

    image: np.ndarray
    rejected: np.ndarray | None = None

    def after(self, image: np.ndarray, sight: Sight) -> "GateMemory":
        """What is kept after one more frame."""
        rival = sight.rival
        if rival is not None and rival.share >= _RIVAL and sight.momentary >= SURE:
            return GateMemory(image, rival.patch)
        return replace(self, image=image)


def may_write(sight: Sight, memory: GateMemory, old: Box, new: Box, first: Template) -> bool:
    """Whether a box may become a template, as far as one frame tells.

    Args:
        sight: of the frame.
        memory: of the frames before it.
        old: xywh box of the frame before.
        new: xywh box of this frame.
        first: the first template.
    """
    step = abs(0.5 * np.log(new[2] * new[3] / (old[2] * old[3])))
    if sight.momentary < SURE or step > _STEP or sight.size_change > _WHOLE:
        return False
    if memory.rejected is None:
        return True
    return alike(memory.rejected, sight.patch) < alike(template_patch(first), sight.patch)


def returns(found: Box, old: Box) -> bool:
    """Whether tracking back came to the old box."""
    return bool(iou_xywh(np.array([found]), np.array([old]))[0] >= RETURNS)
