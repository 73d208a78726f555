"""The online template update: when a new template is taken, and which one it replaces.

Source: SeqTrack (CVPR 2023), section 3.4, with the exact rule of the reference tracker.
"""

from typing import TypeVar

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
