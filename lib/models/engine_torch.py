"""The usual engine: PyTorch on any device, exact in fp32.

What makes it quick is in `lib.models.fast_encoder` and `lib.models.fast_decoder`; here targets
are put together to batches, and taken apart again. On CUDA a whole step, from the bytes of the
crops to tokens and boxes, is recorded once per shape and then started with one launch.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.config.schema import Config
from lib.models.cuda_graph import Recorded, rounded_batch
from lib.models.engine import Distinct, Readout, Template, in_groups
from lib.models.fast_decoder import FastDecoder
from lib.models.fast_encoder import FastEncoder, KeptTemplate
from lib.models.pixels import Normaliser
from lib.models.seqtrack import SeqTrack, build_tokenizer, opening

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


class TorchEngine:
    """See the module and `lib.models.engine.Engine`.

    Args:
        network: in evaluation mode. Its weights are copied where another order or precision is
            wanted; whoever does not need the network any more may drop it.
        cfg: the configuration it was built from.
        precision: of the matrix products in the encoder's blocks.
    """

    name = "torch"

    def __init__(self, network: SeqTrack, cfg: Config, precision: str = "fp32") -> None:
        self.keep_distributions = False
        self.device = network.pos_embed.device
        self.normalise = Normaliser(self.device)
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
        self._steps = [functools.partial(self._step, wanted) for wanted in (False, True)]
        if self.device.type == "cuda":
            self._steps = [Recorded(step, self.device) for step in self._steps]
        self._last: dict[int, _Prepared] = {}

    @torch.inference_mode()
    def template(self, crop: np.ndarray, box: Sequence[float]) -> Template:
        """See `Engine.template`."""
        x, y, w, h = (float(value) for value in box)
        image = self.normalise(torch.from_numpy(crop).to(self.device))
        placed = torch.tensor([x, y, w, h], dtype=torch.float32, device=self.device)
        kept = Kept(self.encoder.embed_template(image, placed), placed)
        return Template(crop, (x, y, w, h), kept)

    @torch.inference_mode()
    def generate(self, templates: Sequence[Sequence[Template]], search: np.ndarray) -> Readout:
        """See `Engine.generate`; targets with as many different templates go together."""

        def answer(indices: list[int], distinct: list[Distinct]) -> tuple[Tensor, ...]:
            more = self._size(len(indices)) - len(indices)
            inputs = self.prepare(distinct + distinct[:1] * more)
            rows = indices + indices[:1] * more
            pixels = torch.from_numpy(search if len(rows) == len(search) == 1 else search[rows])
            if self.device.type == "cuda":
                pixels = pixels.pin_memory()
            said = self._steps[self.keep_distributions](pixels, *inputs)
            # To the CPU now: a recorded step writes its next answer to the same place.
            return tuple(part.cpu()[: len(indices)] for part in said)

        return self._unpack(*in_groups(templates, answer))

    def _size(self, targets: int) -> int:
        """How many targets a step is run for; recorded steps come in few sizes."""
        return rounded_batch(targets) if self.device.type == "cuda" else targets

    def prepare(self, distinct: Sequence[Distinct]) -> tuple[Tensor | None, ...]:
        """Put the templates of B targets with equally many different ones together.

        Returns:
            boxes in the first templates `(B, 4)`, then what `encode` takes after the search
            region.
        """
        count = len(distinct[0].templates)
        last = self._last.get(count)
        if last is not None and last.is_of(distinct):
            return last.tensors
        kept = [[one.kept for one in row.templates] for row in distinct]
        tokens = torch.stack([torch.cat([k.template.tokens for k in row]) for row in kept])
        first = torch.stack([row[0].box for row in kept])
        copies = [row.copies for row in distinct]
        bias = self.encoder.key_bias(copies, self.device)
        keys = covered = places = None
        if self.encoder.correlation is not None:
            share = torch.tensor(copies, dtype=torch.float32, device=self.device)
            share = share / share.sum(dim=1, keepdim=True)
            keys = torch.stack([torch.stack([k.template.keys for k in row]) for row in kept])
            keys = (keys * share[:, :, None, None]).sum(dim=1)
            covered = torch.stack([torch.stack([k.template.covered for k in row]) for row in kept])
            covered = (covered * share).sum(dim=1)
        if self.feature_type != "x":
            places = torch.tensor([row.places for row in distinct], device=self.device)
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
