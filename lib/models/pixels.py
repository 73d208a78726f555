"""From the bytes of a crop to what a network sees; done on the network's device."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

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


class Normaliser(nn.Module):
    """`normalise` with its constants on the device already: to copy them there waits for it.

    As a part of a module they follow it to its device; its state dict does not hold them.

    Args:
        device: of the pixels.
        mean: of the channels R, G, B, for images in [0, 1].
        std: standard deviation of these channels.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        mean: Sequence[float] = IMAGE_MEAN,
        std: Sequence[float] = IMAGE_STD,
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            constant = torch.tensor(values, device=device).reshape(3, 1, 1)
            self.register_buffer(name, constant, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """See `normalise`."""
        # Row by row: along three channels alone a CPU computes one number at a time.
        width = pixels.shape[-2]
        mean, std = (x.flatten().repeat(width) for x in (self.mean, self.std))
        # In place after the first: new memory for each result takes longer than the arithmetic.
        rows = (pixels.flatten(-2) / 255.0).sub_(mean).div_(std)
        return rows.unflatten(-1, (width, 3)).movedim(-1, -3)


def upload(values: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on a device; the CPU does not wait for a GPU to copy it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        # PyTorch gives this memory to nobody else until the copy is done.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Staging:
    """Memory of the CPU that the crops of a step are put together in, the same in every step.

    A GPU copies from it while the CPU goes on, so whoever fills it again has waited for the
    result of the step before.

    Args:
        pinned: whether a GPU is going to copy from it.
    """

    def __init__(self, pinned: bool) -> None:
        self.pinned = pinned
        self.buffer = torch.empty(0, dtype=torch.uint8)

    def __call__(self, crops: Sequence[np.ndarray], rows: int) -> Tensor:
        """The crops as one tensor.

        Args:
            crops: n of them, `(S, S, 3)` uint8 each.
            rows: at least n; what the rows after the first n hold does not matter.

        Returns:
            `(rows, S, S, 3)` uint8, which the next call overwrites.
        """
        shape = crops[0].shape
        if self.buffer.shape[1:] != shape or len(self.buffer) < rows:
            self.buffer = torch.empty((rows, *shape), dtype=torch.uint8, pin_memory=self.pinned)
        filled = self.buffer[:rows]
        np.stack(crops, out=filled[: len(crops)].numpy())
        return filled
