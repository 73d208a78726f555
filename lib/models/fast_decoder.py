"""The four steps of the decoder for tracking: the numbers of `lib.models.decoder`, less work.

Keys and values of the memory come from one matrix product for all layers; those of earlier
words are kept. What depends on the place of a word only is computed once per network: positions
go through the projections ahead of time (`W (x + p) = W x + W p`), and words are looked up in a
table that is normalised already. Everything in here has fixed shapes and waits for nobody, so
that a GPU can run it as one recorded graph.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.models.decoder import Attention, Decoder, DecoderLayer
from lib.models.seqtrack import Generation, SeqTrack
from lib.models.tokens import BoxTokenizer
from lib.models.vit import MLP

STEPS = 4


class FastLayer:
    """One decoder layer, one word at a time; words are `(B, D)`."""

    def __init__(self, layer: DecoderLayer, positions: Tensor) -> None:
        self.layer, self.heads = layer, layer.self_attn.heads
        own, cross = layer.self_attn, layer.multihead_attn
        dim = positions.shape[1]
        self.qkv = own.in_proj_weight.detach()
        # (L, 3 D): positions are added to what queries and keys are made of, not to values.
        placed = F.linear(positions, own.in_proj_weight[: 2 * dim])
        self.qkv_bias = F.pad(placed, (0, dim)) + own.in_proj_bias
        self.q = cross.in_proj_weight[:dim].detach()
        self.q_bias = F.linear(positions, self.q) + cross.in_proj_bias[:dim]

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, last: Attention) -> Tensor:
        """From `(B, h, 1, D / h)` to `(B, D)`."""
        attended = F.scaled_dot_product_attention(query, keys, values)
        return last.out_proj(attended.flatten(1))

    def _self_attention(self, x: Tensor, step: int, past: list[Tensor]) -> Tensor:
        y = torch.addmm(self.qkv_bias[step], x, self.qkv.T)
        q, k, v = y.view(len(x), 3, self.heads, 1, -1).unbind(1)
        if step == 0:
            # One key: all of the attention is on it.
            past[:] = [k, v]
            return self.layer.self_attn.out_proj(v.reshape(len(x), -1))
        past[:] = [torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)]
        return self._attend(q, past[0], past[1], self.layer.self_attn)

    def _cross_attention(self, x: Tensor, step: int, keys: Tensor, values: Tensor) -> Tensor:
        q = torch.addmm(self.q_bias[step], x, self.q.T).view(len(x), self.heads, 1, -1)
        return self._attend(q, keys, values, self.layer.multihead_attn)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.layer.linear2(F.relu(self.layer.linear1(x)))

    def __call__(
        self, x: Tensor, step: int, past: list[Tensor], keys: Tensor, values: Tensor
    ) -> Tensor:
        """Words `(B, D)` at place `step`; `past` grows by them."""
        layer = self.layer
        if layer.pre_norm:
            x = x + self._self_attention(layer.norm1(x), step, past)
            x = x + self._cross_attention(layer.norm2(x), step, keys, values)
            return x + self._feed_forward(layer.norm3(x))
        x = layer.norm1(x + self._self_attention(x, step, past))
        x = layer.norm2(x + self._cross_attention(x, step, keys, values))
        return layer.norm3(x + self._feed_forward(x))


class FastDecoder:
    """See the module.

    Args:
        network: in evaluation mode.
        tokenizer: knows START and the number of bins.
        window: factors `(4, bins)`, or None.
    """

    def __init__(self, network: SeqTrack, tokenizer: BoxTokenizer, window: Tensor | None) -> None:
        decoder: Decoder = network.decoder
        self.bins, self.start, self.window = tokenizer.bins, tokenizer.start, window
        self.head: MLP = network.vocab_embed
        self.norm, self.layers = decoder.body.norm, []
        self.words = decoder.embedding(torch.arange(tokenizer.vocabulary_size, device=_at(network)))
        positions = decoder.embedding.position_embeddings.weight.detach()
        self.layers = [FastLayer(layer, positions) for layer in decoder.body.layers]
        self.heads = decoder.body.layers[0].multihead_attn.heads
        self.keys_values, self.keys_values_bias = _memory_projection(decoder, network.pos_embed)

    def project(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `(B, h, M, D / h)` of a memory `(B, M, D)`, per layer."""
        y = F.linear(memory, self.keys_values) + self.keys_values_bias
        y = y.unflatten(-1, (2 * len(self.layers), self.heads, -1)).permute(2, 0, 3, 1, 4)
        return list(zip(y[0::2], y[1::2], strict=True))

    def __call__(
        self, memory: Tensor, opening: Tensor | None = None, keep_distributions: bool = False
    ) -> Generation:
        """Say four words.

        Args:
            memory: `(B, M, D)`.
            opening: `(B, D)` to add to START, or None.
            keep_distributions: keep all values, not only those of the chosen tokens.
        """
        said = self.begin(memory, opening)
        for _ in range(STEPS):
            said.step(keep_distributions)
        kept = torch.stack(said.distributions, dim=1) if keep_distributions else None
        return Generation(torch.stack(said.tokens, 1), torch.stack(said.confidence, 1), kept)

    def begin(self, memory: Tensor, opening: Tensor | None = None) -> "Sentence":
        """Look at the memory, and say nothing yet; arguments as those of the call."""
        x = self.words[self.start].expand(len(memory), -1)
        return Sentence(self, self.project(memory), x if opening is None else x + opening)


class Sentence:
    """Four words of B targets in the making.

    Args:
        decoder: whose they are.
        memory: from `FastDecoder.project`.
        x: `(B, D)` START.
    """

    def __init__(
        self, decoder: FastDecoder, memory: list[tuple[Tensor, Tensor]], x: Tensor
    ) -> None:
        self.decoder, self.memory, self.x = decoder, memory, x
        self.pasts: list[list[Tensor]] = [[] for _ in decoder.layers]
        self.tokens: list[Tensor] = []
        self.confidence: list[Tensor] = []
        self.distributions: list[Tensor] = []

    def step(self, keep_distributions: bool = False) -> None:
        """Say the next word: `(B,)` more tokens and confidences."""
        its, step, x = self.decoder, len(self.tokens), self.x
        for layer, past, (keys, values) in zip(its.layers, self.pasts, self.memory, strict=True):
            x = layer(x, step, past, keys, values)
        scores = its.head(its.norm(x)).float().softmax(dim=-1)[:, : its.bins]
        if its.window is not None:
            scores = scores.to(its.window) * its.window[step]
        best, word = scores.max(dim=-1)
        word = word.to(x.device)
        self.tokens.append(word)
        self.confidence.append(best)
        if keep_distributions:
            self.distributions.append(scores)
        if step + 1 < STEPS:
            self.x = F.embedding(word, its.words)


def _at(network: SeqTrack) -> torch.device:
    return network.pos_embed.device


def _memory_projection(decoder: Decoder, positions: Tensor) -> tuple[Tensor, Tensor]:
    """One matrix for keys and values of all layers, `(layers * 2 * D, D)`, and what is added.

    The latter is `(1, M, layers * 2 * D)`: biases, and the positions' share of the keys.
    """
    weights, biases = [], []
    for layer in decoder.body.layers:
        cross: Attention = layer.multihead_attn
        dim = cross.in_proj_weight.shape[1]
        weights.append(cross.in_proj_weight[dim:].detach())
        placed = F.linear(positions, cross.in_proj_weight[dim : 2 * dim])
        biases.append(F.pad(placed, (0, dim)) + cross.in_proj_bias[dim:])
    return torch.cat(weights), torch.cat(biases, dim=-1).detach()
