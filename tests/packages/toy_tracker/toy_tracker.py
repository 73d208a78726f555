"""A convolutional tracker in a package of its own: the first patch, correlated with a window."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from lib.tracker.base import BaseTracker, Info

REACH = 12


class Edges(torch.nn.Module):
    """Grey values and their differences along both axes, as three maps."""

    def __init__(self) -> None:
        super().__init__()
        kernels = [
            [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
            [[-1, 0, 1]] * 3,
            [[-1] * 3, [0] * 3, [1] * 3],
        ]
        self.register_buffer("kernels", torch.tensor(kernels, dtype=torch.float32)[:, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """`(B, 1, H, W)` to `(B, 3, H, W)`."""
        return functional.conv2d(image, self.kernels, padding=1)


class ToyTracker(BaseTracker):
    """Finds the place where the features of the first box differ least; the size stays."""

    shared = ("network",)
    top_confidence = 1.0

    def __init__(self, device: "torch.device | str" = "cpu") -> None:
        self.network = Edges().to(device).eval()
        self.device = device

    @classmethod
    def build(cls, spec: Any, device: "torch.device | str") -> "ToyTracker":
        """As `lib.tracker.registry` asks for it."""
        return cls(device)

    def initialize(self, image: np.ndarray, info: Info) -> Info:
        """Keep the features of the first box."""
        self.box = [float(value) for value in info["init_bbox"]]
        x, y, w, h = (round(value) for value in self.box)
        self.template = self._features(image)[..., y : y + h, x : x + w]
        return {"target_bbox": list(self.box), "confidence": 1.0}

    def track(self, image: np.ndarray, info: Info | None = None) -> Info:
        """Slide the template over a window around the last box."""
        height, width = self.template.shape[-2:]
        left, top = (max(0, round(value) - REACH) for value in self.box[:2])
        window = self._features(image)[
            ..., top : top + height + 2 * REACH, left : left + width + 2 * REACH
        ]
        # The squared difference, without the part that is the same at all places.
        energy = functional.conv2d(window**2, torch.ones_like(self.template))
        place = energy - 2 * functional.conv2d(window, self.template)
        row, column = divmod(int(place.argmin()), place.shape[-1])
        self.box[:2] = [float(left + column), float(top + row)]
        rest = float(place.min() + (self.template**2).sum()) / self.template.numel()
        return {"target_bbox": list(self.box), "confidence": 1 / (1 + rest)}

    @torch.no_grad()
    def _features(self, image: np.ndarray) -> torch.Tensor:
        grey = torch.from_numpy(image.mean(axis=2, dtype=np.float32) / 255)
        return self.network(grey[None, None].to(self.device))
