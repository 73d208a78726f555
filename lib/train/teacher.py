"""A trained network that a smaller one learns from: TRAIN.TEACHER.

The teacher is frozen, in evaluation mode, and in no checkpoint. It reads the student's batch: the
pixels are normalised with its own mean and deviation, and resized on the device to its own crop
sizes, as both crops show the same view. So the factors of the crops must be equal; sizes, numbers
of templates, bins, widths and patches need not. Source: Hinton et al., Distilling the knowledge in
a neural network, 2015.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.config.loader import load_config
from lib.config.paths import Paths
from lib.config.schema import Config
from lib.models.pixels import Normaliser
from lib.models.seqtrack import SeqTrack, build_tokenizer
from lib.models.weights import find_checkpoint
from lib.tracker.build import load_network
from lib.train.data.loader import Batch
from lib.utils.errors import ConfigError
from lib.utils.files import sha256_of, user_path


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of B samples."""

    logits: Tensor  # `(B, 4, bins)` of the four coordinate tokens, given the true ones before
    features: Tensor  # `(B, L_x, C)` of its encoder's search tokens


class Teacher:
    """Not a module: a part of one would be trained, saved and resumed.

    Args:
        network: on its device, in evaluation mode, without gradients.
        cfg: the configuration it was built from.
        student: the configuration of the network that learns.
        identity: plain facts that say which network this is.

    Raises:
        ConfigError: it cannot teach that student.
    """

    def __init__(
        self, network: SeqTrack, cfg: Config, student: Config, identity: dict[str, Any]
    ) -> None:
        check_lesson(cfg, student)
        self.network, self.cfg, self.identity = network, cfg, identity
        self.tokenizer = build_tokenizer(cfg)
        self.normalise = Normaliser(network.pos_embed.device, cfg.data.mean, cfg.data.std)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Lesson:
        """Read a batch of the student; nothing here waits for the device."""
        network, data = self.network, self.cfg.data
        templates = self._seen(batch.templates, data.template.size)
        boxes = batch.template_boxes
        templates, boxes = (_as_many(x, data.template.number) for x in (templates, boxes))
        search = self._seen(batch.search, data.search.size)
        features = network.encode(templates, search, boxes)
        inputs, _ = self.tokenizer.encode(batch.boxes.nan_to_num())
        past = None
        if network.history and batch.history is not None:
            past = self.tokenizer.history(batch.history[:, -network.history :])
        logits = network.logits(network.memory(features), inputs, boxes, past)
        searched = features[:, : network.encoder.body.search_tokens]
        return Lesson(logits[:, :4, : self.tokenizer.bins].float(), searched.float())

    def _seen(self, pixels: Tensor, size: int) -> Tensor:
        """`(..., 3, size, size)` normalised of `(..., S, S, 3)` uint8."""
        images = self.normalise(pixels)
        if images.shape[-1] == size:
            return images
        flat = images.flatten(0, -4)
        resized = F.interpolate(flat, (size, size), mode="bilinear", antialias=True)
        return resized.unflatten(0, images.shape[:-3])


def _as_many(x: Tensor, count: int) -> Tensor:
    """`(B, count, ...)` of `(B, T, ...)`: the first ones, or the last one several times."""
    missing = max(0, count - x.shape[1])
    return torch.cat([x[:, :count], *[x[:, -1:]] * missing], dim=1)


def check_lesson(teacher: Config, student: Config) -> None:
    """Refuse what cannot be taught.

    Raises:
        ConfigError: another order of tokens, another view, or boxes before that nobody draws.
    """
    for key, its, own in (
        ("DATA.SEQ_FORMAT", teacher.data.seq_format, student.data.seq_format),
        ("DATA.SEARCH.FACTOR", teacher.data.search.factor, student.data.search.factor),
        ("DATA.TEMPLATE.FACTOR", teacher.data.template.factor, student.data.template.factor),
    ):
        if its != own:
            raise ConfigError(
                f"TRAIN.TEACHER.CONFIG {teacher.name}: its {key} is {its}, and {own} here; teacher "
                "and student must see and say the same: set the key here, or take another teacher"
            )
    its, own = teacher.model.history, student.model.history
    if its > own:
        raise ConfigError(
            f"TRAIN.TEACHER.CONFIG {teacher.name}: its MODEL.HISTORY is {its}, and {own} here; "
            f"set MODEL.HISTORY to {its} or more, or take another teacher"
        )


def load_teacher(cfg: Config, paths: Paths, device: torch.device) -> Teacher | None:
    """The teacher that TRAIN.TEACHER names, on a device; None where it names none.

    Raises:
        ConfigError: no such configuration, or it cannot teach this one.
        CheckpointError: its weights are not there, or of another network.
    """
    named = cfg.train.teacher
    if named.config is None:
        return None
    its = load_config(named.config)
    check_lesson(its, cfg)
    key = "TRAIN.TEACHER.CHECKPOINT"
    given = user_path(named.checkpoint, key) if named.checkpoint else None
    path = find_checkpoint(its.name, paths.checkpoint_dirs(its.name), given)
    network = load_network(its, path, device)
    return Teacher(network, its, cfg, {"config": its.name, "sha256": sha256_of(path)})
