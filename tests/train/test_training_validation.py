"""Validation while training: right numbers, and nothing is left behind."""

import dataclasses
import random

import numpy as np
import pytest
import torch

from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import score_dataset
from lib.config.paths import resolve_paths
from lib.config.schema import Config
from lib.datasets.benchmarks.open import open_dataset
from lib.evaluation.sequence import run_sequence
from lib.models.pixels import normalise
from lib.tracker.seqtrack import SeqTrackTracker
from lib.train.closed_loop import ClosedLoop, build_closed_loop
from lib.train.data.loader import Batch, collate
from lib.train.data.sampler import VALIDATION_EPOCH
from lib.train.ema import Ema
from lib.train.logging.log import QuietLog
from lib.train.logging.samples import draw_samples
from lib.train.loop import fit
from lib.train.model import Prediction
from lib.train.validation import Validator, untouched_generators
from lib.utils.distributed import World
from lib.utils.errors import ConfigError, DataError, ResultsError
from tests.helpers.tiny import write_got10k_folder
from tests.helpers.training_runs import make_config, make_run, one_thread
from tests.helpers.training_setup import make_objective, training_config

SAMPLES = 5  # two batches of 2 and one of 1


class Pictures(QuietLog):
    """Keeps pictures and warnings."""

    def __init__(self):
        self.warned, self.kept = [], []
        super().__init__(lambda text, error: self.warned.append(text))

    def picture(self, name, picture, epoch):
        self.kept.append((name, picture, epoch))


def config(**val):
    cfg = make_config()
    content = cfg.model_dump(by_alias=True)
    content["DATA"]["VAL"] |= {"SAMPLE_PER_EPOCH": SAMPLES, **val}
    return Config.model_validate(content).named("tiny")


def validator(run, **changes):
    facts = {
        "cfg": run.cfg,
        "state": run.state,
        "world": run.world,
        "log": Pictures(),
        "samples": run.sampler,
        "pictured": run.sampler,
        "closed_loop": None,
    }
    return Validator(**{**facts, **changes})


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, config())


def mean_losses(run):
    """The same numbers in the plainest way: one sample at a time."""
    run.state.model.eval()
    rows = []
    for number in range(SAMPLES):
        batch = collate([run.sampler.sample(VALIDATION_EPOCH, number)])
        with torch.no_grad():
            terms = run.state.model(batch, 1.0)
        rows.append({name: float(value) for name, value in terms.items()})
    run.state.model.train()
    return {name: np.mean([row[name] for row in rows]) for name in rows[0]}


def test_losses_are_means_over_all_samples(run):
    assert validator(run)(1) == pytest.approx(mean_losses(run), rel=1e-5)


def test_processes_share_the_samples(run, one_process, monkeypatch):
    """Two processes with different numbers of batches: what they send adds up to the whole."""
    sent = []
    monkeypatch.setattr(World, "gather", lambda self, value: sent.append(value) or [])
    monkeypatch.setattr(World, "barrier", lambda self: None)
    for rank in (0, 1):
        assert validator(run, world=World(rank, 2))(1) == {}
    assert [part["samples"] for part in sent] == [3.0, 2.0]
    monkeypatch.setattr(World, "gather", lambda self, value: sent)
    assert validator(run)(1) == pytest.approx(mean_losses(run), rel=1e-5)
    monkeypatch.setattr(World, "gather", lambda self, value: [sent[0], None])
    assert validator(run)(1) == {}  # the other one has failed


def test_averaged_weights_are_validated(run):
    plain = mean_losses(run)
    ema = Ema(run.state.model.network, 0.9)
    with torch.no_grad():
        for parameter in run.state.model.network.parameters():
            parameter.add_(0.05)
    before = {k: v.clone() for k, v in run.state.model.state_dict().items()}
    assert mean_losses(run) != pytest.approx(plain, rel=1e-5)
    averaged = dataclasses.replace(run.state, ema=ema)
    assert validator(run, state=averaged)(1) == pytest.approx(plain, rel=1e-5)
    after = run.state.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_running_statistics_are_those_of_the_main_process(tmp_path, monkeypatch):
    """They are part of what is published; every process has its own while it trains."""
    content = config().model_dump(by_alias=True)
    content["MODEL"]["ENCODER"]["STEM"] = "conv"
    runs = [make_run(tmp_path / name, Config.model_validate(content)) for name in "ab"]
    for value, one in enumerate(runs):
        for buffer in one.state.model.buffers():
            buffer.add_(value)
    main, other = ([b.clone() for b in one.state.model.buffers()] for one in runs)

    def from_main(world, tensors):
        for mine, theirs in zip(tensors, main, strict=True):
            mine.copy_(theirs)

    monkeypatch.setattr(World, "broadcast", from_main)
    monkeypatch.setattr(World, "gather", lambda self, value: [value])
    monkeypatch.setattr(World, "barrier", lambda self: None)
    values = [validator(one, world=World(1, 2))(1) for one in runs]
    assert len(main) == 11 and values[1] == pytest.approx(values[0], rel=1e-6)
    for buffer, before in zip(runs[1].state.model.buffers(), other, strict=True):
        assert torch.equal(buffer, before)


def test_a_training_that_validates_gives_the_same_weights(tmp_path):
    results = []
    for name, validates in (("plain", False), ("validating", True)):
        run = make_run(tmp_path / name, make_config(VAL_EPOCH_INTERVAL=1))
        if validates:
            run.validate = validator(run, closed_loop=lambda network, warn: {"AUC": 0.5})
        with one_thread():
            fit(run)
        results.append(run)
    states = [run.state.model.state_dict() for run in results]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert [epoch for epoch, _ in results[1].log.validated] == [1, 2]
    assert results[1].log.validated[0][1]["AUC"] == 0.5


def test_modes_of_all_modules_come_back(run):
    run.state.model.train()
    run.state.model.network.encoder.eval()
    modes = [module.training for module in run.state.model.modules()]
    seen = []
    validator(run, closed_loop=lambda network, warn: seen.append(network.training) or {})(1)
    assert seen == [False]
    assert [module.training for module in run.state.model.modules()] == modes


def test_generators_come_back_even_after_an_error():
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = (torch.rand(1).item(), random.random(), np.random.random())
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    with pytest.raises(KeyError), untouched_generators(torch.device("cpu")):
        torch.rand(3), random.random(), np.random.random()
        raise KeyError
    assert (torch.rand(1).item(), random.random(), np.random.random()) == expected


def test_all_processes_track_and_the_main_one_draws(run, one_process, monkeypatch):
    monkeypatch.setattr(World, "barrier", lambda self: None)
    for rank, pictures in ((0, 1), (1, 0)):
        tracked = []
        values = validator(
            run,
            world=World(rank, 2),
            samples=None,
            closed_loop=lambda network, warn, tracked=tracked: tracked.append(1) or {"AUC": 0.1},
        )
        assert values(3) == {"AUC": 0.1}
        assert len(tracked) == 1 and len(values.log.kept) == pictures


class Broken:
    """A source of samples that fails with anything."""

    def __init__(self, error):
        self.error, self.warned = error, set()

    def sample(self, epoch, number):
        raise self.error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(DataError("a.jpg: damaged"), "a.jpg: damaged", id="data"),
        pytest.param(RuntimeError("out of memory\nmore"), "RuntimeError: out of memory", id="any"),
    ],
)
def test_validation_that_fails_ends_no_training(run, error, text):
    """The checkpoint is written by then; started again, the training would end there again."""
    broken = {"samples": Broken(error), "pictured": Broken(error)}
    one = validator(run, **broken, closed_loop=lambda network, warn: {"AUC": 0.5})
    assert one(1) == {"AUC": 0.5}
    assert (
        one.log.warned
        == [
            f"warning: no losses of held-out samples: {text}",
            f"warning: no pictures of samples: {text}",
        ]
        or not one.log.kept
    )


def test_picture_shows_the_same_samples_every_time(run):
    one = validator(run)
    one(1), one(2)
    (name, first, _), (_, second, epoch) = one.log.kept
    assert (name, epoch) == ("samples", 2) and np.array_equal(first, second)
    assert first.shape == (6 * 192, (2 + 1 + 4) * 192, 3)


def test_samples_that_cannot_be_read_cost_the_picture(run):
    one = validator(run, samples=None, pictured=Broken(DataError("a.jpg: damaged")))
    assert one(1) == {} and not one.log.kept
    assert "a.jpg: damaged" in one.log.warned[0]


# what the network looks at ------------------------------------------------------------------


def pictures_of(run, number=3):
    batch = collate([run.sampler.sample(1, i) for i in range(number)])
    return batch


@pytest.mark.parametrize("feature_type", ["x", "xz", "token"])
def test_attention_is_that_of_the_last_layer(tmp_path, feature_type):
    cfg = training_config(FEATURE_TYPE=feature_type)
    run = make_run(tmp_path, cfg)
    objective = make_objective(cfg).eval()
    network, tokenizer = objective.network, objective.tokenizer
    batch = pictures_of(run)
    boxes, mean, std = batch.template_boxes, cfg.data.mean, cfg.data.std
    prediction = objective.predict(batch)
    with torch.no_grad():
        inputs = (normalise(batch.templates, mean, std), normalise(batch.search, mean, std))
        found = network.generate(*inputs, tokenizer, template_boxes=boxes)
    expected = tokenizer.decode(found.tokens).numpy()
    expected[:, :2] -= expected[:, 2:] / 2
    assert np.array_equal(prediction.boxes, expected)
    if feature_type == "token":
        assert prediction.attention is None
        return
    assert prediction.attention.shape == (3, 4, 4, 4)
    assert prediction.labels == ("centre x", "centre y", "width", "height")
    total = prediction.attention.sum(axis=(2, 3))
    assert total == pytest.approx(1) if feature_type == "x" else (total < 1).all()
    # Torch's own module, with the same weights, over the whole sentence at once.
    layer = network.decoder.body.layers[-1]
    own = torch.nn.MultiheadAttention(
        cfg.model.hidden_dim, cfg.model.decoder.nheads, batch_first=True
    )
    own.load_state_dict(layer.multihead_attn.state_dict())
    queries = []
    layer.multihead_attn.register_forward_hook(lambda m, args, out: queries.append(args[0]))
    with torch.no_grad():
        memory = network.memory(network.encode(*inputs, boxes))
        start = torch.full((3, 1), tokenizer.start)
        network.logits(memory, torch.cat([start, found.tokens[:, :3]], dim=1), boxes)
        keys = memory + network.pos_embed
        # They are projected already; heads lie one behind the other.
        own.in_proj_weight[: cfg.model.hidden_dim] = torch.eye(cfg.model.hidden_dim)
        own.in_proj_bias[: cfg.model.hidden_dim] = 0
        projected = queries[0].transpose(1, 2).flatten(2)
        _, weights = own(projected, keys, memory, average_attn_weights=True)
    cells = network.encoder.body.search_tokens
    assert prediction.attention.reshape(3, 4, -1) == pytest.approx(
        weights[..., :cells].numpy(), abs=1e-5
    )


def black(side, boxes):
    """One sample, with a box `(1, 4)` in both images."""
    image = torch.zeros(1, 1, side, side, 3, dtype=torch.uint8)
    boxes = torch.from_numpy(boxes)
    return Batch(image, image[:, 0], boxes[:, None], boxes, torch.zeros(1), ["black"])


def test_drawn_boxes_are_where_they_belong():
    boxes = np.array([[0.1, 0.2, 0.3, 0.4]])
    drawn = draw_samples(black(64, boxes), Prediction(np.array([[0.5, 0.5, 0.25, 0.25]])))
    assert drawn.shape == (192, 2 * 192, 3)
    corner = np.round(boxes[0] * 191).astype(int)
    for left, colour in ((0, (64, 255, 64)), (192, (64, 255, 64))):
        assert tuple(drawn[corner[1], left + corner[0]]) == colour
    assert tuple(drawn[96, 192 + 96]) == (255, 64, 64)


@pytest.mark.parametrize("box", [[np.nan] * 4, [-1e9, 5e9, 1e9, 1e9], [0, 0, 0, 0]])
def test_wild_answers_can_be_drawn(box):
    attention = np.zeros((1, 4, 2, 2), np.float32)
    prediction = Prediction(np.array([box]), attention, ("left", "top", "right", "bottom"))
    drawn = draw_samples(black(32, np.zeros((1, 4))), prediction)
    assert drawn.shape == (192, 6 * 192, 3)


# the closed loop ----------------------------------------------------------------------------


def closed(tmp_path, number=2, **val):
    folder = write_got10k_folder(tmp_path / "videos", ["a", "b", "c"])
    cfg = config(SEQUENCES_NAME=str(folder), SEQUENCES_NUMBER=number, **val)
    return build_closed_loop(cfg, resolve_paths(save_dir=tmp_path)), folder


def test_closed_loop_is_the_real_tracker_scored(tmp_path):
    loop, folder = closed(tmp_path)
    network = make_objective(loop.cfg).network
    tracker = SeqTrackTracker(network, loop.cfg)
    dataset = open_dataset(str(folder), resolve_paths(save_dir=tmp_path))
    tracked = []
    for name in ("a", "b"):
        sequence = dataset.load(name)
        boxes = run_sequence(tracker, sequence).boxes
        tracked.append(TrackedSequence(name, sequence.ground_truth, boxes))
    expected = score_dataset(tracked, "otb").total.auc
    warned = []
    assert loop(network, warned.append) == {"AUC": expected} and not warned
    # Weights that train are not calibrated: templates are written at the interval.
    test = loop.cfg.test.model_copy(update={"update_rule": "gated"})
    gated = dataclasses.replace(loop, cfg=loop.cfg.model_copy(update={"test": test}))
    assert gated(network, warned.append) == {"AUC": expected} and not warned


def test_only_the_first_frames_are_tracked_and_scored(tmp_path, monkeypatch):
    loop, _ = closed(tmp_path, SEQUENCES_FRAMES=3)
    scored = []
    monkeypatch.setattr(
        "lib.train.closed_loop.score_dataset",
        lambda tracked, protocol: scored.extend(tracked) or score_dataset(tracked, protocol),
    )
    warned = []
    assert loop(make_objective(loop.cfg).network, warned.append) and not warned
    assert [(len(one.predicted), len(one.ground_truth)) for one in scored] == [(3, 3)] * 2


def test_processes_share_the_sequences(tmp_path, monkeypatch):
    """What the main process scores is the same as if it had tracked them all."""
    loop, _ = closed(tmp_path, number=3)
    network = make_objective(loop.cfg).network
    alone, sent, warned = loop(network, print), [], []
    monkeypatch.setattr(World, "gather", lambda world, value: sent.append(value) or [])
    shares = [dataclasses.replace(loop, world=World(rank, 2)) for rank in (0, 1)]
    assert [share(network, warned.append) for share in shares] == [{}, {}]
    assert [[one.name for one in sequences] for sequences, _ in sent] == [["a", "c"], ["b"]]
    monkeypatch.setattr(World, "gather", lambda world, value: sent)
    assert shares[0](network, warned.append) == pytest.approx(alone, rel=1e-6) and not warned
    more = dataclasses.replace(loop, world=World(5, 6))
    assert more(network, warned.append) == alone  # it has none itself


@pytest.mark.parametrize("what", ["SeqTrackTracker", "join"])
def test_any_failure_costs_the_score_alone(tmp_path, monkeypatch, what):
    """As the first engine on CUDA did: a training that was saved could not go on any more."""

    def fail(*args, **options):
        raise ValueError("negative shift count")

    loop, _ = closed(tmp_path)
    monkeypatch.setattr(f"lib.train.closed_loop.{what}", fail)
    warned = []
    assert loop(make_objective(loop.cfg).network, warned.append) == {}
    assert warned == [
        f"closed-loop validation leaves out {name}: ValueError: negative shift count"
        for name in "ab"
    ]


def test_sequence_that_breaks_is_left_out(tmp_path):
    loop, folder = closed(tmp_path)
    network = make_objective(loop.cfg).network
    only_b = ClosedLoop(loop.cfg, loop.dataset, ("b",))(network, print)
    (folder / "a" / "00000002.jpg").write_bytes(b"")
    warned = []
    assert loop(network, warned.append) == only_b
    assert "leaves out a" in warned[0] and "00000002.jpg" in warned[0]
    (folder / "b" / "00000003.jpg").write_bytes(b"")
    assert loop(network, warned.append) == {}


def test_network_without_numbers_is_told_and_costs_the_score_alone(tmp_path):
    loop, _ = closed(tmp_path)
    network = make_objective(loop.cfg).network
    network.bottleneck.bias.data[:] = float("nan")
    warned = []
    assert loop(network, warned.append) == {}
    assert len(warned) == 2 and all("not finite" in text for text in warned)


def test_sequences_that_cannot_be_scored_cost_the_score_alone(tmp_path, monkeypatch):
    def refuse(tracked, kind):
        raise ResultsError("no such rules")

    monkeypatch.setattr("lib.train.closed_loop.score_dataset", refuse)
    loop, _ = closed(tmp_path)
    warned = []
    assert loop(make_objective(loop.cfg).network, warned.append) == {}
    assert warned == ["closed-loop validation gives no score: no such rules"]


def test_nothing_named_means_no_closed_loop(tmp_path):
    assert build_closed_loop(config(), resolve_paths(save_dir=tmp_path)) is None


def test_what_cannot_be_tracked_is_told_before_the_training(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        build_closed_loop(config(SEQUENCES_NAME="./nowhere"), resolve_paths(save_dir=tmp_path))
    loop, folder = closed(tmp_path)
    content = loop.cfg.model_dump(by_alias=True)
    content["TEST"]["SEARCH_SIZE"] = 96
    with pytest.raises(ConfigError, match="SEARCH_SIZE"):
        build_closed_loop(Config.model_validate(content), resolve_paths(save_dir=tmp_path))
    rows = (folder / "a" / "groundtruth.txt").read_text().splitlines()
    (folder / "a" / "groundtruth.txt").write_text(rows[0] + "\n")
    with pytest.raises(ConfigError, match="no ground truth but for the first"):
        build_closed_loop(loop.cfg, resolve_paths(save_dir=tmp_path))
