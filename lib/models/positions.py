"""What position tables and word tables start from, before training moves them."""

import math

import torch
from torch import Tensor

_LONGEST = 16.0  # ratio of a grid table's longest wavelength to its shortest
_SHORTEST = 1.5  # radians per token of the shortest one
_WAVES = 31  # of the words: down to a sixteenth of the range and less


def sinusoid_table(rows: int, dim: int) -> Tensor:
    """The 1-D sinusoid position table `(rows, dim)`, float32 (computed in double).

    Source: Attention Is All You Need, section 3.5. It only initialises a trained parameter.
    """
    column = torch.arange(dim, dtype=torch.float64)
    wavelength = 10000 ** (2 * torch.div(column, 2, rounding_mode="floor") / dim)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] / wavelength
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


def grid_table(side: int, dim: int) -> Tensor:
    """Sinusoids of x and of y, measured from the middle: `(side * side, dim)`, row by row.

    As large as the tokens they are added to, so that where a token is can be read off it from
    the first step on. Source: the fixed tables of MAE (He et al., CVPR 2022), which the published
    trackers start from; the wavelengths here fit a few tokens instead of a few hundred.

    Args:
        side: tokens along a side.
        dim: channels, a multiple of 4.
    """
    # On the CPU whatever the default: no file has this table, so it must hold numbers even in a
    # network that is built on the meta device to take its weights from a file.
    place = torch.arange(side, device="cpu") - (side - 1) / 2
    quarter = dim // 4
    wave = torch.arange(quarter, device="cpu") / quarter
    angle = place[:, None] * _SHORTEST * _LONGEST**-wave
    along = torch.cat([angle.sin(), angle.cos()], dim=1)
    x, y = along.expand(side, -1, -1), along[:, None].expand(-1, side, -1)
    return torch.cat([x, y], dim=2).flatten(0, 1)


def ordered_rows(bins: int, dim: int) -> Tensor:
    """A random table `(bins, dim)` in which rows of neighbouring coordinates are alike.

    Random mixtures of smooth waves over the coordinate, of standard deviation about 0.7: what is
    learnt of one coordinate then holds for its neighbours from the first step on.
    """
    angle = torch.linspace(0, math.pi, bins)[:, None] * torch.arange(1, _WAVES + 1)
    waves = torch.cat([torch.ones(bins, 1), angle.sin(), angle.cos()], dim=1)
    return waves @ torch.randn(waves.shape[1], dim) / waves.shape[1] ** 0.5
