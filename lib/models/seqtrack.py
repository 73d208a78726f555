"""SeqTrack: encode templates and search region, then say x, y, w, h.

    features = encoder(templates, search)            (B, L_x + T*L_z, C)
    memory   = bottleneck(select(features))          (B, M, D); no bottleneck where C = D
    logits   = vocab_embed(decoder(tokens, memory))  (B, L, bins + 2)

Source: SeqTrack (CVPR 2023). State-dict keys and shapes are those of the released weights.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.models.centre_hint import CentreHint
from lib.models.decoder import Decoder
from lib.models.positions import ordered_rows, sinusoid_table
from lib.models.template_box import log_size
from lib.models.tokens import BoxTokenizer
from lib.models.vit import MLP, Encoder, VisionTransformer

DECODER_LENGTH = 5  # START and four coordinate tokens


@dataclass(frozen=True)
class Generation:
    """What the decoder said.

    Attributes:
        tokens: `(B, 4)` int64 coordinate tokens.
        confidence: `(B, 4)` probability of each token after the window penalty, float64 with
            a window, else float32.
        distributions: `(B, 4, bins)` the values the tokens were chosen from (softmax over the
            whole vocabulary, special tokens dropped without renormalising, window applied),
            or None when not asked for.
    """

    tokens: Tensor
    confidence: Tensor
    distributions: Tensor | None = None


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
    """

    def __init__(
        self,
        body: VisionTransformer,
        decoder: Decoder,
        *,
        hidden_dim: int,
        vocabulary_size: int,
        feature_type: str,
        num_templates: int,
        ordered_words: bool = False,
        centre_hint: bool = False,
    ) -> None:
        super().__init__()
        rows = {
            "x": body.search_tokens,
            "xz": body.search_tokens + num_templates * body.template_tokens,
            "token": 1,
        }
        if feature_type not in rows:
            raise ValueError(f"feature_type {feature_type!r} is not one of {sorted(rows)}")
        self.feature_type = feature_type
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
        """Start the rows of the coordinates, said and heard, as smooth functions of them."""
        said, heard = self.vocab_embed.layers[-1], self.decoder.embedding.word_embeddings
        said.weight[:bins] = 0.05 * ordered_rows(bins, self.hidden_dim)
        heard.weight[:bins] = ordered_rows(bins, self.hidden_dim)

    def encode(
        self, templates: Tensor, search: Tensor, template_boxes: Tensor | None = None
    ) -> Tensor:
        """Features `(B, N, C)`; see `VisionTransformer.embed` for the arguments."""
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
        self, memory: Tensor, tokens: Tensor, template_boxes: Tensor | None = None
    ) -> Tensor:
        """Teacher-forced logits for a ready memory.

        Args:
            memory: `(B, M, D)`.
            tokens: `(B, L)` decoder input, START first.
            template_boxes: as in `VisionTransformer.embed`.

        Returns:
            `(B, L, bins + 2)` logits of the word after each input word.
        """
        keys_values = self.decoder.project_memory(memory, self.pos_embed)
        hidden, _ = self.decoder(tokens, keys_values, opening=self._opening(memory, template_boxes))
        return self.vocab_embed(hidden)

    def _opening(self, memory: Tensor, template_boxes: Tensor | None) -> Tensor | None:
        return opening(self.start_size, self.centre_hint, memory, template_boxes)

    def forward(
        self,
        templates: Tensor,
        search: Tensor,
        tokens: Tensor,
        template_boxes: Tensor | None = None,
    ) -> Tensor:
        """Teacher-forced logits.

        Args:
            templates: `(B, T, 3, S_z, S_z)` normalised images.
            search: `(B, 3, S_x, S_x)` normalised images.
            tokens: `(B, L)` decoder input, START first.
            template_boxes: as in `VisionTransformer.embed`.

        Returns:
            `(B, L, bins + 2)` logits of the word after each input word.
        """
        memory = self.memory(self.encode(templates, search, template_boxes))
        return self.logits(memory, tokens, template_boxes)

    def generate(
        self,
        templates: Tensor,
        search: Tensor,
        tokenizer: BoxTokenizer,
        window: Tensor | None = None,
        return_distributions: bool = False,
        template_boxes: Tensor | None = None,
    ) -> Generation:
        """Read the box out: four greedy tokens.

        Args:
            templates: `(B, T, 3, S_z, S_z)` normalised images.
            search: `(B, 3, S_x, S_x)` normalised images.
            tokenizer: knows START and the number of bins.
            window: factors `(4, bins)` from `tokenizer.window`, or None for no penalty.
            return_distributions: keep all values, not only those of the chosen tokens.
            template_boxes: as in `VisionTransformer.embed`.
        """
        memory = self.memory(self.encode(templates, search, template_boxes))
        return self.generate_from_memory(
            memory, tokenizer, window, return_distributions, template_boxes
        )

    def generate_from_memory(
        self,
        memory: Tensor,
        tokenizer: BoxTokenizer,
        window: Tensor | None = None,
        return_distributions: bool = False,
        template_boxes: Tensor | None = None,
    ) -> Generation:
        """As `generate`, for a ready memory `(B, M, D)`."""
        keys_values = self.decoder.project_memory(memory, self.pos_embed)
        word = torch.full((len(memory), 1), tokenizer.start, device=memory.device)
        opening = self._opening(memory, template_boxes)
        past = None
        tokens, confidence, distributions = [], [], []
        for i in range(4):
            hidden, past = self.decoder(word, keys_values, past, opening if i == 0 else None)
            logits = self.vocab_embed(hidden[:, -1])
            values = logits.float().softmax(dim=-1)[:, : tokenizer.bins]
            if window is not None:
                values = values.to(window) * window[i]
            best, word = values.max(dim=-1, keepdim=True)
            word = word.to(memory.device)
            tokens.append(word)
            confidence.append(best)
            if return_distributions:
                distributions.append(values)
        return Generation(
            tokens=torch.cat(tokens, dim=1),
            confidence=torch.cat(confidence, dim=1),
            distributions=torch.stack(distributions, dim=1) if return_distributions else None,
        )


def opening(
    start_size: nn.Linear | None,
    centre_hint: CentreHint | None,
    memory: Tensor,
    template_boxes: Tensor | None,
) -> Tensor | None:
    """What START says besides its own word, `(B, D)`, or None.

    Args:
        start_size: the network's layer of that name, or None.
        centre_hint: likewise.
        memory: `(B, M, D)`.
        template_boxes: `(B, T, 4)` as in `VisionTransformer.embed`; the first counts.
    """
    said = []
    if start_size is not None:
        if template_boxes is None:
            raise ValueError("this network needs template_boxes: MODEL.TEMPLATE_BOX is on")
        said.append(start_size(log_size(template_boxes[:, 0])))
    if centre_hint is not None:
        said.append(centre_hint(memory))
    return sum(said) if said else None


def build_tokenizer(cfg: Config) -> BoxTokenizer:
    """The vocabulary that a configuration describes."""
    return BoxTokenizer(bins=cfg.model.bins, seq_format=cfg.data.seq_format)


def build_seqtrack(cfg: Config, num_templates: int | None = None) -> SeqTrack:
    """The network that a configuration describes, initialised but without trained weights.

    Building never touches the disk or the network; load weights afterwards.

    Args:
        cfg: the configuration.
        num_templates: templates per sample where they matter for the parameters (feature type
            `xz`); by default DATA.TEMPLATE.NUMBER.
    """
    width, depth, heads, patch_size = cfg.model.encoder.geometry
    body = VisionTransformer(
        search_size=cfg.data.search.size,
        template_size=cfg.data.template.size,
        patch_size=patch_size,
        width=width,
        depth=depth,
        heads=heads,
        drop_path=cfg.model.encoder.drop_path,
        use_checkpoint=cfg.model.encoder.use_checkpoint,
        stem=cfg.model.encoder.stem,
        tied_query_key=cfg.model.encoder.tied_query_key,
        grid_positions=cfg.model.encoder.grid_positions,
        template_box=cfg.model.template_box,
        correlation=cfg.model.correlation,
    )
    tokenizer = build_tokenizer(cfg)
    decoder = Decoder(
        vocabulary_size=tokenizer.vocabulary_size,
        length=DECODER_LENGTH,
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
    )
