"""Encoder, teacher-forced logits and generated tokens equal the reference's."""

import numpy as np
import pytest
import torch

from lib.models.encoder import TemplateFeatures
from lib.models.tokens import BoxTokenizer
from lib.tracker.engine.api import Template, UniqueTemplates
from lib.tracker.engine.build import build_engine

from .conftest import config_named, filled_network, kit_files, name_parts, recipe


@pytest.mark.parametrize("file", kit_files("model_*.npz"))
@torch.inference_mode()
def test_model(file):
    case, parts = recipe.load_case(str(file)), name_parts(file)
    num_template, bins = int(case["num_template"]), int(case["bins"])
    assert (int(case["seed"]), parts.get("t", num_template)) == (parts["seed"], num_template)
    network = filled_network(parts["config"], parts["seed"], parts["feature_type"], num_template)
    templates, search = recipe.model_inputs(
        config_named(parts["config"]).data.search.size,
        parts["seed"],
        int(case["batch"]),
        num_template,
    )
    templates = torch.from_numpy(np.stack(templates, axis=1))
    features = network.encoder(templates, torch.from_numpy(search))
    check_encoder(features, case)

    memory = network.memory(features)
    tokens = torch.from_numpy(case["tf_tokens"])
    hidden, _ = network.decoder.step(tokens, network.decoder.start(memory, network.pos_embed))
    check_logits(network.vocab_embed(hidden), case)

    tags = [key.removeprefix("tok_") for key in case if key.startswith("tok_")]
    assert {"plain", "hann"} <= set(tags)
    for tag in tags:
        seq_format, _, window = f"xywh_{tag}".rpartition("_")
        tokenizer = BoxTokenizer(bins, seq_format.removeprefix("xywh_"))
        said = network.generate_from_memory(
            memory, tokenizer, tokenizer.window() if window == "hann" else None
        )
        np.testing.assert_array_equal(said.tokens, case[f"tok_{tag}"], err_msg=tag)
        np.testing.assert_allclose(said.confidence, case[f"conf_{tag}"], rtol=1e-3, err_msg=tag)
        # The distributions are what the tokens were chosen from.
        assert torch.equal(said.distributions.argmax(-1), said.tokens)
        assert torch.equal(said.distributions.amax(-1), said.confidence)


@pytest.mark.parametrize("file", kit_files("model_small*.npz"))
@torch.inference_mode()
def test_engines(file):
    """The engines that tracking uses, and the yardstick, fed the recorded inputs."""
    case, parts = recipe.load_case(str(file)), name_parts(file)
    count, batch = int(case["num_template"]), int(case["batch"])
    network = filled_network(parts["config"], parts["seed"], parts["feature_type"], count)
    side = config_named(parts["config"]).data.search.size
    templates, search = recipe.model_inputs(side, parts["seed"], batch, count)
    templates, search = torch.from_numpy(np.stack(templates, axis=1)), torch.from_numpy(search)
    for tag in (key.removeprefix("tok_") for key in case if key.startswith("tok_")):
        seq_format, _, window = f"xywh_{tag}".rpartition("_")
        cfg = config_named(
            parts["config"],
            parts["feature_type"],
            count,
            seq_format.removeprefix("xywh_"),
            WINDOW=window == "hann",
        )
        fast = build_engine("torch", network, cfg)
        images = [template_of(fast, image) for image in templates.flatten(0, 1)]
        rows = [images[i * count : (i + 1) * count] for i in range(batch)]
        inputs = fast.inputs([UniqueTemplates.of(row) for row in rows])
        reading, memory = fast.network.reading, fast.network.remember(search, *inputs)
        said = fast.network.generate_from_memory(memory, reading.tokenizer, reading.window)
        slow = build_engine("reference", network, cfg)
        values = words_of(slow, slow.remember(templates, search))
        for tokens, confidence in ((said.tokens, said.confidence), values):
            np.testing.assert_array_equal(tokens, case[f"tok_{tag}"], err_msg=tag)
            np.testing.assert_allclose(confidence, case[f"conf_{tag}"], rtol=1e-3, err_msg=tag)
    check_encoder(slow.encode(templates, search), case)


def template_of(engine, image):
    """A template from an image that is normalised already."""
    embedded = engine.network.encoder.body.embed_templates(image[None])
    cached = TemplateFeatures(*(None if part is None else part[0] for part in embedded))
    return Template(np.zeros((1, 1, 3), np.uint8), (0.0, 0.0, 1.0, 1.0), cached)


def words_of(engine, memory):
    """Tokens and confidences `(B, 4)` that the reference says of a ready memory."""
    words, best = torch.full((len(memory), 1), engine.tokenizer.start), []
    for step in range(4):
        value, word = engine.say(words, step, memory, None).max(-1, keepdim=True)
        words = torch.cat([words, word], dim=1)
        best.append(value)
    return words[:, 1:], torch.cat(best, dim=1)


def check_encoder(features, case):
    values = features.numpy()
    assert values.shape == tuple(case["enc_shape"])
    close = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(values[:, case["enc_index"], :32], case["enc_slice"], **close)
    np.testing.assert_allclose(np.linalg.norm(values, axis=2), case["enc_token_norm"], **close)
    wide = values.astype(np.float64).reshape(len(values), -1)
    stats = np.stack([wide.mean(1), wide.std(1, ddof=1), np.linalg.norm(wide, axis=1)], axis=1)
    np.testing.assert_allclose(stats, case["enc_stats"], **close)
    if "enc_full" in case:
        np.testing.assert_allclose(values, case["enc_full"], **close)


def check_logits(logits, case):
    assert (1, *logits.shape) == tuple(case["dec_shape"])
    step = 1 if case["tf_logits"].shape[-1] == logits.shape[-1] else 16
    close = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(logits[..., ::step], case["tf_logits"], **close)
    np.testing.assert_allclose(logits.double().norm(dim=-1), case["tf_norm"], **close)
    np.testing.assert_allclose(logits.double().logsumexp(-1), case["tf_logsumexp"], **close)
    np.testing.assert_array_equal(logits.argmax(-1), case["tf_argmax"])
