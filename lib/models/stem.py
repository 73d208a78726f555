"""A convolutional stem: tokens out of a few small convolutions instead of one large patch.

A departure from SeqTrack for training from scratch (MODEL.ENCODER.STEM conv). Source: Xiao et
al., Early convolutions help transformers see better, NeurIPS 2021, with batch norm as there; its
running mean and variance are the only buffers a network of this project can have.
"""

from torch import Tensor, nn

STRIDE = 8  # of the features, half of the tokens'


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


class ConvStem(nn.Module):
    """Images to features of stride 8, and these to tokens of stride 16.

    Args:
        width: channels C of a token.
        channels: channels F of the features.
    """

    def __init__(self, width: int, channels: int = 48) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(
            _convolution(3, channels // 2, 2),
            _convolution(channels // 2, channels, 2),
            _convolution(channels, channels, 2),
        )
        self.proj = nn.Conv2d(channels, width, kernel_size=2, stride=2)

    def features(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` normalised images to `(B, F, S / 8, S / 8)`."""
        return self.layers(images)

    def tokens(self, features: Tensor) -> Tensor:
        """`(B, F, S / 8, S / 8)` to `(B, (S / 16)^2, C)`, row by row."""
        return self.proj(features).flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` to `(B, (S / 16)^2, C)`."""
        return self.tokens(self.features(images))
