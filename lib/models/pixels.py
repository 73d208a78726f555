"""From the bytes of a crop to what a network sees; done on the network's device."""

from collections.abc import Sequence

import torch
from torch import Tensor

# ImageNet's, which all released weights expect.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalise(
    pixels: Tensor, mean: Sequence[float] = IMAGE_MEAN, std: Sequence[float] = IMAGE_STD
) -> Tensor:
    """Pixels minus mean by standard deviation.

    Args:
        pixels: `(..., H, W, 3)` uint8 RGB.
        mean: of the channels R, G, B, for images in [0, 1].
        std: standard deviation of these channels.

    Returns:
        `(..., 3, H, W)` float32 on the device of `pixels`.
    """
    return Normaliser(pixels.device, mean, std)(pixels)


class Normaliser:
    """`normalise` with its constants on the device already, as a recorded CUDA graph needs it.

    Args:
        device: of the pixels.
        mean: of the channels R, G, B, for images in [0, 1].
        std: standard deviation of these channels.
    """

    def __init__(
        self,
        device: torch.device,
        mean: Sequence[float] = IMAGE_MEAN,
        std: Sequence[float] = IMAGE_STD,
    ) -> None:
        self.mean, self.std = (
            torch.tensor(values, device=device).reshape(3, 1, 1) for values in (mean, std)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """See `normalise`."""
        return (pixels.movedim(-1, -3).float() / 255.0 - self.mean) / self.std
