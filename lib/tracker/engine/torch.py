"""The usual engine: PyTorch on any device, exact in fp32.

On CUDA a whole step, from the bytes of the crops to tokens and boxes, is recorded once per shape
and then started with one launch. There are few shapes: `rounded_batch` makes the sizes few, and a
call is one batch in which either every target has one template or all have T.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.config.schema import Config
from lib.models.encoder import TemplateFeatures
from lib.models.packed import prepare
from lib.models.pixels import Staging, upload
from lib.models.seqtrack import SeqTrack
from lib.tracker.engine.api import BatchedEngine, Template, UniqueTemplates
from lib.tracker.engine.graph import GraphRecorder, Record, Recorded, rounded_batch


class StepInputs(NamedTuple):
    """What `SeqTrack.step` takes after the pixels, for B targets; see there."""

    templates: TemplateFeatures
    key_bias: Tensor | None
    places: Tensor | None


class TorchEngine(BatchedEngine):
    """See the module and `lib.tracker.engine.api.Engine`; templates keep `TemplateFeatures`.

    Args:
        network: its weights are copied where another order or precision is wanted; whoever does
            not need the network any more may drop it.
        cfg: the configuration it was built from.
        precision: of the matrix products in the encoder's blocks.
        record: records a step so that it can be run again; None takes CUDA graphs on a CUDA
            device and records nothing on others.
    """

    name = "torch"

    def __init__(
        self,
        network: SeqTrack,
        cfg: Config,
        precision: str = "fp32",
        record: Record | None = None,
    ) -> None:
        device = network.pos_embed.device
        if record is None and device.type == "cuda":
            record = GraphRecorder(device)
        super().__init__(one_group=record is not None)
        self.device, self.needs_places = device, network.feature_type != "x"
        with torch.inference_mode():
            self.network = prepare(network, cfg, precision)
        self.history = network.history
        # Pixels and boxes before are new in every frame.
        self.step = self._step if record is None else Recorded(self._step, record, device, 2)
        self.staging = Staging(pinned=device.type == "cuda")

    @torch.inference_mode()
    def templates(
        self, crops: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]
    ) -> list[Template]:
        """See `Engine.templates`."""
        # Memory of its own: nobody waits for these copies before the next ones.
        pixels = upload(np.stack(crops), self.device)
        features = self.network.template_features(
            pixels, upload(np.array(boxes, np.float32), self.device)
        )
        made = []
        for i, (crop, box) in enumerate(zip(crops, boxes, strict=True)):
            # One that is kept does not keep the memory of the others.
            cached = TemplateFeatures(*(None if x is None else x[i].clone() for x in features))
            x, y, w, h = (float(value) for value in box)
            made.append(Template(crop, (x, y, w, h), cached))
        return made

    concatenate = staticmethod(torch.cat)

    def assemble(self, unique: Sequence[UniqueTemplates]) -> StepInputs:
        """See `BatchedEngine.assemble`."""
        rows = zip(*(one.cached for row in unique for one in row.templates), strict=True)
        parts = (None if part[0] is None else torch.stack(part) for part in rows)
        key_bias = places = None
        if any(one != 1 for row in unique for one in row.counts):
            counts = np.array([row.counts for row in unique], np.float64)
            key_bias = upload(np.log(counts).astype(np.float32), self.device)
        if self.needs_places:
            places = upload(np.array([row.index for row in unique]), self.device)
        features = TemplateFeatures(*parts).unflatten(len(unique)).averaged(key_bias)
        return StepInputs(features, key_bias, places)

    @torch.inference_mode()
    def run(
        self,
        crops: Sequence[np.ndarray] | np.ndarray,
        unique: list[UniqueTemplates],
        history: np.ndarray | None,
    ) -> Sequence[Tensor]:
        """See `BatchedEngine.run`."""
        count = len(unique)
        rows = rounded_batch(count) if self.one_group else count
        templates, *rest = self.inputs(unique + unique[:1] * (rows - count))
        if isinstance(crops, np.ndarray) and not self.one_group:
            pixels = torch.from_numpy(crops)
        else:
            pixels = self.staging(crops, rows)
        before = None
        if self.history:
            filled = np.full((rows, self.history, 4), np.nan, np.float32)
            if history is not None:
                filled[:count] = history
            before = upload(filled, self.device)
        packed, distributions = self.step(pixels, before, *templates, *rest)
        # To the CPU now: a recorded step writes its next answer to the same place, and the
        # memory that `pixels` lies in is filled again.
        copied = (one.to("cpu", copy=self.one_group)[:count] for one in (packed, distributions))
        tokens, confidence, boxes = next(copied).split(4, dim=1)
        parts = (tokens.long(), confidence.double(), boxes.float())
        return (*parts, next(copied)) if self.keep_distributions else parts

    def _step(
        self, pixels: Tensor, history: Tensor | None, tokens: Tensor, *inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """`SeqTrack.step`; nothing in here waits for the device.

        Args:
            pixels: `(B, S_x, S_x, 3)` uint8.
            history: `(B, N, 4)` boxes before, or None.
            tokens: of the `TemplateFeatures`.
            inputs: the other parts of these, then the other inputs of the step.

        Returns:
            `(B, 12)`: tokens, confidences and boxes, so that one copy fetches all; then the
            distributions.
        """
        *rest, key_bias, places = inputs
        output = self.network.step(
            pixels.to(self.device), TemplateFeatures(tokens, *rest), key_bias, places, history
        )
        wide = output.confidence.dtype
        parts = (output.tokens.to(wide), output.confidence, output.boxes.to(wide))
        packed = torch.cat(parts, dim=1)
        return packed, output.distributions
