"""From a batch of pixels and boxes to one number to make small.

The one module that training runs: DistributedDataParallel wraps it and torch.compile compiles
it, so that a training step has one forward call whatever losses are on.
"""

import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.models.pixels import Normaliser
from lib.models.seqtrack import SeqTrack, build_tokenizer
from lib.train.freezing import apply_freezing, frozen_modules
from lib.train.losses import tokens as loss
from lib.train.losses.auxiliary import CentreHead, DenseHead, centre_loss
from lib.utils.errors import ConfigError


class Objective(nn.Module):
    """The network with its losses.

    Parameters that the configuration freezes, or that can never have a gradient, stop asking
    for one here (see `lib.train.freezing`): DistributedDataParallel waits for all that do.

    Args:
        network: what is trained. Its state dict alone is published; the heads are not part of it.
        cfg: the configuration.

    Attributes:
        heads: auxiliary heads by the name of their loss, for the weights that are set; a network
            with a centre hint needs none for `centre`.
        weights: weight of each loss that is on, by name: `ce`, `l1`, `size`, `centre`, `dense`.
        frozen: names of the network's parameters that do not train.

    Raises:
        ConfigError: no loss reads the network's words, or what is to be frozen does not exist.
    """

    def __init__(self, network: SeqTrack, cfg: Config) -> None:
        super().__init__()
        train, body = cfg.train, network.encoder.body
        weights = {
            "ce": train.ce_weight,
            "l1": train.l1_weight,
            "size": train.size_weight,
            "centre": train.centre_weight,
            "dense": train.dense_weight,
        }
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        if not {"ce", "l1", "size"} & self.weights.keys():
            raise ConfigError(
                "nothing trains the decoder: set TRAIN.CE_WEIGHT, L1_WEIGHT or SIZE_WEIGHT above 0"
            )
        self.network = network
        self.tokenizer = build_tokenizer(cfg)
        self.normalise = Normaliser(mean=cfg.data.mean, std=cfg.data.std)
        self.special_weight = train.special_weight
        self.soft_sigma = train.soft_sigma
        self.heads = nn.ModuleDict()
        if "centre" in self.weights and network.centre_hint is None:
            self.heads["centre"] = CentreHead(body.width)
        if "dense" in self.weights:
            self.heads["dense"] = DenseHead(body.width, body.search_tokens)
        self.frozen = apply_freezing(network, cfg)

    def train(self, mode: bool = True) -> "Objective":
        """As for every module, but what is frozen as a whole stays in evaluation mode.

        Otherwise its running statistics (batch norm of the convolutional stem) would follow the
        training images, and it would drop paths at random.
        """
        super().train(mode)
        for module in frozen_modules(self.network):
            module.eval()
        return self

    def forward(
        self,
        templates: Tensor,
        search: Tensor,
        template_boxes: Tensor,
        boxes: Tensor,
        progress: Tensor | float,
    ) -> dict[str, Tensor]:
        """Losses of a batch. Nothing here waits for the device.

        Args:
            templates: `(B, T, S_z, S_z, 3)` uint8 RGB.
            search: `(B, S_x, S_x, 3)` uint8 RGB.
            template_boxes: `(B, T, 4)` float32 xywh, normalised to the template crops.
            boxes: `(B, 4)` float32 xywh, normalised to the search crop; may stick out.
            progress: share of the training that is done, 0 to 1. A compiled objective wants a
                scalar tensor: it would be compiled again for every new number.

        Returns:
            Scalars: `total`, the weighted sum of the losses, the only one with a gradient; each
            loss that is on, by its name, before weighting; `iou`, the teacher-forced IoU.
        """
        # A box that is not a number has no tokens; it makes the total not a number instead.
        inputs, words = self.tokenizer.encode(boxes.nan_to_num())
        features = self.network.encode(
            self.normalise(templates), self.normalise(search), template_boxes
        )
        memory = self.network.memory(features)
        logits = self.network.logits(memory, inputs, template_boxes)
        terms = self._word_losses(logits, words, boxes, progress)
        looked_at = features[:, : self.network.encoder.body.search_tokens]
        terms |= {name: head(looked_at, boxes) for name, head in self.heads.items()}
        hint = self.network.centre_hint
        if "centre" in self.weights and hint is not None:
            terms["centre"] = centre_loss(hint.map(memory), boxes)
        total = sum(self.weights[name] * term for name, term in terms.items()) + 0 * boxes.sum()
        with torch.no_grad():
            iou = loss.teacher_forced_iou(logits, words, self.tokenizer)
        return {"total": total, **{name: t.detach() for name, t in terms.items()}, "iou": iou}

    def _word_losses(
        self, logits: Tensor, words: Tensor, boxes: Tensor, progress: Tensor | float
    ) -> dict[str, Tensor]:
        """Losses of logits `(B, 5, bins + 2)` for the right words `(B, 5)` and xywh boxes."""
        true = self.tokenizer.coordinates(boxes)
        terms = {}
        if "ce" in self.weights:
            soft = None
            if max(self.soft_sigma) > 0:
                first, last = self.soft_sigma
                sigma = true.new_zeros(()) + first + (last - first) * progress
                soft = loss.soft_targets(true, self.tokenizer.bins, sigma)
            terms["ce"] = loss.token_cross_entropy(logits, words, self.special_weight, soft)
        if "l1" in self.weights or "size" in self.weights:
            expected = loss.expected_coordinates(logits)
        if "l1" in self.weights:
            terms["l1"] = loss.coordinate_distance(expected, true)
        if "size" in self.weights:
            terms["size"] = loss.size_distance(expected, true, self.tokenizer)
        return terms
