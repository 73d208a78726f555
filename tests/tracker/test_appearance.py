"""lib/tracker/appearance: what a box shows, and how alike two of them are."""

import numpy as np
import pytest

from lib.tracker.appearance import Appearance, alike, patch_of, shared, template_patch
from lib.tracker.engine.api import Template


def test_the_pixels_of_a_patch_lie_where_they_should() -> None:
    """On a ramp, a pixel says its own place: centres of pixels meet centres of pixels."""
    rows, columns = np.mgrid[:48, :48]
    crop = np.stack([4 * columns, 4 * rows, 0 * rows], axis=2).astype(np.uint8)
    whole = patch_of(crop, np.array([0.5, 0.5, 1, 1]))
    np.testing.assert_array_equal(whole[5, :, 0], 8 * np.arange(24) + 2)
    np.testing.assert_array_equal(whole[:, 5, 1], 8 * np.arange(24) + 2)
    # From 8 to 32 and from 24 to 36: a pixel, and half a pixel.
    part = patch_of(crop, np.array([20, 30, 24, 12]) / 48)
    np.testing.assert_array_equal(part[5, :, 0], 32 + 4 * np.arange(24))
    np.testing.assert_array_equal(part[:, 5, 1], 95 + 2 * np.arange(24))
    template = Template(crop, (8 / 48, 24 / 48, 24 / 48, 12 / 48))
    np.testing.assert_array_equal(template_patch(template), part)


def test_a_patch_shows_the_box_and_nothing_else() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[16:32, 8:40] = 200
    patch = patch_of(crop, np.array([24 / 64, 24 / 64, 0.5, 0.25]))
    assert patch.shape == (24, 24, 3) and patch[2:-2, 2:-2].min() == 200
    beside = patch_of(crop, np.array([52 / 64, 52 / 64, 0.25, 0.25]))
    assert beside.max() == 0


def test_patches_are_alike_by_their_colours_whatever_their_place() -> None:
    first = np.full((24, 24, 3), 30, np.float32)
    first[:, :12] = (250, 20, 20)
    other = np.full((24, 24, 3), (20, 200, 20), np.float32)
    assert alike(first, first) == alike(first, first[::-1, ::-1]) == pytest.approx(1)
    assert alike(first, other) == 0
    other[:12] = first[:12]
    assert alike(first, other) == pytest.approx(2**-0.5)


def test_four_levels_of_each_colour_are_told_apart() -> None:
    def grey(level: int) -> np.ndarray:
        return np.full((24, 24, 3), level, np.uint8)

    for low, high in ((0, 63), (64, 127), (128, 191), (192, 255)):
        assert alike(grey(low), grey(high)) == pytest.approx(1)
    for level in (63, 127, 191):
        assert alike(grey(level), grey(level + 1)) == 0


def board(turned: bool = False) -> np.ndarray:
    """Stripes along one axis, grey and bright, with a red middle."""
    patch = np.full((24, 24, 3), 40, np.uint8)
    patch[:, ::4] = 220
    patch[8:16, 8:16] = (200, 30, 30)
    return np.ascontiguousarray(patch.swapaxes(0, 1)) if turned else patch


def test_the_edges_of_a_turned_thing_are_others_and_its_colours_the_same() -> None:
    one, same, turned = map(Appearance.of, (board(), board(), board(turned=True)))
    assert one.edges @ same.edges == pytest.approx(1)
    assert one.edges @ turned.edges < 0.6
    assert shared(one.colours, turned.colours) == pytest.approx(1)


def test_an_edge_and_its_reverse_are_one_direction() -> None:
    one, other = Appearance.of(board()), Appearance.of(255 - board())
    assert one.edges @ other.edges > 0.9


def test_the_middle_is_not_what_lies_at_the_edge() -> None:
    framed = board()
    framed[:6] = framed[-6:] = framed[:, :6] = framed[:, -6:] = (10, 240, 10)
    one, other = Appearance.of(board()), Appearance.of(framed)
    assert shared(one.middle, other.middle) == pytest.approx(1)
    assert shared(one.colours, other.colours) < 0.8


def test_an_appearance_goes_towards_another_by_a_share() -> None:
    one, other = Appearance.of(board()), Appearance.of(board(turned=True))
    between = one.towards(other, 0.25)
    np.testing.assert_allclose(between.colours, 0.75 * one.colours + 0.25 * other.colours)
    np.testing.assert_allclose(between.middle, 0.75 * one.middle + 0.25 * other.middle)
    assert np.linalg.norm(between.edges) == pytest.approx(1)
    assert between.edges @ one.edges > between.edges @ other.edges
    assert np.linalg.norm(Appearance.of(np.zeros((24, 24, 3), np.uint8)).edges) == 0
