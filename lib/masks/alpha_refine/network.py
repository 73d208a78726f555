"""The mask-only Alpha-Refine network: a reference is pooled once, then frames are compared.

Only a mask comes out; there is no head for boxes or corners, and nothing is fed back to a box
tracker. Members are named as in the released weights.

Source: Yan et al., Alpha-Refine: boosting tracking performance by precise bounding box
estimation, CVPR 2021, in the form used for the VOT2020 challenge.
"""

from torch import Tensor, nn
from torchvision.models import resnet50

from lib.masks.alpha_refine.decoder import LEVELS, MaskDecoder
from lib.masks.alpha_refine.neck import Neck
from lib.masks.alpha_refine.prroi_pool import prroi_pool

# Level that references and frames are compared at, and input pixels per cell of it.
_LEVEL, _STRIDE = "layer4", 16
# Input pixels per bin of the reference: the crop is twice the target's box.
_PIXELS_PER_BIN = 32


class AlphaRefine(nn.Module):
    """The network; all its methods take batches, on any device.

    Args:
        pool_size: bins along a side of the reference; the released network has 12.

    Attributes:
        side: pixels along a side of its inputs and of the mask.
    """

    def __init__(self, pool_size: int = 12) -> None:
        super().__init__()
        self.pool_size = pool_size
        self.side = _PIXELS_PER_BIN * pool_size
        # Its last layer is never used, but the weights have it.
        self.feature_extractor = resnet50(weights=None)
        self.neck = Neck(pool_size * pool_size)
        self.refiner = MaskDecoder(pool_size * pool_size)

    def features(self, images: Tensor, last: str = "layer5") -> dict[str, Tensor]:
        """What the backbone sees, up to a level.

        Args:
            images: `(B, 3, S, S)`, normalised.
            last: name of the last level that is needed, `layer1` to `layer5`.

        Returns:
            level -> `(B, C, S / stride, S / stride)`, strides 4, 4, 8, 16, 32. The levels count
            from the stem, so `layer2` is the result of the backbone's member `layer1`.
        """
        net = self.feature_extractor
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        found = {"layer1": x}
        for number, stage in enumerate((net.layer1, net.layer2, net.layer3, net.layer4), 2):
            if last in found:
                break
            x = found[f"layer{number}"] = stage(x)
        return found

    def reference(self, images: Tensor, boxes: Tensor) -> Tensor:
        """What is remembered of the targets.

        Args:
            images: `(B, 3, S, S)` crops around the targets, normalised.
            boxes: `(B, 4)` xyxy of the targets, in pixels of the crops.

        Returns:
            `(B, 1024, p, p)`.
        """
        features = self.features(images, last=_LEVEL)[_LEVEL]
        return prroi_pool(features, boxes, self.pool_size, 1 / _STRIDE)

    def forward(self, images: Tensor, kernel: Tensor) -> Tensor:
        """The masks in crops of later frames.

        Args:
            images: `(B, 3, S, S)`, normalised.
            kernel: `(B, 1024, p, p)`, what `reference` gave.

        Returns:
            Logits `(B, 1, S, S)`.
        """
        features = self.features(images)
        scores = self.neck(features[_LEVEL], kernel)
        return self.refiner({name: features[name] for name in LEVELS}, scores, self.side)
