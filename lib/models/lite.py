"""A convolutional stem that was trained on ImageNet: EfficientNet-Lite0 up to stride 16.

A departure from SeqTrack for small networks (MODEL.ENCODER.STEM lite): a few thousand real pairs
do not teach what things look like. Batch norms are folded into the convolutions when the weights
are read, so that they stay as they were trained. Source: EfficientNet (Tan and Le, ICML 2019) and
its Lite variant (Apache-2.0), which has neither squeeze-and-excitation nor swish.

Where padding is the same on both sides, a cell of stride s looks at pixel s * i. The last
reduction is padded after the image only, so that a token looks at its middle, 16 * i + 8.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.utils.checkpoint import read_state_dict
from lib.utils.errors import CheckpointError

# Kernel, stride, expansion, channels, blocks of the stages to stride 16.
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
_EARLY = 3  # stages to stride 8
_FIRST = 32
_MORE_BLOCKS = (4, 1)  # of the stages that are left out
_EPSILON = 1e-3  # of the batch norms
# What the weights expect, and what this project's images are normalised with.
_TRAINED = (0.5, 0.5)
_QUIETER = 0.2
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Inverted(nn.Module):
    """An inverted bottleneck, batch norms folded: expand, filter each channel, project.

    Args:
        before: channels of the input.
        after: channels of the output.
        kernel: side of the filter.
        stride: of the filter.
        expansion: channels inside, in units of `before`; 1 leaves the first convolution out.
        late: pad after the image only.
    """

    def __init__(
        self, before: int, after: int, kernel: int, stride: int, expansion: int, late: bool
    ) -> None:
        super().__init__()
        inside = before * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(before, inside, 1), nn.ReLU6(inplace=True)]
        if late:
            # A kernel of 3 over an even side: one row after it is all that is missing.
            layers.append(nn.ZeroPad2d((0, 1, 0, 1)))
        pad = 0 if late else kernel // 2
        layers += [
            nn.Conv2d(inside, inside, kernel, stride, pad, groups=inside),
            nn.ReLU6(inplace=True),
            nn.Conv2d(inside, after, 1),
        ]
        self.layers, self.stride = nn.Sequential(*layers), stride
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C', H / stride, W / stride)`."""
        y = self.layers(x)
        return x + y if self.residual else y


class LiteStem(nn.Module):
    """Images to fine features of stride 8 and tokens of stride 16.

    Args:
        width: channels C of a token.
        channels: channels F of the fine features.

    Attributes:
        at_once: so many images at a time go through; None: all of a batch.
    """

    at_once: int | None = None

    def __init__(self, width: int, channels: int = 48) -> None:
        super().__init__()
        self.channels = channels
        self.first = nn.Sequential(nn.Conv2d(3, _FIRST, 3, 2, 1), nn.ReLU6(inplace=True))
        parts: tuple[list[nn.Module], list[nn.Module]] = ([], [])
        before = _FIRST
        for number, (kernel, stride, expansion, after, blocks) in enumerate(STAGES):
            for i in range(blocks):
                late, step = i == 0 and number == _EARLY, stride if i == 0 else 1
                block = Inverted(before, after, kernel, step, expansion, late)
                parts[number >= _EARLY].append(block)
                before = after
        self.early, self.late = (nn.Sequential(*part) for part in parts)
        self.lateral = nn.Conv2d(STAGES[_EARLY - 1][3], channels, 1)
        self.top = nn.Conv2d(before, channels, 1)
        self.proj = nn.Conv2d(before, width, 1)
        with torch.no_grad():
            # Features of the trained stages have a deviation of about 5.
            for layer in (self.lateral, self.top, self.proj):
                layer.weight *= _QUIETER

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, S, S)` images to `(B, F, S / 8, S / 8)` and `(B, 112, S / 16, S / 16)`."""
        images = images.contiguous(memory_format=torch.channels_last)
        if self.at_once is None or len(images) <= self.at_once:
            return self._features(images)
        parts = [self._features(part) for part in images.split(self.at_once)]
        fine, far = (torch.cat(some) for some in zip(*parts, strict=True))
        return fine, far

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        near = self.early(self.first(images))
        far = self.late(near)
        fine = self.lateral(near) + F.interpolate(self.top(far), scale_factor=2.0, mode="nearest")
        return fine, far

    def fine(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """What is correlated, `(B, F, S / 8, S / 8)`."""
        return features[0]

    def tokens(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """To `(B, (S / 16)^2, C)`, row by row."""
        return self.proj(features[1]).flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` to `(B, (S / 16)^2, C)`."""
        return self.tokens(self.features(images))


def load_lite(stem: LiteStem, path: Path | str) -> None:
    """Give a stem the weights of a published EfficientNet-Lite0.

    Args:
        stem: the stem.
        path: file with timm's names, or with those of the package efficientnet-lite0.

    Raises:
        CheckpointError: the file cannot be read or is of another network.
    """
    state = {_timm_name(key): value for key, value in read_state_dict(path).items()}
    places = [f"{i}.{j}" for i, (*_, blocks) in enumerate(STAGES) for j in range(blocks)]
    try:
        _fold(stem.first[0], state, "conv_stem", "bn1")
        _renormalise(stem.first[0])
        for place, block in zip(places, [*stem.early, *stem.late], strict=True):
            convolutions = [layer for layer in block.layers if isinstance(layer, nn.Conv2d)]
            # Without an expansion timm calls the projection as the expansion elsewhere.
            names = ("conv_pw", "conv_dw", "conv_pwl")
            names = names if len(convolutions) == len(names) else ("conv_dw", "conv_pw")
            for number, (layer, name) in enumerate(zip(convolutions, names, strict=True), 1):
                _fold(layer, state, f"blocks.{place}.{name}", f"blocks.{place}.bn{number}")
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no EfficientNet-Lite0: {error}") from None


@torch.no_grad()
def _fold(conv: nn.Conv2d, state: Mapping[str, Tensor], own: str, norm: str) -> None:
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
    weight = state[f"{own}.weight"] * scale[:, None, None, None]
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    conv.load_state_dict({"weight": weight, "bias": bias})


@torch.no_grad()
def _renormalise(conv: nn.Conv2d) -> None:
    """Take images normalised as this project's instead of as the weights were trained with."""
    mean, std = _TRAINED
    shift = (torch.tensor(_MEAN) - mean) / std
    conv.bias += (conv.weight * shift[:, None, None]).sum(dim=(1, 2, 3))
    conv.weight *= (torch.tensor(_STD) / std)[:, None, None]


def _timm_name(key: str) -> str:
    """timm's name for a parameter of the package's file, which numbers the blocks through."""
    if not key.startswith("_"):
        return key
    parts = key.split(".")
    if parts[0] != "_blocks":
        return {"_conv_stem": "conv_stem", "_bn0": "bn1"}.get(parts[0], key) + f".{parts[-1]}"
    number, stage = int(parts[1]), 0
    blocks = [*(blocks for *_, blocks in STAGES), *_MORE_BLOCKS]
    while number >= blocks[stage]:
        number -= blocks[stage]
        stage += 1
    names = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    if stage == 0:
        names |= {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    return f"blocks.{stage}.{number}.{names[parts[2]]}.{parts[3]}"
