"""MODEL.HISTORY while tracking: the state, and that all engines read the same boxes before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.models.seqtrack import build_seqtrack
from lib.tracker.engine.build import build_engine
from lib.tracker.engine.torch import TorchEngine
from lib.tracker.evidence import Recent
from lib.tracker.lost import Presence, sure_of
from lib.tracker.seqtrack import SeqTrackTracker, advance
from lib.utils.crop import crop_square
from tests.helpers.rehearsal import Pretended, crops_of
from tests.helpers.tiny import draw_sequence, tiny_config

HISTORY = {"HISTORY": 3}


def made(seed=1, **model):
    torch.manual_seed(seed)
    cfg = tiny_config(MODEL={**HISTORY, **model})
    network = build_seqtrack(cfg).eval().requires_grad_(False)
    # Untrained positions and words are small beside the rest: let the past be heard.
    network.decoder.embedding.position_embeddings.weight *= 5
    return network, cfg


def follow(tracker, frames, box):
    tracker.initialize(frames[0], {"init_bbox": list(box)})
    return [tracker.track(frame) for frame in frames[1:]]


def test_the_state_holds_the_last_boxes():
    network, cfg = made()
    tracker = SeqTrackTracker(network, cfg)
    frames, boxes = draw_sequence(6)
    tracker.initialize(frames[0], {"init_bbox": boxes[0].tolist()})
    known = [tuple(boxes[0])]
    assert tracker.state.history == tuple(known)
    for frame in frames[1:]:
        known.append(tuple(tracker.track(frame)["target_bbox"]))
        assert tracker.state.history == tuple(known[-3:])


def test_a_network_without_history_keeps_none():
    torch.manual_seed(0)
    cfg = tiny_config()
    tracker = SeqTrackTracker(build_seqtrack(cfg).eval(), cfg)
    frames, boxes = draw_sequence(3)
    follow(tracker, frames, boxes[0])
    assert tracker.state.history == ()


def test_a_lost_target_has_no_past(monkeypatch):
    network, cfg = made()
    tracker = SeqTrackTracker(network, cfg)
    frames, boxes = draw_sequence(3)
    state, _ = tracker.start(frames[0], boxes[0])
    state = replace(state, presence=sure_of(state.box))
    lost = replace(state.presence, state="lost")
    monkeypatch.setattr("lib.tracker.seqtrack._sight", lambda *_: SIGHT)
    monkeypatch.setattr("lib.tracker.seqtrack.judge", lambda now, rule, look: lost)
    settings = replace(tracker.settings, lost=cfg.test.lost)
    crop = crop_square(frames[1], state.box, settings.search_factor, settings.search_size)
    said = tracker.engine.generate([state.templates], [crop.pixels])
    one = advance(state, frames[1], crop, said, 0, settings, witness=object())
    assert isinstance(one.state.presence, Presence)
    assert one.state.history == ()


class SIGHT:
    certainty = momentary = 0.0
    recent = Recent()


def test_engines_and_batches_say_the_same():
    network, cfg = made(TEMPLATE_BOX=True, CENTRE_HINT=True)
    engines = [build_engine(name, network, cfg) for name in ("torch", "reference")]
    # Targets at different ages: their histories are of different lengths.
    videos = [draw_sequence(7, seed=seed) for seed in range(3)]
    alone = [
        [one["best_tokens"] for one in follow(SeqTrackTracker(engine, cfg), frames, boxes[0])]
        for engine in engines
        for frames, boxes in videos
    ]
    assert alone[:3] == alone[3:]
    tracker = SeqTrackTracker(engines[0], cfg)
    states, tokens = {}, {i: [] for i in range(3)}
    for frame in range(6):
        # Target i begins i frames later.
        if frame < 3:
            frames, boxes = videos[frame]
            states[frame], _ = tracker.start(frames[0], boxes[0])
        images = [videos[i][0][frame - i + 1] for i in states]
        for i, (state, answer) in zip(
            list(states), tracker.step(list(states.values()), images), strict=True
        ):
            states[i] = state
            tokens[i].append(answer["best_tokens"])
    for i in range(3):
        assert tokens[i] == alone[i][: len(tokens[i])]


def test_recorded_steps_get_the_boxes_of_each_frame():
    """As on CUDA, with a recorder of the CPU in the place of the graph."""
    network, cfg = made()

    def record(function, inputs):
        return lambda: function(*inputs)

    frames, boxes = draw_sequence(6)
    plain, recorded = (
        follow(SeqTrackTracker(engine, cfg), frames, boxes[0])
        for engine in (TorchEngine(network, cfg), TorchEngine(network, cfg, record=record))
    )
    assert [one["best_tokens"] for one in plain] == [one["best_tokens"] for one in recorded]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rehearsal_on_cuda(precision):
    cfg = tiny_config(MODEL=HISTORY, TEST={"NUM_TEMPLATES": 2})
    engine = Pretended(cfg, precision)
    boxes = [(0.25, 0.25, 0.5, 0.5)] * 3
    made_templates = engine.templates(crops_of(3, cfg.test.template_size), boxes)
    for count in (1, 3):
        rows = [[one] * 2 for one in made_templates[:count]]
        history = np.full((count, 3, 4), 0.25, np.float32)
        engine.generate(rows, crops_of(count, cfg.test.search_size), history)
    assert engine.recorder.recorded == [1, 3]


@pytest.mark.slow
def test_exported_network_says_the_same(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from lib.tracker.engine.onnx import build_onnx_engine

    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path))
    small = {"ENCODER": {"DEPTH": 1}, "DECODER": {"DEC_LAYERS": 1}}
    network, cfg = made(**small)
    frames, boxes = draw_sequence(6)
    tokens = [
        [one["best_tokens"] for one in follow(SeqTrackTracker(engine, cfg), frames, boxes[0])]
        for engine in (build_engine("torch", network, cfg), build_onnx_engine(network, cfg))
    ]
    assert tokens[0] == tokens[1]
