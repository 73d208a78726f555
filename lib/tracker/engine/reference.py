"""The method as published, written to be read: the yardstick of every measurement here.

One target at a time, in fp32. All templates go through the encoder in every frame, attention is
written out, every encoder block computes every token, and for each of the four tokens the decoder
runs over the whole sentence again and projects the memory again. The weights are those of the
network; only what small models add to SeqTrack (stem, correlation, box and centre hints) is
called from it. `--engine reference` uses this file, and the parity tests hold it to the numbers
that were recorded from the original. Source: SeqTrack (CVPR 2023), section 3.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.config.schema import Config
from lib.models.blocks import through
from lib.models.decoder import DecoderAttention, DecoderLayer
from lib.models.encoder import VisionTransformer
from lib.models.pixels import Normaliser, upload
from lib.models.seqtrack import SeqTrack, build_tokenizer
from lib.tracker.engine.api import Engine, EngineOutput, Template


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v by head, for q `(B, L, C)` and k, v `(B, N, C)`."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def encoder_block(block: nn.Module, x: Tensor) -> Tensor:
    """One pre-norm transformer block over `(B, N, C)`."""
    attn, mlp, heads = block.attn, block.mlp, block.attn.num_heads
    q, k, v = (
        part.unflatten(-1, (heads, -1)) for part in attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    )
    # Norms and scales do nothing in the published networks.
    q, k = through(attn.q_norm, q).flatten(2), through(attn.k_norm, k).flatten(2)
    x = x + through(block.ls1, attn.proj(attend(q, k, v.flatten(2), heads)))
    return x + through(block.ls2, mlp.fc2(mlp.act(mlp.fc1(block.norm2(x)))))


def decoder_attention(
    layer: DecoderAttention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Project `(B, L, D)` queries, keys and values and attend."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    inputs = (query, key, value)
    q, k, v = (F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
    return layer.out_proj(attend(q, k, v, layer.heads, mask))


def decoder_layer(layer: DecoderLayer, x: Tensor, where: Tensor, memory: Tensor, at: Tensor):
    """Self-attention, cross-attention and feed-forward over tokens `(B, L, D)` at `where`."""
    mask = torch.full((x.shape[1], x.shape[1]), float("-inf"), device=x.device).triu(1)

    def own(y: Tensor) -> Tensor:
        return decoder_attention(layer.self_attn, y + where, y + where, y, mask)

    def cross(y: Tensor) -> Tensor:
        return decoder_attention(layer.multihead_attn, y + where, memory + at, memory)

    def forward(y: Tensor) -> Tensor:
        return layer.linear2(F.relu(layer.linear1(y)))

    for norm, part in ((layer.norm1, own), (layer.norm2, cross), (layer.norm3, forward)):
        x = x + part(norm(x)) if layer.pre_norm else norm(x + part(x))
    return x


class ReferenceEngine(Engine):
    """See the module and `lib.tracker.engine.api.Engine`."""

    name = "reference"

    def __init__(self, network: SeqTrack, cfg: Config) -> None:
        self.network, self.keep_distributions = network, False
        self.device = network.pos_embed.device
        self.normalise = Normaliser(self.device, cfg.data.mean, cfg.data.std)
        self.tokenizer = build_tokenizer(cfg)
        self.window = self.tokenizer.window(self.device) if cfg.test.window else None
        self.expectation = cfg.test.decoding == "expectation"

    def templates(
        self, crops: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]
    ) -> list[Template]:
        """Nothing is computed yet; the normalised images and the boxes are kept."""
        made = []
        for crop, (x, y, w, h) in zip(crops, boxes, strict=True):
            kept = (
                self.normalise(upload(crop, self.device)),
                upload(np.array([x, y, w, h], np.float32), self.device),
            )
            made.append(Template(crop, (float(x), float(y), float(w), float(h)), kept))
        return made

    @torch.inference_mode()
    def generate(
        self,
        templates: Sequence[Sequence[Template]],
        search: Sequence[np.ndarray] | np.ndarray,
        history: np.ndarray | None = None,
    ) -> EngineOutput:
        """One target after the other."""
        past = [None] * len(templates) if history is None else history
        answers = [self.read_out(*given) for given in zip(templates, search, past, strict=True)]
        columns = [torch.cat(column).cpu() for column in zip(*answers, strict=True)]
        tokens, confidence, boxes, distributions = columns
        kept = distributions if self.keep_distributions else None
        return EngineOutput(tokens, confidence.double(), boxes.float(), kept)

    def encode(self, templates: Tensor, search: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Features `(B, N, C)` of `(B, T, 3, S_z, S_z)` and `(B, 3, S_x, S_x)`."""
        body, flat = self.network.encoder.body, None if boxes is None else boxes.flatten(0, 1)
        embedded = body.embed_templates(templates.flatten(0, 1), flat).unflatten(len(search))
        x = body.embed_search(search, embedded)
        if not isinstance(body, VisionTransformer) or body.causal:
            # Not the published encoder: its own module is all there is to compare with.
            return body(x, embedded.tokens)
        x = torch.cat([x, embedded.tokens.flatten(1, 2)], dim=1)
        for block in body.blocks:
            x = encoder_block(block, x)
        return body.norm(x)

    def remember(self, templates: Tensor, search: Tensor, boxes: Tensor | None = None) -> Tensor:
        """What the decoder attends to, `(B, M, D)`; arguments as those of `encode`."""
        return self.network.memory(self.encode(templates, search, boxes))

    def decode(self, tokens: Tensor, memory: Tensor, begin: Tensor | None) -> Tensor:
        """Logits `(B, bins + 2)` of the token that follows `tokens (B, L)`."""
        decoder = self.network.decoder
        x = decoder.embedding(tokens)
        if begin is not None:
            start = 4 * self.network.history
            x = x.clone()
            x[:, start] += begin
        where = decoder.embedding.position_embeddings.weight[: x.shape[1]]
        for layer in decoder.body.layers:
            x = decoder_layer(layer, x, where, memory, self.network.pos_embed)
        return self.network.vocab_embed(decoder.body.norm(x))[:, -1]

    def say(self, tokens: Tensor, step: int, memory: Tensor, begin: Tensor | None) -> Tensor:
        """Values `(B, bins)` of the coordinate after `tokens`, window applied."""
        values = self.decode(tokens, memory, begin).softmax(dim=-1)[:, : self.tokenizer.bins]
        return values if self.window is None else values.to(self.window) * self.window[step]

    def read_out(
        self, row: Sequence[Template], search: np.ndarray, past: np.ndarray | None
    ) -> tuple[Tensor, ...]:
        """Tokens, confidences, box and distributions of one target, `(1, 4)`, … each."""
        images, boxes = (torch.stack(x)[None] for x in zip(*(t.cached for t in row), strict=True))
        pixels = self.normalise(upload(search, self.device))
        memory = self.remember(images, pixels[None], boxes)
        begin = self.network.start_bias(memory, boxes)
        tokens = torch.tensor([[self.tokenizer.start]], device=self.device)
        if self.network.history:
            if past is None:
                past = np.full((self.network.history, 4), np.nan, np.float32)
            before = self.tokenizer.history(upload(past[None], self.device))
            tokens = torch.cat([before, tokens], dim=1)
        values = []
        for step in range(4):
            values.append(self.say(tokens, step, memory, begin))
            likeliest = values[-1].argmax(-1, keepdim=True)
            tokens = torch.cat([tokens, likeliest.to(tokens)], dim=1)
        distributions, tokens = torch.stack(values, dim=1), tokens[:, -4:]
        means = self.tokenizer.expected(distributions) if self.expectation else tokens
        return tokens, distributions.amax(-1), self.tokenizer.decode(means), distributions
