"""SeqTrack: encode templates and search region, then write x, y, w, h as tokens.

    features = encoder(templates, search)            (B, L_x + T*L_z, C)
    memory   = bottleneck(select(features))          (B, M, D); no bottleneck where C = D
    logits   = vocab_embed(decoder(tokens, memory))  (B, L, bins + 2)

`forward` is teacher forced, for training. `step` is one frame of tracking: tensors in, tensors
out, nothing waits for the device; it runs as it is, in a CUDA graph, under torch.compile and
through torch.onnx.export.
Source: SeqTrack (CVPR 2023). State-dict keys and shapes are those of the released weights.
"""

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.config.schema import Config
from lib.config.schema.model import ENCODER_FAMILIES
from lib.models.decoder import Decoder
from lib.models.encoder import Encoder, JointEncoder, TemplateFeatures, VisionTransformer
from lib.models.extras import CentreHint, log_size, ordered_rows
from lib.models.pixels import Normaliser
from lib.models.tokens import BoxTokenizer

STEPS = 4  # tokens of a box
DECODER_LENGTH = 1 + STEPS  # START before them


@dataclass(frozen=True)
class Generation:
    """What the decoder wrote.

    Attributes:
        tokens: `(B, 4)` int64 coordinate tokens.
        confidence: `(B, 4)` probability of each token after the window penalty, float64 with
            a window, else float32.
        distributions: `(B, 4, bins)` the values the tokens were chosen from (softmax over the
            whole vocabulary, special tokens dropped without renormalising, window applied).
    """

    tokens: Tensor
    confidence: Tensor
    distributions: Tensor


class StepOutput(NamedTuple):
    """What a step says of B targets: a `Generation`, its confidence float64, and its boxes.

    Attributes:
        tokens: as there.
        confidence: as there, float64 (on Apple's MPS float32).
        boxes: `(B, 4)` float32 cxcywh, normalised to the search crop.
        distributions: as there.
    """

    tokens: Tensor
    confidence: Tensor
    boxes: Tensor
    distributions: Tensor


class Reading(nn.Module):
    """How a tracker feeds the network and reads it out: what the configuration says of both.

    Args:
        cfg: DATA.MEAN, STD and SEQ_FORMAT, MODEL.BINS, TEST.WINDOW and TEST.DECODING count.
        device: of the network.
    """

    def __init__(self, cfg: Config, device: torch.device | str) -> None:
        super().__init__()
        self.normalise = Normaliser(device, cfg.data.mean, cfg.data.std)
        self.tokenizer = build_tokenizer(cfg)
        window = self.tokenizer.window(device) if cfg.test.window else None
        self.register_buffer("window", window, persistent=False)
        self.expectation = cfg.test.decoding == "expectation"

    def boxes(self, generated: Generation) -> Tensor:
        """`(B, 4)` float32 cxcywh, normalised to the search crop."""
        tokens = generated.tokens
        if self.expectation:
            tokens = self.tokenizer.expected(generated.distributions)
        return self.tokenizer.decode(tokens)


class MLP(nn.Module):
    """Linear layers with ReLU between them; the output head over the vocabulary.

    Args:
        dims: channels before, between and after the layers.
    """

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., dims[0])` to `(..., dims[-1])`."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)


class SeqTrack(nn.Module):
    """The network. Build it from a configuration with `build_seqtrack`.

    Args:
        body: the encoder's transformer.
        decoder: the causal decoder.
        hidden_dim: channels D of the decoder.
        vocabulary_size: coordinate tokens, END and START.
        feature_type: what the decoder attends to: `x` search tokens, `xz` all tokens,
            `token` their mean.
        num_templates: T, which fixes the number of memory positions for `xz`.
        ordered_words: start with like words for neighbouring coordinates.
        centre_hint: START says where the encoder thinks the centre is.
        history: N, boxes of the frames before whose tokens stand before START, as in ARTrack
            (CVPR 2023) and SeqTrackV2 (2023); the decoder must be long enough.

    Attributes:
        reading: for `step`; None until `configured` or `prepare` gave the network one.
    """

    def __init__(
        self,
        body: JointEncoder,
        decoder: Decoder,
        *,
        hidden_dim: int,
        vocabulary_size: int,
        feature_type: str,
        num_templates: int,
        ordered_words: bool = False,
        centre_hint: bool = False,
        history: int = 0,
    ) -> None:
        super().__init__()
        rows = {
            "x": body.search_tokens,
            "xz": body.search_tokens + num_templates * body.template_tokens,
            "token": 1,
        }
        if feature_type not in rows:
            raise ValueError(f"feature_type {feature_type!r} is not one of {sorted(rows)}")
        self.reading: Reading | None = None
        self.feature_type = feature_type
        self.history, self.unknown = history, vocabulary_size - 2  # END; see `BoxTokenizer`
        self.hidden_dim = hidden_dim
        self.pos_embed = nn.Parameter(sinusoid_table(rows[feature_type], hidden_dim)[None])
        self.encoder = Encoder(body)
        self.bottleneck = nn.Linear(body.width, hidden_dim)
        self.decoder = decoder
        self.vocab_embed = MLP([hidden_dim, hidden_dim, hidden_dim, vocabulary_size])
        if ordered_words:
            self._order_words(vocabulary_size - 2)
        side = math.isqrt(body.search_tokens)
        self.centre_hint = CentreHint(hidden_dim, side) if centre_hint else None
        # START also says how wide and high the target is in the first template.
        self.start_size = nn.Linear(2, hidden_dim) if body.template_box is not None else None

    @torch.no_grad()
    def _order_words(self, bins: int) -> None:
        """Start the rows of the coordinates, in and out, as smooth functions of them."""
        output, embedding = self.vocab_embed.layers[-1], self.decoder.embedding.word_embeddings
        output.weight[:bins] = 0.05 * ordered_rows(bins, self.hidden_dim)
        embedding.weight[:bins] = ordered_rows(bins, self.hidden_dim)

    def encode(
        self, templates: Tensor, search: Tensor, template_boxes: Tensor | None = None
    ) -> Tensor:
        """Features `(B, N, C)`; see `Encoder.forward` for the arguments."""
        return self.encoder(templates, search, template_boxes)

    def memory(self, features: Tensor) -> Tensor:
        """What the decoder attends to, `(B, M, D)`, from the encoder's `(B, N, C)`."""
        if self.feature_type == "x":
            features = features[:, : self.encoder.body.search_tokens]
        elif self.feature_type == "token":
            features = features.mean(dim=1, keepdim=True)
        # The reference leaves the bottleneck out when the widths agree; its weights exist anyway.
        return features if features.shape[-1] == self.hidden_dim else self.bottleneck(features)

    def logits(
        self,
        memory: Tensor,
        tokens: Tensor,
        template_boxes: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits for a ready memory.

        Args:
            memory: `(B, M, D)`.
            tokens: `(B, L)` decoder input, START first.
            template_boxes: as in `Encoder.forward`.
            history: `(B, 4 N)` of `BoxTokenizer.history`; of use where MODEL.HISTORY is N.
                None: no box is known.

        Returns:
            `(B, L, bins + 2)` logits of the word after each input word.
        """
        start_bias = self.start_bias(memory, template_boxes)
        cache = self.decoder.start(memory, self.pos_embed)
        read = self._after(history, tokens)
        start = read.shape[1] - tokens.shape[1]
        hidden, _ = self.decoder.step(read, cache, start_bias, start)
        return self.vocab_embed(hidden[:, start:] if start else hidden)

    def _after(self, history: Tensor | None, tokens: Tensor) -> Tensor:
        """Decoder input `(B, L)` with the tokens of the boxes before, if it is to have them."""
        if not self.history:
            return tokens
        if history is None:
            history = tokens.new_full((len(tokens), STEPS * self.history), self.unknown)
        return torch.cat([history, tokens], dim=1)

    def start_bias(self, memory: Tensor, template_boxes: Tensor | None) -> Tensor | None:
        """What is added to START's embedding, `(B, D)`, or None.

        Args:
            memory: `(B, M, D)`.
            template_boxes: `(B, T, 4)` as in `Encoder.forward`; the first counts.
        """
        parts = []
        if self.start_size is not None:
            if template_boxes is None:
                raise ValueError("this network needs template_boxes: MODEL.TEMPLATE_BOX is on")
            parts.append(self.start_size(log_size(template_boxes[:, 0])))
        if self.centre_hint is not None:
            parts.append(self.centre_hint(memory))
        return sum(parts) if parts else None

    def forward(
        self,
        templates: Tensor,
        search: Tensor,
        tokens: Tensor,
        template_boxes: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits.

        Args:
            templates: `(B, T, 3, S_z, S_z)` normalised images.
            search: `(B, 3, S_x, S_x)` normalised images.
            tokens: `(B, L)` decoder input, START first.
            template_boxes: as in `Encoder.forward`.
            history: as in `logits`.

        Returns:
            `(B, L, bins + 2)` logits of the word after each input word.
        """
        memory = self.memory(self.encode(templates, search, template_boxes))
        return self.logits(memory, tokens, template_boxes, history)

    def generate(
        self,
        templates: Tensor,
        search: Tensor,
        tokenizer: BoxTokenizer,
        window: Tensor | None = None,
        template_boxes: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Generation:
        """Read the box out: four greedy tokens.

        Args:
            templates: `(B, T, 3, S_z, S_z)` normalised images.
            search: `(B, 3, S_x, S_x)` normalised images.
            tokenizer: knows START and the number of bins.
            window: factors `(4, bins)` from `tokenizer.window`, or None for no penalty.
            template_boxes: as in `Encoder.forward`.
            history: as in `logits`.
        """
        memory = self.memory(self.encode(templates, search, template_boxes))
        return self.generate_from_memory(memory, tokenizer, window, template_boxes, history)

    def generate_from_memory(
        self,
        memory: Tensor,
        tokenizer: BoxTokenizer,
        window: Tensor | None = None,
        template_boxes: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Generation:
        """As `generate`, for a ready memory `(B, M, D)`."""
        steps = list(self.read_tokens(memory, tokenizer, window, template_boxes, history))
        tokens, confidence, values = zip(*steps, strict=True)
        return Generation(
            torch.cat(tokens, dim=1), torch.cat(confidence, dim=1), torch.stack(values, dim=1)
        )

    def read_tokens(
        self,
        memory: Tensor,
        tokenizer: BoxTokenizer,
        window: Tensor | None = None,
        template_boxes: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The four steps of the decoder; arguments as those of `generate_from_memory`.

        Yields:
            a token `(B, 1)`, its confidence `(B, 1)`, and the values `(B, bins)` it is chosen from.
        """
        cache = self.decoder.start(memory, self.pos_embed)
        start_bias = self.start_bias(memory, template_boxes)
        token = torch.full((memory.shape[0], 1), tokenizer.start, device=memory.device)
        read = self._after(history, token)
        for i in range(STEPS):
            start = read.shape[1] - 1
            hidden, cache = self.decoder.step(read, cache, start_bias if i == 0 else None, start)
            logits = self.vocab_embed(hidden[:, -1] if start else hidden.squeeze(1))
            values = logits.float().softmax(dim=-1)[:, : tokenizer.bins]
            if window is not None:
                values = values.to(window) * window[i]
            best, token = values.max(dim=-1, keepdim=True)
            token = read = token.to(memory.device)
            yield token, best, values

    def remember(
        self,
        search: Tensor,
        templates: TemplateFeatures,
        key_bias: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """What the decoder attends to while tracking, `(B, M, D)`.

        Args:
            search: `(B, 3, S_x, S_x)` normalised images.
            templates: features of D different templates of each target.
            key_bias: `(B, D)` logarithm of how often each of them counts; None: all once.
            places: `(B, T)` which of the D each of a target's T templates is; of use only where
                more than the search tokens is read.
        """
        body, search_only = self.encoder.body, self.feature_type == "x"
        x = body.embed_search(search, templates, key_bias)
        features = body(x, templates.tokens, key_bias, search_only)
        if places is not None and not search_only:
            side = body.search_tokens
            z = features[:, side:].unflatten(1, (-1, body.template_tokens))
            index = places[:, :, None, None].expand(-1, -1, *z.shape[2:])
            features = torch.cat([features[:, :side], z.gather(1, index).flatten(1, 2)], dim=1)
        return self.memory(features)

    def step(
        self,
        pixels: Tensor,
        templates: TemplateFeatures,
        key_bias: Tensor | None = None,
        places: Tensor | None = None,
        history: Tensor | None = None,
    ) -> StepOutput:
        """One frame of B targets.

        Args:
            pixels: `(B, S_x, S_x, 3)` uint8 RGB search crops.
            templates: as in `remember`.
            key_bias: as there.
            places: as there.
            history: `(B, N, 4)` boxes before, as in `BoxTokenizer.history`; of use where
                MODEL.HISTORY is N.
        """
        reading = self._ready()
        memory = self.remember(reading.normalise(pixels), templates, key_bias, places)
        before = reading.tokenizer.history(history) if history is not None else None
        generated = self.generate_from_memory(
            memory, reading.tokenizer, reading.window, templates.boxes, before
        )
        # Apple's MPS has no doubles; there the window has brought the values to the CPU.
        wide = torch.float32 if memory.device.type == "mps" else torch.float64
        confidence = generated.confidence.to(memory.device, wide)
        boxes = reading.boxes(generated).to(memory.device)
        return StepOutput(generated.tokens, confidence, boxes, generated.distributions)

    def template_features(self, pixels: Tensor, boxes: Tensor) -> TemplateFeatures:
        """What a tracker keeps of N templates.

        Args:
            pixels: `(N, S_z, S_z, 3)` uint8 RGB.
            boxes: `(N, 4)` xywh of the targets, normalised to the crops.
        """
        return self.encoder.body.embed_templates(self._ready().normalise(pixels), boxes)

    def _ready(self) -> Reading:
        if self.reading is None:
            raise ValueError("this network has no way of reading out: `configured` gives it one")
        return self.reading


def configured(network: SeqTrack, cfg: Config) -> SeqTrack:
    """A copy of a network that is fed and read out as `cfg` says; they share their tensors."""
    shared = {id(x): x for x in itertools.chain(network.parameters(), network.buffers())}
    made = copy.deepcopy(network, shared)
    made.reading = Reading(cfg, network.pos_embed.device)
    made.eval()
    made.decoder.freeze(made.pos_embed)
    return made


def sinusoid_table(rows: int, dim: int) -> Tensor:
    """The 1-D sinusoid position table `(rows, dim)`, float32 (computed in double).

    Source: Attention Is All You Need, section 3.5. It only initialises a trained parameter.
    """
    column = torch.arange(dim, dtype=torch.float64)
    wavelength = 10000 ** (2 * torch.div(column, 2, rounding_mode="floor") / dim)
    angle = torch.arange(rows, dtype=torch.float64)[:, None] / wavelength
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


def build_tokenizer(cfg: Config) -> BoxTokenizer:
    """The vocabulary that a configuration describes."""
    return BoxTokenizer(bins=cfg.model.bins, seq_format=cfg.data.seq_format)


def build_encoder(cfg: Config) -> JointEncoder:
    """The encoder that a configuration describes, with random weights.

    Raises:
        ConfigError: the module of its family has no such encoder.
    """
    encoder = cfg.model.encoder
    if encoder.family:
        return import_module(ENCODER_FAMILIES[encoder.family]).build_encoder(cfg)
    width, depth, heads, patch_size = encoder.geometry
    return VisionTransformer(
        search_size=cfg.data.search.size,
        template_size=cfg.data.template.size,
        patch_size=patch_size,
        width=width,
        depth=depth,
        heads=heads,
        drop_path=encoder.drop_path,
        use_checkpoint=encoder.use_checkpoint,
        stem=encoder.stem,
        tied_query_key=encoder.tied_query_key,
        grid_positions=encoder.grid_positions,
        template_box=cfg.model.template_box,
        correlation=cfg.model.correlation,
        type_embedding=encoder.type_embedding,
        causal=encoder.causal_templates,
    )


def build_seqtrack(cfg: Config, num_templates: int | None = None) -> SeqTrack:
    """The network that a configuration describes, initialised but without trained weights.

    Building never touches the disk or the network; load weights afterwards.

    Args:
        cfg: the configuration.
        num_templates: templates per sample where they matter for the parameters (feature type
            `xz`); by default DATA.TEMPLATE.NUMBER.
    """
    body = build_encoder(cfg)
    tokenizer = build_tokenizer(cfg)
    decoder = Decoder(
        vocabulary_size=tokenizer.vocabulary_size,
        length=STEPS * cfg.model.history + DECODER_LENGTH,
        dim=cfg.model.hidden_dim,
        heads=cfg.model.decoder.nheads,
        ffn=cfg.model.decoder.dim_feedforward,
        layers=cfg.model.decoder.dec_layers,
        dropout=cfg.model.decoder.dropout,
        pre_norm=cfg.model.decoder.pre_norm,
    )
    return SeqTrack(
        body,
        decoder,
        hidden_dim=cfg.model.hidden_dim,
        vocabulary_size=tokenizer.vocabulary_size,
        feature_type=cfg.model.feature_type,
        num_templates=cfg.data.template.number if num_templates is None else num_templates,
        ordered_words=cfg.model.decoder.ordered_words,
        centre_hint=cfg.model.centre_hint,
        history=cfg.model.history,
    )
