"""The usual engine: PyTorch on any device, exact in fp32.

What makes it quick is in `lib.models.fast_encoder` and `lib.models.fast_decoder`; here targets
are put together to batches, and taken apart again. On CUDA a whole step, from the bytes of the
crops to tokens and boxes, is recorded once per shape and then started with one launch. There are
few shapes: `rounded_batch` makes the sizes few, and a call is one batch in which either every
target has one template or all have T.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.config.schema import Config
from lib.models.fast_decoder import FastDecoder
from lib.models.fast_encoder import FastEncoder, KeptTemplate
from lib.models.pixels import Normaliser, Staging, upload
from lib.models.seqtrack import SeqTrack, build_tokenizer, opening
from lib.tracker.engine.api import Distinct, Engine, Readout, Template, in_groups
from lib.tracker.engine.graph import GraphRecorder, Record, Recorded, rounded_batch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Kept:
    """What this engine remembers of a template, on its device."""

    template: KeptTemplate
    box: Tensor


@dataclass(frozen=True)
class _Prepared:
    """All that B targets with D different templates each bring to a step but the search crops.

    Attributes:
        distinct: the different templates of each target.
        tensors: boxes in the first templates `(B, 4)`, then what `TorchEngine.encode` takes
            after the search region.
    """

    distinct: tuple[Distinct, ...]
    tensors: tuple[Tensor | None, ...]

    def is_of(self, distinct: Sequence[Distinct]) -> bool:
        """Whether these are the same templates, at the same places."""
        return len(self.distinct) == len(distinct) and all(
            mine.places == its.places
            and all(a is b for a, b in zip(mine.templates, its.templates, strict=True))
            for mine, its in zip(self.distinct, distinct, strict=True)
        )


class TorchEngine(Engine):
    """See the module and `lib.tracker.engine.api.Engine`.

    Args:
        network: in evaluation mode. Its weights are copied where another order or precision is
            wanted; whoever does not need the network any more may drop it.
        cfg: the configuration it was built from.
        precision: of the matrix products in the encoder's blocks.
        record: records a step so that it can be run again; None takes CUDA graphs on a CUDA
            device and records nothing on others.

    Raises:
        ConfigError: the network has a layer that this engine does not know.
    """

    name = "torch"

    def __init__(
        self,
        network: SeqTrack,
        cfg: Config,
        precision: str = "fp32",
        record: Record | None = None,
    ) -> None:
        self.keep_distributions = False
        self.device = network.pos_embed.device
        self.normalise = Normaliser(self.device, cfg.data.mean, cfg.data.std)
        self.tokenizer = build_tokenizer(cfg)
        self.expectation = cfg.test.decoding == "expectation"
        window = self.tokenizer.window(self.device) if cfg.test.window else None
        self.feature_type = network.feature_type
        with torch.inference_mode():
            self.encoder = FastEncoder(
                network.encoder.body, self.feature_type == "x", DTYPES[precision]
            )
            self.decoder = FastDecoder(network, self.tokenizer, window)
        wide = network.encoder.body.width != network.hidden_dim
        self.bottleneck = network.bottleneck if wide else None
        self.start_size, self.centre_hint = network.start_size, network.centre_hint
        if record is None and self.device.type == "cuda":
            record = GraphRecorder(self.device)
        self.recorded = record is not None
        self._steps = [functools.partial(self._step, wanted) for wanted in (False, True)]
        if record is not None:
            self._steps = [Recorded(step, record, self.device) for step in self._steps]
        self.staging = Staging(pinned=self.device.type == "cuda")
        self._last: dict[int, _Prepared] = {}

    @torch.inference_mode()
    def templates(
        self, crops: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]
    ) -> list[Template]:
        """See `Engine.templates`."""
        # Memory of its own: nobody waits for these copies before the next ones.
        images = self.normalise(upload(np.stack(crops), self.device))
        placed = upload(np.array(boxes, np.float32), self.device)
        made = []
        for i, kept in enumerate(self.encoder.embed_templates(images, placed)):
            x, y, w, h = (float(value) for value in boxes[i])
            made.append(Template(crops[i], (x, y, w, h), Kept(kept, placed[i])))
        return made

    @torch.inference_mode()
    def generate(
        self, templates: Sequence[Sequence[Template]], search: Sequence[np.ndarray] | np.ndarray
    ) -> Readout:
        """See `Engine.generate`; targets with as many different templates go together."""

        def answer(indices: list[int], distinct: list[Distinct]) -> tuple[Tensor, ...]:
            rows = rounded_batch(len(indices)) if self.recorded else len(indices)
            inputs = self.prepare(distinct + distinct[:1] * (rows - len(indices)))
            pixels = self._pixels(search, indices, rows)
            said = self._steps[self.keep_distributions](pixels, *inputs)
            # To the CPU now: a recorded step writes its next answer to the same place, and the
            # memory that `pixels` lies in is filled again.
            return tuple(part.cpu()[: len(indices)] for part in said)

        return self._unpack(*in_groups(templates, answer, one_group=self.recorded))

    def _pixels(
        self, search: Sequence[np.ndarray] | np.ndarray, indices: list[int], rows: int
    ) -> Tensor:
        """Some of the search crops, `(rows, S_x, S_x, 3)` uint8, in the CPU's memory."""
        if not self.recorded and isinstance(search, np.ndarray) and len(indices) == len(search):
            return torch.from_numpy(search)
        return self.staging([search[i] for i in indices], rows)

    def prepare(self, distinct: Sequence[Distinct]) -> tuple[Tensor | None, ...]:
        """Put the templates of B targets with equally many different ones together.

        Returns:
            boxes in the first templates `(B, 4)`, then what `encode` takes after the search
            region. The same templates get the same tensors, which never change.
        """
        count = len(distinct[0].templates)
        last = self._last.get(count)
        if last is not None and last.is_of(distinct):
            return last.tensors
        kept: list[Kept] = [one.kept for row in distinct for one in row.templates]
        shape = (len(distinct), count)
        tokens = torch.stack([k.template.tokens for k in kept]).unflatten(0, shape).flatten(1, 2)
        first = torch.stack([k.box for k in kept[::count]])
        copies = [row.copies for row in distinct]
        bias = self.encoder.key_bias(copies, self.device)
        keys = covered = places = None
        if self.encoder.correlation is not None:
            share = upload(np.array(copies, np.float32), self.device)
            share = share / share.sum(dim=1, keepdim=True)
            keys = torch.stack([k.template.keys for k in kept]).unflatten(0, shape)
            keys = (keys * share[:, :, None, None]).sum(dim=1)
            covered = torch.stack([k.template.covered for k in kept]).unflatten(0, shape)
            covered = (covered * share).sum(dim=1)
        if self.feature_type != "x":
            places = upload(np.array([row.places for row in distinct]), self.device)
        prepared = _Prepared(tuple(distinct), (first, tokens, bias, keys, covered, places))
        self._last = {**self._last, count: prepared}
        return prepared.tensors

    def encode(
        self,
        search: Tensor,
        tokens: Tensor,
        bias: Tensor | None,
        keys: Tensor | None,
        covered: Tensor | None,
        places: Tensor | None,
    ) -> Tensor:
        """What the decoder attends to, `(B, M, D)`.

        Args:
            search: `(B, 3, S_x, S_x)` normalised.
            tokens: `(B, D * L_z, C)` of the different templates.
            bias: see `FastEncoder.key_bias`.
            keys: see `FastEncoder.embed_search`.
            covered: likewise.
            places: `(B, T)` which of the D templates each of the T is; None if only search
                tokens are read.
        """
        x = self.encoder.embed_search(search, keys, covered)
        return self._memory(self.encoder(x, tokens, bias), places)

    def _step(
        self, keep_distributions: bool, pixels: Tensor, first: Tensor, *inputs: Tensor | None
    ) -> tuple[Tensor, ...]:
        """One step of B targets; nothing in here waits for the device.

        Args:
            keep_distributions: whether they are returned as well.
            pixels: `(B, S_x, S_x, 3)` uint8.
            first: `(B, 4)` box in the first template.
            inputs: the other arguments of `encode`.

        Returns:
            `(B, 12)` float64: tokens, confidences and boxes, so that one copy fetches all; then
            the distributions, where they are wanted.
        """
        memory = self.encode(self.normalise(pixels.to(self.device)), *inputs)
        begin = opening(self.start_size, self.centre_hint, memory, first[:, None])
        said = self.decoder(memory, begin, keep_distributions or self.expectation)
        if self.expectation:
            boxes = self.tokenizer.decode(self.tokenizer.expected(said.distributions))
        else:
            boxes = self.tokenizer.decode(said.tokens)
        # Apple's MPS has no doubles; there the window has brought the confidence to the CPU.
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        parts = (said.tokens, said.confidence, boxes)
        packed = torch.cat([part.to(self.device, wide) for part in parts], dim=1)
        return (packed, said.distributions) if keep_distributions else (packed,)

    def _memory(self, features: Tensor, places: Tensor | None) -> Tensor:
        """As `SeqTrack.memory`, with every template in all its places first."""
        if places is not None:
            side = self.encoder.search_tokens
            z = features[:, side:].unflatten(1, (-1, self.encoder.template_tokens))
            at = places[:, :, None, None].expand(-1, -1, *z.shape[2:])
            features = torch.cat([features[:, :side], z.gather(1, at).flatten(1, 2)], dim=1)
            if self.feature_type == "token":
                features = features.mean(dim=1, keepdim=True)
        return features if self.bottleneck is None else self.bottleneck(features)

    def _unpack(self, packed: Tensor, distributions: Tensor | None = None) -> Readout:
        tokens, confidence, boxes = packed.split(4, dim=1)
        return Readout(tokens.long(), confidence.double(), boxes.float(), distributions)
