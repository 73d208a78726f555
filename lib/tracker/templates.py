"""Templates: how they are cut, when a new one is taken, and which one it replaces.

Source: SeqTrack (CVPR 2023), section 3.4, with the exact rule of the reference tracker.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from lib.tracker.engine.api import Engine, Template
from lib.tracker.settings import TrackerSettings
from lib.tracker.state import TargetState
from lib.utils.boxes import Box
from lib.utils.crop import crop_square

T = TypeVar("T")

# The score is ten times the sum of the four token confidences.
SCORE_SCALE = 10.0


def update_due(
    frame: int, score: float, num_templates: int, interval: int, threshold: float
) -> bool:
    """Whether frame number `frame` (first tracked frame is 1) gives a new template.

    Example:
        >>> update_due(50, 20.0, num_templates=2, interval=25, threshold=0.6)
        True
        >>> update_due(50, 20.0, num_templates=1, interval=25, threshold=0.6)
        False
    """
    return num_templates > 1 and frame % interval == 0 and score > threshold


def replace_oldest(templates: tuple[T, ...], new: T) -> tuple[T, ...]:
    """Append `new` and drop the oldest of the two or more templates but the first, which stays.

    Example:
        >>> replace_oldest(("first", "old", "younger"), "new")
        ('first', 'younger', 'new')
    """
    return (templates[0], *templates[2:], new)


def cut_templates(
    images: Sequence[np.ndarray],
    boxes: Sequence[Box],
    settings: TrackerSettings,
    engine: Engine,
) -> list[Template]:
    """A template around the xywh box of each frame, all taken in at once."""
    size = settings.template_size
    crops = [
        crop_square(image, box, settings.template_factor, size)
        for image, box in zip(images, boxes, strict=True)
    ]
    placed = []
    for crop in crops:
        # By S - 1, as the boxes of training samples are.
        w, h = (side * crop.resize_factor / (size - 1) for side in crop.box[2:])
        placed.append((0.5 - w / 2, 0.5 - h / 2, w, h))
    return engine.templates([crop.pixels for crop in crops], placed)


def take_templates(
    states: Sequence[TargetState],
    images: Sequence[np.ndarray],
    settings: TrackerSettings,
    engine: Engine,
) -> list[TargetState]:
    """The states with a template cut around each box in place of the oldest."""
    made = cut_templates(images, [state.box for state in states], settings, engine)
    taken = []
    for state, new in zip(states, made, strict=True):
        # The same template once more is less work than another one: engines go by identity.
        same = next((old for old in state.templates if old.looks_like(new)), new)
        taken.append(replace(state, templates=replace_oldest(state.templates, same)))
    return taken
