"""The four words of the decoder as part of an ONNX graph; see `lib.models.fast_decoder`."""

import torch

from lib.config.schema import Config
from lib.models.decoder import Attention
from lib.models.fast_decoder import STEPS, FastDecoder, FastLayer
from lib.models.onnx_graph import Graph, Value
from lib.models.seqtrack import SeqTrack
from lib.models.tokens import BoxTokenizer


def say_words(
    graph: Graph,
    network: SeqTrack,
    tokenizer: BoxTokenizer,
    cfg: Config,
    memory: Value,
    begin: Value | None,
) -> None:
    """Add the decoder and the graph's outputs.

    Args:
        graph: to add to.
        network: whose decoder it is.
        tokenizer: knows START and the number of bins.
        cfg: TEST.WINDOW and TEST.DECODING count.
        memory: `(B, M, D)`.
        begin: `(B, D)` to add to START, or None.
    """
    window = tokenizer.window() if cfg.test.window else None
    decoder = FastDecoder(network, tokenizer, window)
    memories = _project(graph, decoder, memory)
    x = _start(graph, decoder, memory)
    x = x if begin is None else x + begin
    pasts: list[list[Value]] = [[] for _ in decoder.layers]
    words, distributions = [], []
    for step in range(STEPS):
        for layer, past, (keys, values) in zip(decoder.layers, pasts, memories, strict=True):
            x = _layer(graph, layer, x, step, past, keys, values)
        x = graph.layer_norm(x, decoder.norm)
        for linear in decoder.head.layers[:-1]:
            x = graph.linear(x, linear).relu()
        scores = graph.linear(x, decoder.head.layers[-1]).softmax().slice(1, 0, decoder.bins)
        if window is not None:
            scores = scores.cast("double") * window[step]
        distributions.append(scores.unsqueeze(1))
        words.append(graph.op("ArgMax", scores, axis=1, keepdims=1))
        x = graph.op("Gather", graph.constant(decoder.words), words[-1].reshape(-1), axis=0)
    _outputs(graph, tokenizer, cfg, words, distributions)


def _start(graph: Graph, decoder: FastDecoder, memory: Value) -> Value:
    """START for every target, `(B, D)`."""
    batch = graph.op("Shape", memory, start=0, end=1)
    shape = graph.concat([batch, graph.whole([decoder.words.shape[1]])], axis=0)
    return graph.op("Expand", decoder.words[decoder.start], shape)


def _project(graph: Graph, decoder: FastDecoder, memory: Value) -> list[tuple[Value, Value]]:
    """Keys `(B, h, D / h, M)` and values `(B, h, M, D / h)` of a memory, per layer."""
    y = graph.project(memory, decoder.keys_values, decoder.keys_values_bias)
    parts = [part.reshape(0, 0, decoder.heads, -1) for part in y.split(2 * len(decoder.layers))]
    keys = [part.transpose(0, 2, 3, 1) for part in parts[0::2]]
    values = [part.transpose(0, 2, 1, 3) for part in parts[1::2]]
    return list(zip(keys, values, strict=True))


def _attend(
    graph: Graph, query: Value, keys: Value, values: Value, last: Attention, heads: int
) -> Value:
    """From `(B, D)` queries to `(B, D)`; keys are `(B, h, D / h, N)`."""
    width = last.out_proj.weight.shape[0]
    q = query.reshape(0, heads, 1, width // heads) * (width // heads) ** -0.5
    return graph.linear(((q @ keys).softmax() @ values).reshape(0, width), last.out_proj)


def _self_attention(
    graph: Graph, layer: FastLayer, x: Value, step: int, past: list[Value]
) -> Value:
    own = layer.layer.self_attn
    q, k, v = graph.project(x, layer.qkv, layer.qkv_bias[step]).split(3)
    if step == 0:
        # One key: all of the attention is on it.
        past[:] = [k.reshape(0, layer.heads, -1, 1), v.reshape(0, layer.heads, 1, -1)]
        return graph.linear(v, own.out_proj)
    new = (k.reshape(0, layer.heads, -1, 1), v.reshape(0, layer.heads, 1, -1))
    past[:] = [
        graph.concat([old, one], axis) for old, one, axis in zip(past, new, (3, 2), strict=True)
    ]
    return _attend(graph, q, past[0], past[1], own, layer.heads)


def _layer(
    graph: Graph,
    layer: FastLayer,
    x: Value,
    step: int,
    past: list[Value],
    keys: Value,
    values: Value,
) -> Value:
    """As `lib.models.fast_decoder.FastLayer`."""
    its = layer.layer

    def cross(y: Value) -> Value:
        query = graph.project(y, layer.q, layer.q_bias[step])
        return _attend(graph, query, keys, values, its.multihead_attn, layer.heads)

    def forward(y: Value) -> Value:
        return graph.linear(graph.linear(y, its.linear1).relu(), its.linear2)

    def own(y: Value) -> Value:
        return _self_attention(graph, layer, y, step, past)

    for norm, part in ((its.norm1, own), (its.norm2, cross), (its.norm3, forward)):
        if its.pre_norm:
            x = x + part(graph.layer_norm(x, norm))
        else:
            x = graph.layer_norm(x + part(x), norm)
    return x


def _outputs(
    graph: Graph,
    tokenizer: BoxTokenizer,
    cfg: Config,
    words: list[Value],
    distributions: list[Value],
) -> None:
    kind = "double" if cfg.test.window else "float"
    tokens, scores = graph.concat(words, axis=1), graph.concat(distributions, axis=1)
    best = graph.op("ReduceMax", scores, graph.whole([2]), keepdims=0)
    if cfg.test.decoding == "expectation":
        said = _expected(graph, tokenizer, tokens, scores.cast("float"))
    else:
        said = tokens.cast("float")
    graph.output("tokens", tokens, "int64", ["batch", 4])
    graph.output("confidence", best.cast("double"), "double", ["batch", 4])
    graph.output("boxes", _boxes(graph, tokenizer, said), "float", ["batch", 4])
    graph.output("distributions", scores, kind, ["batch", 4, tokenizer.bins])


def _expected(graph: Graph, tokenizer: BoxTokenizer, tokens: Value, scores: Value) -> Value:
    """As `BoxTokenizer.expected`."""
    bins = torch.arange(tokenizer.bins, dtype=torch.float32)
    away = graph.op("Abs", graph.constant(bins) - tokens.cast("float").unsqueeze(2))
    near = graph.op("LessOrEqual", away, float(tokenizer.bins // 4)).cast("float")
    weights = scores * near
    return (weights * bins).sum(2, keep=False) / weights.sum(2, keep=False).clip(1e-12)


def _boxes(graph: Graph, tokenizer: BoxTokenizer, tokens: Value) -> Value:
    """As `BoxTokenizer.decode`."""
    low, high = tokens.slice(1, 0, 2), tokens.slice(1, 2, 4)
    if tokenizer.seq_format == "corner":
        tokens = graph.concat([(low + high) / 2.0, high - low], axis=1)
    elif tokenizer.seq_format == "whxy":
        tokens = graph.concat([high, low], axis=1)
    return tokens / float(tokenizer.bins - 1)
