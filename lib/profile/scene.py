"""What is measured on: a network with weights, and frames with a target in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.config.schema import Config
from lib.datasets.sequence import Video
from lib.models.seqtrack import SeqTrack
from lib.tracker.build import load_network
from lib.tracker.engine.api import Engine, Template
from lib.tracker.seqtrack import start_target
from lib.tracker.settings import TrackerSettings
from lib.tracker.state import TargetState
from lib.utils.crop import crop_square

RANDOM_SEED = 0
# Frames of this many are used in turn.
FRAMES = 16


@torch.no_grad()
def benchmark_network(cfg: Config, checkpoint: Path | None, device: torch.device) -> SeqTrack:
    """The network with its weights, or with seeded ones that look at the image.

    Freshly initialised weights answer nearly the same whatever they see, so that equal tokens
    would prove little; wider ones do not.
    """
    network = load_network(cfg, checkpoint)
    if checkpoint is None:
        generator = torch.Generator().manual_seed(RANDOM_SEED)
        for parameter in network.parameters():
            if parameter.dim() > 1 and parameter.shape[0] > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, 1.5 * fan_in**-0.5, generator=generator)
    return network.to(device)


@dataclass(frozen=True)
class ProfileScene:
    """Frames of a clip, and where the target is in them."""

    images: tuple[np.ndarray, ...]  # `(H, W, 3)` uint8 RGB each
    boxes: tuple[tuple[float, float, float, float], ...]  # xywh of the target in each
    name: str  # of the clip

    @classmethod
    def of(cls, sequence: Video) -> "ProfileScene":
        """The first frames of a sequence; without ground truth the box stays put.

        Raises:
            DataError: a frame cannot be read.
        """
        count = min(FRAMES, len(sequence))
        images = tuple(sequence.frames.read(i) for i in range(count))
        truth = sequence.ground_truth
        rows = [truth[i] if i < len(truth) else truth[0] for i in range(count)]
        usable = [r if np.isfinite(r).all() and min(r[2:]) > 1 else truth[0] for r in rows]
        boxes = tuple((float(x), float(y), float(w), float(h)) for x, y, w, h in usable)
        return cls(images, boxes, sequence.name)

    def search(self, settings: TrackerSettings, numbers: Sequence[int]) -> np.ndarray:
        """Search crops `(B, S_x, S_x, 3)` around the boxes of the frames before `numbers`."""
        pairs = [((n - 1) % len(self.images), n % len(self.images)) for n in numbers]
        factor, size = settings.search_factor, settings.search_size
        crops = [crop_square(self.images[b], self.boxes[a], factor, size) for a, b in pairs]
        return np.stack([crop.pixels for crop in crops])

    def state(self, settings: TrackerSettings, engine: Engine, number: int = 0) -> TargetState:
        """A target started in frame `number`."""
        number %= len(self.images)
        return start_target(self.images[number], self.boxes[number], settings, engine)

    def templates(
        self, settings: TrackerSettings, engine: Engine, situation: str
    ) -> tuple[Template, ...]:
        """T templates: all `equal`, as before the first update, or all `different`."""
        if situation == "equal":
            return self.state(settings, engine).templates
        numbers = range(settings.num_templates)
        return tuple(self.state(settings, engine, 3 * n).templates[0] for n in numbers)


@dataclass
class Workload:
    """A network, and frames to run it on."""

    network: SeqTrack  # with its weights, on the device
    cfg: Config  # the configuration it was built from
    scene: ProfileScene  # the frames

    def __post_init__(self) -> None:
        self.settings = TrackerSettings.from_config(self.cfg)
        self.device = self.network.pos_embed.device

    def situations(self) -> list[str]:
        """`equal`, and with more than one template `different`."""
        return ["equal", "different"][: 1 if self.settings.num_templates == 1 else 2]
