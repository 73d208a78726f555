"""What a box shows, and how alike two of them are.

What a box holds is cut out as a patch of fixed size. A turn, or a box that is a little off, undoes
the correlation of pixels; so what is compared are the colours of all of the patch, those of its
middle, which shows least of what lies behind, and the directions of its edges (after Dalal and
Triggs, Histograms of oriented gradients, CVPR 2005).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lib.tracker.engine.api import Template

_PATCH = 24  # pixels along the side
_MIDDLE = slice(_PATCH // 4, _PATCH - _PATCH // 4)
_LEVELS, _FINE_LEVELS = 4, 6  # of a colour channel in a histogram, of all and of the middle
_CELLS, _DIRECTIONS = 3, 8  # of the edges, along a side; of half a turn
_AT = np.arange(_PATCH) * _CELLS // _PATCH
_CELL_OF = (_AT[:, None] * _CELLS + _AT) * _DIRECTIONS
_TINY = 1e-6


def patch_of(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What a box of a crop shows, `(24, 24, 3)` uint8, whatever its shape.

    Args:
        pixels: `(S, S, 3)` uint8.
        box: cxcywh normalised to the crop.
    """
    side, n = pixels.shape[0], _PATCH
    x, y, w, h = (float(value) * side for value in box)
    # Pixel centres: column i of the patch lies at x - w / 2 + (i + 0.5) * w / n - 0.5.
    to_crop = np.array(
        [
            [w / n, 0, x - w / 2 + w / (2 * n) - 0.5],
            [0, h / n, y - h / 2 + h / (2 * n) - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(pixels, to_crop, (n, n), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def template_patch(template: Template) -> np.ndarray:
    """As `patch_of`, for the target of a template."""
    x, y, w, h = template.box
    return patch_of(template.crop, np.array([x + w / 2, y + h / 2, w, h]))


def alike(first: np.ndarray, now: np.ndarray) -> float:
    """How alike the colours of two patches are: Bhattacharyya's coefficient of histograms, 0..1.

    On the training clips it tells the target from what is not it, where the correlation of the
    pixels does not.
    """
    return shared(colours(first), colours(now))


def shared(first: np.ndarray, now: np.ndarray) -> float:
    """Bhattacharyya's coefficient of two histograms."""
    return float(np.sqrt(first * now).sum())


def colours(patch: np.ndarray, levels: int = _LEVELS) -> np.ndarray:
    """Share of the pixels in each box of the RGB cube, `(levels, levels, levels)` float32."""
    counts = cv2.calcHist([patch], [0, 1, 2], None, [levels] * 3, [0, 256] * 3)
    return counts / (patch.shape[0] * patch.shape[1])


@dataclass(frozen=True, eq=False)
class Appearance:
    """What is kept of a patch.

    Attributes:
        colours: `(4, 4, 4)` shares of its colours.
        middle: `(6, 6, 6)` of those of its middle.
        edges: `(72,)` strength of its edges in 3 x 3 cells and 8 directions; of length 1.
    """

    colours: np.ndarray
    middle: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, patch: np.ndarray) -> "Appearance":
        """That of a patch `(24, 24, 3)` uint8."""
        middle = np.ascontiguousarray(patch[_MIDDLE, _MIDDLE])
        return cls(colours(patch), colours(middle, _FINE_LEVELS), _edges(patch))

    def towards(self, new: "Appearance", rate: float) -> "Appearance":
        """This one, moved by a share of the difference."""
        edges = self.edges + rate * (new.edges - self.edges)
        return Appearance(
            self.colours + rate * (new.colours - self.colours),
            self.middle + rate * (new.middle - self.middle),
            edges / max(float(np.linalg.norm(edges)), _TINY),
        )


def _edges(patch: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strength, angle = cv2.cartToPolar(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    )
    # An edge and its reverse are one direction.
    direction = (angle * (_DIRECTIONS / np.pi)).astype(int) % _DIRECTIONS
    found = np.bincount((_CELL_OF + direction).ravel(), strength.ravel(), _CELLS**2 * _DIRECTIONS)
    return found / max(float(np.linalg.norm(found)), _TINY)
