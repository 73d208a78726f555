"""A network as two ONNX graphs that need no PyTorch: one for a template, one for a step.

    template  pixels (S_z, S_z, 3) uint8, box (4,)  ->  tokens (L_z, C) [keys, covered]
    step      pixels (B, S_x, S_x, 3) uint8, templates (B, D, L_z, C), log_copies (B, D), ...
              ->  tokens (B, 4), confidence, boxes and distributions

They are what `lib.models.fast_encoder` and `lib.models.fast_decoder` compute: D different
templates per target, each of which counts as often as it is there. B and D are free.
"""

import math
from typing import Any

import torch
from timm.models.vision_transformer import Block

from lib.config.schema import Config
from lib.models.correlation import Correlation
from lib.models.export_decoder import say_words
from lib.models.onnx_graph import Graph, Value
from lib.models.seqtrack import SeqTrack, build_tokenizer
from lib.models.stem import STRIDE, ConvStem
from lib.models.vit import VisionTransformer, check_block

# Of the graphs: raise it when they change, so that older files are not used any more.
VERSION = 1


def template_model(network: SeqTrack, cfg: Config) -> Any:
    """What `Engine.template` computes, as an ONNX model.

    Raises:
        MissingExtraError: the package onnx is not installed.
        ConfigError: the network has a layer that cannot be exported.
    """
    body = network.encoder.body
    side = body.template_cells * STRIDE
    graph = Graph()
    pixels = graph.input("pixels", "uint8", [side, side, 3])
    box = graph.input("box", "float", [4])
    x = graph.normalise(pixels.unsqueeze(0), cfg.data.mean, cfg.data.std)
    keys = covered = None
    if body.correlation is None:
        tokens = _patches(graph, body, x)
    else:
        features = graph.sequential(x, body.patch_embed.layers)
        tokens = _stem_tokens(graph, body.patch_embed, features)
        keys = _match(graph, body.correlation, features).reshape(0, 0, -1)
        covered = graph.constant(float(body.correlation.cells))
        if body.template_box is not None:
            share = _covered_share(graph, box, body.template_cells)
            keys, covered = keys * share, share.sum(0, keep=False)
    tokens = tokens + body.pos_embed[:, body.search_tokens :]
    if body.template_box is not None:
        share = _covered_share(graph, box, body.template_box.cells).reshape(-1, 1)
        size = _log_size(graph, box.reshape(1, 4)) * torch.ones(body.template_tokens, 1)
        heard = graph.concat([share, size], axis=1)
        tokens = tokens + graph.linear(heard, body.template_box.proj)
    shape = [body.template_tokens, body.width]
    graph.output("tokens", tokens.reshape(*shape), "float", shape)
    if keys is not None and covered is not None:
        shape = [body.patch_embed.channels, body.correlation.cells]
        graph.output("keys", keys.reshape(*shape), "float", shape)
        graph.output("covered", covered, "float", [])
    return graph.model({"part": "template"})


def step_model(network: SeqTrack, cfg: Config) -> Any:
    """What `Engine.generate` computes for targets with D different templates each.

    Window penalty and decoding are those of the configuration.

    Raises:
        MissingExtraError: the package onnx is not installed.
        ConfigError: the network has a layer that cannot be exported.
    """
    body = network.encoder.body
    graph = Graph()
    side = cfg.data.search.size
    pixels = graph.input("pixels", "uint8", ["batch", side, side, 3])
    shape = ["batch", "distinct", body.template_tokens, body.width]
    templates = graph.input("templates", "float", shape)
    copies = graph.input("log_copies", "float", ["batch", "distinct"])
    images = graph.normalise(pixels, cfg.data.mean, cfg.data.std)
    search = _search_tokens(graph, body, images)
    tokens = graph.concat([search, templates.reshape(0, -1, body.width)], axis=1)
    search_only = network.feature_type == "x"
    features = _blocks(graph, body, tokens, _key_bias(graph, body, copies), search_only)
    memory = _memory(graph, network, features)
    begin = _opening(graph, network, memory)
    say_words(graph, network, build_tokenizer(cfg), cfg, memory, begin)
    return graph.model({"part": "step"})


def _patches(graph: Graph, body: VisionTransformer, images: Value) -> Value:
    """Tokens `(B, L, C)` of images, without positions."""
    if isinstance(body.patch_embed, ConvStem):
        features = graph.sequential(images, body.patch_embed.layers)
        return _stem_tokens(graph, body.patch_embed, features)
    cells = graph.convolution(images, body.patch_embed.proj)
    return cells.reshape(0, 0, -1).transpose(0, 2, 1)


def _stem_tokens(graph: Graph, stem: ConvStem, features: Value) -> Value:
    return graph.convolution(features, stem.proj).reshape(0, 0, -1).transpose(0, 2, 1)


def _search_tokens(graph: Graph, body: VisionTransformer, images: Value) -> Value:
    """As `FastEncoder.embed_search`; with correlation the graph gets two more inputs."""
    positions = body.pos_embed[:, : body.search_tokens]
    if body.correlation is None:
        return _patches(graph, body, images) + positions
    shape = ["batch", body.patch_embed.channels, body.correlation.cells]
    keys = graph.input("keys", "float", shape)
    covered = graph.input("covered", "float", ["batch"])
    features = graph.sequential(images, body.patch_embed.layers)
    side = 2 * math.isqrt(body.search_tokens)
    mixed = _correlation(graph, body.correlation, keys, covered, features, side)
    return _stem_tokens(graph, body.patch_embed, features) + mixed + positions


def _match(graph: Graph, layer: Correlation, features: Value) -> Value:
    """Vectors of length 1, `(B, F, H, W)`."""
    refined = features + graph.sequential(features, layer.refine)
    return graph.unit(graph.convolution(refined, layer.match), axis=1)


def _correlation(
    graph: Graph, layer: Correlation, keys: Value, covered: Value, search: Value, side: int
) -> Value:
    """As `Correlation.from_keys`, where search features have `side` cells along a side."""
    places = _match(graph, layer, search)
    flat = places.reshape(0, 0, -1)
    maps = (keys.transpose(0, 2, 1) @ flat * 8.0).reshape(0, 0, side, side)
    reach = layer.kernels.shape[-1] // 2
    stretched = graph.op("Conv", maps, layer.kernels, pads=[reach] * 4)
    stretched = stretched / covered.clip(1.0).reshape(-1, 1, 1, 1)
    whole = graph.unit(keys.mean(2, keep=True), axis=1).unsqueeze(3)
    mixed = graph.concat([maps, places * whole * 8.0, stretched], axis=1)
    return graph.sequential(mixed, layer.mix).reshape(0, 0, -1).transpose(0, 2, 1)


def _covered_share(graph: Graph, box: Value, cells: int) -> Value:
    """As `lib.models.template_box.covered_share` of one box, `(cells * cells,)`."""
    edges = torch.linspace(0, 1, cells + 1)
    low = box.slice(0, 0, 2).reshape(2, 1)
    high = low + box.slice(0, 2, 4).reshape(2, 1)
    overlap = graph.op("Min", high, edges[1:]) - graph.op("Max", low, edges[:-1])
    along = (overlap * float(cells)).clip(0.0, 1.0)
    x, y = along.slice(0, 0, 1), along.slice(0, 1, 2)
    return (y.reshape(-1, 1) * x).reshape(-1)


def _log_size(graph: Graph, box: Value) -> Value:
    """As `lib.models.template_box.log_size`, `(B, 4)` to `(B, 2)`."""
    return graph.op("Log", box.slice(1, 2, 4).clip(1e-2, 2.0))


def _key_bias(graph: Graph, body: VisionTransformer, copies: Value) -> Value:
    """As `FastEncoder.key_bias`, from logarithms `(B, D)`."""
    logs = (copies.unsqueeze(2) * torch.ones(body.template_tokens)).reshape(0, -1)
    padded = graph.op("Pad", logs, graph.whole([0, body.search_tokens, 0, 0]))
    return padded.unsqueeze(1, 2)


def _blocks(
    graph: Graph, body: VisionTransformer, x: Value, bias: Value, search_only: bool
) -> Value:
    """The encoder's blocks and its last norm; the last block computes what is read only."""
    last = len(body.blocks) - 1
    for i, block in enumerate(body.blocks):
        kept = body.search_tokens if search_only and i == last else None
        x = _block(graph, block, f"block{i}", x, bias, kept)
    return graph.layer_norm(x, body.norm)


def _block(
    graph: Graph, block: Block, name: str, x: Value, bias: Value, first: int | None
) -> Value:
    """One block, for the first tokens only where `first` says how many."""
    check_block(block)
    width, heads = block.attn.proj.weight.shape[0], block.attn.num_heads
    weight, shift = block.attn.qkv.weight, block.attn.qkv.bias
    y = graph.layer_norm(x, block.norm1)
    if first is None:
        q, k, v = graph.project(y, weight, shift, f"{name}.qkv").split(3)
    else:
        x, own = x.slice(1, 0, first), y.slice(1, 0, first)
        q = graph.project(own, weight[:width], shift[:width], f"{name}.q")
        k, v = graph.project(y, weight[width:], shift[width:], f"{name}.kv").split(2)
    q, v = (one.reshape(0, 0, heads, -1).transpose(0, 2, 1, 3) for one in (q, v))
    k = k.reshape(0, 0, heads, -1).transpose(0, 2, 3, 1)
    scores = (q * (width // heads) ** -0.5) @ k + bias
    attended = (scores.softmax() @ v).transpose(0, 2, 1, 3).reshape(0, 0, width)
    x = x + graph.linear(attended, block.attn.proj, f"{name}.proj")
    y = graph.linear(graph.layer_norm(x, block.norm2), block.mlp.fc1, f"{name}.fc1")
    return x + graph.linear(graph.op("Gelu", y), block.mlp.fc2, f"{name}.fc2")


def block_products(model: Any) -> list[str]:
    """Names of the matrix products with weights in the encoder's blocks."""
    names = (node.name for node in model.graph.node)
    return [name for name in names if name.startswith("block")]


def _memory(graph: Graph, network: SeqTrack, features: Value) -> Value:
    """As `SeqTrack.memory`; other feature types than x get the input `places (B, T)`."""
    body = network.encoder.body
    if network.feature_type != "x":
        places = graph.input("places", "int64", ["batch", "templates"])
        rows = body.search_tokens
        search, z = features.slice(1, 0, rows), features.slice(1, rows, 2**31 - 1)
        z = z.reshape(0, -1, body.template_tokens, body.width)
        # Every template at all its places.
        z = graph.op("GatherND", z, places.unsqueeze(2), batch_dims=1)
        features = graph.concat([search, z.reshape(0, -1, body.width)], axis=1)
        if network.feature_type == "token":
            features = features.mean(1, keep=True)
    wide = body.width != network.hidden_dim
    return graph.linear(features, network.bottleneck) if wide else features


def _opening(graph: Graph, network: SeqTrack, memory: Value) -> Value | None:
    """As `lib.models.seqtrack.opening`; with box hints the graph gets the input `first (B, 4)`."""
    said: Value | None = None
    if network.start_size is not None:
        first = graph.input("first", "float", ["batch", 4])
        said = graph.linear(_log_size(graph, first), network.start_size)
    if (hint := network.centre_hint) is not None:
        looked_at = memory.slice(1, 0, len(hint.grid))
        share = graph.linear(looked_at, hint.where).transpose(0, 2, 1).softmax()
        what = graph.linear((share @ looked_at).reshape(0, -1), hint.what)
        place = graph.linear((share @ hint.grid).reshape(0, -1), hint.place)
        said = what + place if said is None else said + (what + place)
    return said
