"""SeqTrack with its losses: from a batch of pixels and boxes to one number to make small."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.models.lora import add_low_rank
from lib.models.pixels import Normaliser
from lib.models.seqtrack import SeqTrack, build_seqtrack, build_tokenizer
from lib.train.data.loader import Batch
from lib.train.logging.samples import predict
from lib.train.losses import auxiliary, distillation
from lib.train.losses import tokens as token_losses
from lib.train.model import Prediction, TrackerModel
from lib.train.optim import freeze_encoder, frozen_modules, parameter_groups
from lib.train.teacher import Teacher
from lib.utils.errors import ConfigError


class Objective(TrackerModel):
    """The network with its losses.

    Parameters that the configuration freezes, or that can never have a gradient, stop asking
    for one here (see `lib.train.optim`): DistributedDataParallel waits for all that do.

    Attributes:
        losses: those whose weight TRAIN.<NAME>_WEIGHT is above 0.
        weights: their weights.
        heads: those of the losses that are modules.
        frozen: names of the network's parameters that do not train.
        spare: the part of the network that is never applied, or None.
        teacher: the network that TRAIN.TEACHER names, or None; no part of this module.

    Raises:
        ConfigError: no loss reads the decoder's tokens, or what is to be frozen does not exist.
    """

    name = "SEQTRACK"

    def __init__(self, network: SeqTrack, cfg: Config, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.teacher = teacher
        known = {**token_losses.LOSSES, **auxiliary.LOSSES}
        weights = {name: getattr(cfg.train, f"{name}_weight") for name in known}
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        if not token_losses.LOSSES.keys() & self.weights.keys():
            keys = ", ".join(f"TRAIN.{name.upper()}_WEIGHT" for name in token_losses.LOSSES)
            raise ConfigError(f"nothing trains the decoder: set one of {keys} above 0")
        self.network = network
        self.tokenizer = build_tokenizer(cfg)
        self.normalise = Normaliser(mean=cfg.data.mean, std=cfg.data.std)
        # By name: the random weights of heads and the order of an optimizer's moments depend on it.
        made = {name: known[name](network, cfg) for name in sorted(self.weights)}
        if teacher is not None:
            for name, (key, make) in distillation.LOSSES.items():
                if weight := getattr(cfg.train.teacher, key):
                    self.weights[name], made[name] = weight, make(network, cfg, teacher)
        self.losses = {name: made[name] for name in self.weights}
        self.heads.update({n: head for n, head in made.items() if isinstance(head, nn.Module)})
        freeze_encoder(network.encoder.body, cfg)
        self.spare: nn.Module | None = None
        if network.encoder.body.width == network.hidden_dim:
            # It is never applied, so its gradient would never come.
            self.spare = network.bottleneck.requires_grad_(False)
        if cfg.train.freeze_decoder:
            inside = {id(parameter) for parameter in network.encoder.parameters()}
            for parameter in network.parameters():
                if id(parameter) not in inside:
                    parameter.requires_grad_(False)
        self.frozen = [name for name, p in network.named_parameters() if not p.requires_grad]

    def train(self, mode: bool = True) -> "Objective":
        """As for every module, but what is frozen as a whole stays in evaluation mode.

        Otherwise its running statistics (batch norm of the convolutional stem) would follow the
        training images, and it would drop paths at random.
        """
        super().train(mode)
        for module in frozen_modules(self.network):
            module.eval()
        return self

    def forward(self, batch: Batch, progress: Tensor | float) -> dict[str, Tensor]:
        """See `TrackerModel.forward`.

        Returns:
            `total`, the weighted sum of the losses; each loss that is on, by its name, before
            weighting; `iou`, the teacher-forced IoU.
        """
        network = self.network
        # A box that is not a number has no tokens; it makes the total not a number instead.
        inputs, tokens = self.tokenizer.encode(batch.boxes.nan_to_num())
        images = self.normalise(batch.templates), self.normalise(batch.search)
        features = network.encode(*images, batch.template_boxes)
        memory = network.memory(features)
        # An input alone: no loss asks for the tokens of boxes before.
        past = self.tokenizer.history(batch.history) if network.history else None
        logits = network.logits(memory, inputs, batch.template_boxes, past)
        outputs = token_losses.Outputs(
            network=network,
            tokenizer=self.tokenizer,
            search_features=features[:, : network.encoder.body.search_tokens],
            memory=memory,
            logits=logits,
            tokens=tokens,
            boxes=batch.boxes,
            coordinates=self.tokenizer.coordinates(batch.boxes),
            progress=progress,
            lesson=None if self.teacher is None else self.teacher(batch),
        )
        terms = {name: compute(outputs) for name, compute in self.losses.items()}
        total = sum(self.weights[name] * term for name, term in terms.items())
        with torch.no_grad():
            iou = token_losses.teacher_forced_iou(logits, tokens, self.tokenizer)
        detached = {name: term.detach() for name, term in terms.items()}
        return {"total": total + 0 * batch.boxes.sum(), **detached, "iou": iou}

    def inference(self) -> SeqTrack:
        return self.network

    def add_low_rank(self, rank: int, seed: int) -> None:
        """See `lib.models.lora.add_low_rank`; once the starting weights are in.

        Raises:
            ConfigError: nothing is frozen that could have an addition.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = [part for part in self.network.children() if part is not self.spare]
            if not sum(add_low_rank(part, rank) for part in parts):
                raise ConfigError(
                    f"TRAIN.LORA_RANK {rank} adds nothing: no matrix is frozen and larger than "
                    "that; freeze with TRAIN.FREEZE_ENCODER, FREEZE_DECODER or FREEZE_BLOCKS"
                )

    def param_groups(self, cfg: Config) -> list[dict[str, Any]]:
        return parameter_groups(self, cfg, len(self.network.encoder.body.blocks))

    def load_encoder(self, path: Path) -> None:
        self.network.encoder.body.load_pretrained(path)

    def predict(self, batch: Batch) -> Prediction:
        return predict(self.network, self.tokenizer, self.normalise, batch)


def build_objective(cfg: Config, seed: int, teacher: Teacher | None = None) -> Objective:
    """SeqTrack with its first, random weights and its losses; the same in all processes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_seqtrack(cfg)
        torch.manual_seed(seed)  # the heads' weights do not depend on the network's
        return Objective(network, cfg, teacher)
