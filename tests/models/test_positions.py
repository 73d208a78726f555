"""Position tables for other crop sizes."""

import pytest
import torch

from lib.models.positions import fitted_positions, resample_positions


def test_equal_side_is_copied():
    table = torch.randn(1, 1 + 16, 3)
    rows = resample_positions(table, 4, 4)
    assert rows.shape == (1, 32, 3)
    assert rows[:, :16].equal(table[:, 1:]) and rows[:, 16:].equal(table[:, 1:])


def cubic(values, x):
    """Value at `x` between samples 0 .. n-1: cubic convolution with a = -0.75, ends repeated."""
    total = 0.0
    for i in range(int(x) - 1, int(x) + 3):
        d = abs(x - i)
        a = -0.75
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        total += (near if d <= 1 else far) * values[min(max(i, 0), len(values) - 1)]
    return total


@pytest.mark.parametrize("side", [5, 16, 24])
def test_resampling_is_bicubic_between_the_corners(side):
    """Against the formula itself, row 1 and column 2 of the result, from a 14 x 14 table."""
    table = torch.randn(1, 1 + 14 * 14, 1, generator=torch.Generator().manual_seed(1))
    square = table[0, 1:, 0].reshape(14, 14).double()
    result = resample_positions(table, side, 14)[0, : side * side, 0]
    step = 13 / (side - 1)
    by_row = [cubic(row.tolist(), 2 * step) for row in square]
    assert result.reshape(side, side)[1, 2].item() == pytest.approx(cubic(by_row, step), abs=1e-5)
    corners = result.reshape(side, side)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.tolist() == pytest.approx(square[[0, 0, -1, -1], [0, -1, 0, -1]].tolist())


def tables(search, template, memory=None):
    """The tables of a network with so many tokens; each value says its row."""
    rows = torch.arange(float(search + template))[None, :, None].expand(1, -1, 3)
    return {"pos_embed": rows[:, : memory or search], "encoder.body.pos_embed": rows, "x": rows}


def test_a_network_with_other_crops():
    state, own = tables(16, 4), tables(9, 4)
    fitted = fitted_positions(state, own)
    # Rows 0 to 15 are 4 y + x, a plane; so are the places of a 3 x 3 grid, corner to corner, but
    # for what bicubic makes of the ends: the middle is the mean, the corners stay.
    for name, rows in (("pos_embed", 9), ("encoder.body.pos_embed", 13)):
        assert fitted[name].shape == (1, rows, 3)
        grid = fitted[name][0, :9, 0].reshape(3, 3)
        assert grid[1, 1].item() == pytest.approx(7.5)
        assert grid[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 3, 12, 15]
    assert fitted["encoder.body.pos_embed"][:, 9:].equal(state["encoder.body.pos_embed"][:, 16:])
    assert fitted["x"] is state["x"] and state["pos_embed"].shape == (1, 16, 3)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(tables(9, 4), id="equal"),
        pytest.param(tables(15, 4), id="no square"),
        pytest.param(tables(9, 4, memory=17), id="more memory than rows"),
        pytest.param({"x": torch.zeros(1)}, id="no tables"),
        pytest.param({**tables(9, 4), "pos_embed": torch.zeros(9)}, id="another shape"),
    ],
)
def test_nothing_to_fit(state):
    assert fitted_positions(state, tables(9, 4)) is None
