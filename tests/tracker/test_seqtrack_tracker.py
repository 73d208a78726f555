"""lib/tracker: the batch step, the update rule, and state that never leaks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.models.seqtrack import build_seqtrack
from lib.tracker.seqtrack import SeqTrackTracker, start_target, track_step
from lib.tracker.settings import TrackerSettings
from lib.tracker.templates import replace_oldest, take_templates, update_due
from lib.utils.errors import ConfigError, DataError
from tests.helpers.tiny import draw_sequence, tiny_config


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    net = build_seqtrack(tiny_config()).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def tracker_for(network, interval=2, threshold=0.0, count=2):
    updates = {
        "UPDATE_INTERVALS": {"DEFAULT": interval},
        "UPDATE_THRESHOLD": {"DEFAULT": threshold},
    }
    return SeqTrackTracker(network, tiny_config(TEST={"NUM_TEMPLATES": count, **updates}))


def boxes_of(tracker, frames, box):
    tracker.initialize(frames[0], {"init_bbox": box})
    return [tracker.track(frame)["target_bbox"] for frame in frames[1:]]


def test_many_targets_in_one_step_equal_one_at_a_time(network):
    """Three sequences of different image sizes, different ages and templates, in one batch."""
    videos = [draw_sequence(6, width=90 + 20 * k, height=80 + 5 * k, seed=k) for k in range(3)]
    tracker = tracker_for(network)
    alone = [boxes_of(tracker, frames, boxes[0]) for frames, boxes in videos]
    states = [
        start_target(frames[0], boxes[0], tracker.settings, tracker.engine)
        for frames, boxes in videos
    ]
    for i in range(1, 6):
        predictions = track_step(
            tracker.engine, tracker.settings, states, [frames[i] for frames, _ in videos]
        )
        states = [p.state for p in predictions]
        for k in range(3):
            np.testing.assert_allclose(states[k].box, alone[k][i - 1], atol=1e-3)
            assert states[k].frame == i


def test_an_answer_says_how_certain_it_is(network):
    frames, boxes = draw_sequence(3)
    tracker = tracker_for(network)
    assert tracker.initialize(frames[0], {"init_bbox": boxes[0]})["certainty"] == 1
    answer = tracker.track(frames[1])
    assert 0 < answer["certainty"] < 1
    assert answer["certainty"] == pytest.approx(answer["confidence"] / 40)
    assert answer["confidence"] == pytest.approx(10 * sum(answer["token_confidence"]))


def test_a_step_leaves_its_input_states_alone(network):
    frames, boxes = draw_sequence(3)
    tracker = tracker_for(network, interval=1)
    state = start_target(frames[0], boxes[0], tracker.settings, tracker.engine)
    first = state.templates[0]
    pixels = first.crop.copy()
    (prediction,) = track_step(tracker.engine, tracker.settings, [state], [frames[1]])
    assert prediction.updated and state.frame == 0 and state.box == tuple(boxes[0])
    assert state.templates == (first, first) and np.array_equal(first.crop, pixels)
    assert prediction.state.templates[0] is first
    assert not prediction.state.templates[1].looks_like(first)


def test_an_update_that_shows_nothing_new_costs_nothing(network):
    """Engines compute equal templates once, and know them by identity."""
    frames, boxes = draw_sequence(2)
    tracker = tracker_for(network, count=3)
    state = start_target(frames[0], boxes[0], tracker.settings, tracker.engine)
    (once,) = take_templates([state], frames[:1], tracker.settings, tracker.engine)
    assert once.templates == state.templates[:1] * 3
    moved = replace(state, box=(30.0, 30.0, 18.0, 14.0))
    (twice,) = take_templates([moved], frames[:1], tracker.settings, tracker.engine)
    assert twice.templates[0] is twice.templates[1] is not twice.templates[2]


def test_initialize_forgets_the_target_before(network):
    first, second = draw_sequence(5, seed=1), draw_sequence(5, seed=2)
    tracker = tracker_for(network, interval=1)
    fresh = boxes_of(tracker, second[0], second[1][0])
    boxes_of(tracker, first[0], first[1][0])
    assert boxes_of(tracker, second[0], second[1][0]) == fresh


@pytest.mark.gpu
def test_a_gpu_gives_the_same_tokens():
    torch.manual_seed(5)
    videos, said = draw_sequence(6), []
    cfg = tiny_config()
    network = build_seqtrack(cfg)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for device in ("cpu", "cuda"):
        tracker = SeqTrackTracker(network.to(device), cfg)
        tracker.initialize(videos[0][0], {"init_bbox": videos[1][0]})
        said.append([tracker.track(frame)["best_tokens"] for frame in videos[0][1:]])
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("frame", "score", "count", "expected"),
    [
        (4, 1.0, 2, True),
        (3, 1.0, 2, False),  # not a multiple of the interval
        (4, 0.6, 2, False),  # the threshold itself is not enough
        (4, 1.0, 1, False),  # one template is never replaced
    ],
)
def test_update_rule(frame, score, count, expected):
    assert update_due(frame, score, count, interval=4, threshold=0.6) is expected


def test_the_first_template_is_permanent_the_others_a_queue():
    once = replace_oldest((0, 1, 2), 7)
    assert once == (0, 2, 7)
    assert replace_oldest(once, 8) == (0, 7, 8)


@pytest.mark.parametrize(
    "box", [(5, 5, 0, 9), (5, 5, float("nan"), 9), (5, 5, -2, 9), (900, 5, 9, 9)]
)
def test_impossible_first_boxes_are_refused(network, box):
    frames, _ = draw_sequence(1)
    with pytest.raises(DataError, match="cannot"):
        tracker_for(network).initialize(frames[0], {"init_bbox": box})


def test_track_before_initialize_says_so(network):
    with pytest.raises(RuntimeError, match="initialize"):
        tracker_for(network).track(np.zeros((10, 10, 3), np.uint8))


def test_sizes_that_the_network_was_not_built_for_are_refused():
    cfg = tiny_config(TEST={"SEARCH_SIZE": 128})
    with pytest.raises(ConfigError, match=r"TEST.SEARCH_SIZE is 128 .* DATA.SEARCH.SIZE 64"):
        TrackerSettings.from_config(cfg)


def test_a_template_count_that_xz_was_not_built_for_is_refused():
    cfg = tiny_config(MODEL={"FEATURE_TYPE": "xz"}, TEST={"NUM_TEMPLATES": 3})
    with pytest.raises(ConfigError, match=r"DATA.TEMPLATE.NUMBER 2, but TEST.NUM_TEMPLATES is 3"):
        TrackerSettings.from_config(cfg)
