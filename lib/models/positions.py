"""Position tables for crops of other sizes than those that weights were trained with."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

# In a SeqTrack: of what the decoder reads, and of search region and templates.
_MEMORY, _JOINT = "pos_embed", "encoder.body.pos_embed"


def resample_positions(table: Tensor, search_side: int, template_side: int) -> Tensor:
    """The position table for search and template crops.

    Args:
        table: `(1, 1 + s * s, C)`, the class token's row first.
        search_side: patches along a side of the search crop.
        template_side: patches along a side of a template crop.

    Returns:
        `(1, search_side ** 2 + template_side ** 2, C)`, search rows first. A part whose side
        is s already is copied; else bicubic between the corners, without antialiasing.

    Raises:
        ValueError: the rows after the first are not a square.
    """
    rows = table.shape[1] - 1 if table.ndim == 3 else 0
    side = round(rows**0.5)
    if side < 1 or side * side != rows:
        raise ValueError(
            f"position table of shape {tuple(table.shape)}: expected a class row and a square"
        )
    square = _square(table[:, 1:])
    return torch.cat([_part(square, search_side), _part(square, template_side)], dim=1)


def fitted_positions(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """The weights of a SeqTrack with its position tables resized to another's.

    Both must be of networks whose decoder reads the search tokens (MODEL.FEATURE_TYPE x).

    Args:
        state: the weights.
        own: those of the network that is to take them.

    Returns:
        A copy with other tables, bicubic between the corners; None where the tables are of equal
        size, or not those of two squares.
    """
    have, want = _sides(state), _sides(own)
    if have is None or want is None or have == want:
        return None
    memory, joint = state[_MEMORY], state[_JOINT]
    rows = joint.split([side * side for side in have], dim=1)
    parts = [_part(_square(x), side) for x, side in zip(rows, want, strict=True)]
    return {
        **state,
        _MEMORY: _part(_square(memory), want[0]),
        _JOINT: torch.cat(parts, dim=1),
    }


def _sides(state: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Tokens along a side of the search region and of a template, where both are squares."""
    tables = [state.get(name) for name in (_MEMORY, _JOINT)]
    search, both = (0 if table is None or table.ndim != 3 else table.shape[1] for table in tables)
    counts = search, both - search
    if min(counts) < 1 or any(math.isqrt(count) ** 2 != count for count in counts):
        return None
    return math.isqrt(counts[0]), math.isqrt(counts[1])


def _square(rows: Tensor) -> Tensor:
    """`(1, s * s, C)` -> `(1, C, s, s)`."""
    side = math.isqrt(rows.shape[1])
    return rows.float().transpose(1, 2).unflatten(2, (side, side))


def _part(square: Tensor, side: int) -> Tensor:
    """`(1, C, s, s)` -> `(1, side * side, C)`."""
    if side != square.shape[-1]:
        square = F.interpolate(square, size=(side, side), mode="bicubic", align_corners=True)
    return square.flatten(2).transpose(1, 2)
