"""Lock-step evaluation: the same boxes as one by one, whoever joins, leaves or fails."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch

from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.evaluation.lockstep import Lockstep
from lib.evaluation.one_by_one import OneByOne
from lib.evaluation.plan import Job, RunOptions
from lib.evaluation.run import evaluate, make_follow
from lib.evaluation.sequence import ListSource
from lib.models.seqtrack import build_seqtrack
from lib.results.files import ResultsFolder, read_results
from lib.tracker import seqtrack
from lib.tracker.baselines.static_box import StaticBox
from lib.tracker.build import build_tracker
from lib.tracker.seqtrack import SeqTrackTracker
from lib.tracker.spec import TrackerSpec
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import DataError
from lib.utils.image_io import write_rgb
from tests.evaluation.test_runner import RECORD
from tests.helpers.tiny import draw_sequence, tiny_config

# Templates change every third frame, so targets that joined at different times differ in them.
UPDATES = {"UPDATE_INTERVALS": {"DEFAULT": 3}, "UPDATE_THRESHOLD": {"DEFAULT": 0.0}}
LENGTHS = {"a": 9, "b": 4, "c": 1, "d": 12, "e": 7}


@pytest.fixture(scope="module")
def cfg():
    return tiny_config(TEST=UPDATES)


@pytest.fixture(scope="module")
def network(cfg):
    """Weights large enough that the tokens depend on the picture."""
    torch.manual_seed(3)
    network = build_seqtrack(cfg)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return network


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("lockstep") / "videos"
    for seed, (name, length) in enumerate(LENGTHS.items()):
        # Every sequence of another size, and another start.
        frames, boxes = draw_sequence(length + seed, 96 + 8 * seed, 80 + 4 * seed, seed)
        (root / name).mkdir(parents=True)
        for i in range(length):
            write_rgb(root / name / f"{i + 1:08d}.jpg", frames[seed + i])
        np.savetxt(root / name / "groundtruth.txt", boxes[seed:], delimiter=",", fmt="%.4f")
    return root


@pytest.fixture
def dataset(videos):
    return open_dataset(str(videos), resolve_paths())


def track(follow, network, cfg, names=tuple(LENGTHS)):
    """Outcome by name, and the frames that were counted."""
    counted = []
    tracker = SeqTrackTracker(network, cfg)
    outcomes = follow(tracker, ListSource(names), lambda: counted.append(1))
    return {outcome.name: outcome for outcome in outcomes}, len(counted)


@pytest.fixture
def alone(dataset, network, cfg):
    return track(OneByOne(dataset, RunOptions()), network, cfg)[0]


@pytest.mark.parametrize("size", [2, 3, 16])
def test_a_batch_gives_the_boxes_of_one_by_one(dataset, network, cfg, alone, size):
    together, frames = track(Lockstep(dataset, RunOptions(batch_size=size)), network, cfg)
    assert sorted(together) == sorted(LENGTHS) and frames == sum(LENGTHS.values())
    moved = 0
    for name, length in LENGTHS.items():
        ours, theirs = together[name].result, alone[name].result
        assert ours.boxes.shape == (length, 4) and ours.times.shape == (length,)
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        np.testing.assert_allclose(ours.confidences, theirs.confidences, rtol=1e-5)
        moved += len(np.unique(ours.boxes, axis=0)) > 2
    assert moved >= 3, "boxes that never move would be equal anyway"


def test_sequences_join_as_others_end(dataset, network, cfg, monkeypatch):
    """Two at a time: the batch is full until the last ones are on their way."""
    sizes = []
    step = seqtrack.track_step
    monkeypatch.setattr(seqtrack, "track_step", lambda *a: sizes.append(len(a[3])) or step(*a))
    track(Lockstep(dataset, RunOptions(batch_size=2)), network, cfg)
    # a 8 steps, b 3, c none, d 11, e 6: a with b, a with d, d with e.
    assert sizes == [2] * 14


def test_max_frames_and_pictures(dataset, network, cfg, tmp_path):
    options = RunOptions(batch_size=3, max_frames=5, debug_dir=tmp_path)
    together, frames = track(Lockstep(dataset, options), network, cfg)
    assert {name: len(o.result.boxes) for name, o in together.items()} == {
        name: min(length, 5) for name, length in LENGTHS.items()
    }
    assert frames == 5 + 4 + 1 + 5 + 5
    assert sorted(path.name for path in (tmp_path / "d").iterdir())[-1] == "000005.jpg"


def test_failures_stop_nobody_else(videos, network, cfg, alone, tmp_path):
    """A broken picture, a broken first one, a first box outside, and an unknown name."""
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    (copy / "a" / "00000004.jpg").write_bytes(b"no picture")
    (copy / "b" / "00000001.jpg").write_bytes(b"no picture")
    truth = copy / "c" / "groundtruth.txt"
    truth.write_text("5000,5000,10,10\n")
    dataset = open_dataset(str(copy), resolve_paths())
    names = [*LENGTHS, "nobody"]
    together, _ = track(Lockstep(dataset, RunOptions(batch_size=3)), network, cfg, names)
    assert "00000004.jpg" in together["a"].reason
    assert "00000001.jpg" in together["b"].reason
    assert f"{truth}: first box" in together["c"].reason
    assert "'nobody'" in together["nobody"].reason
    for name in ("d", "e"):
        np.testing.assert_array_equal(together[name].result.boxes, alone[name].result.boxes)


def test_a_target_that_cannot_be_tracked_leaves_alone(dataset, network, cfg, alone, monkeypatch):
    """The step of the whole batch fails; one by one it turns out who was to blame."""
    step = seqtrack.track_step
    bad = dataset.load("d").frames.read(3)

    def picky(engine, settings, states, images, witness):
        if any(np.array_equal(image, bad) for image in images):
            raise ZeroDivisionError("oops")
        return step(engine, settings, states, images, witness)

    monkeypatch.setattr(seqtrack, "track_step", picky)
    together, _ = track(Lockstep(dataset, RunOptions(batch_size=4)), network, cfg)
    assert together["d"].reason == "ZeroDivisionError: oops"
    for name in ("a", "b", "c", "e"):
        np.testing.assert_array_equal(together[name].result.boxes, alone[name].result.boxes)


def test_worker_processes_in_lock_step(dataset, network, cfg, alone, tmp_path):
    """Two processes, each with a batch, and a resume with another batch size."""
    save_checkpoint(tmp_path / "tiny.pth.tar", {"net": network.state_dict()})
    spec = TrackerSpec("seqtrack", "tiny", cfg, tmp_path / "tiny.pth.tar")
    folder = ResultsFolder(tmp_path / "results")
    options = RunOptions(batch_size=2, as_float=True)

    def run(options, **how):
        return evaluate(
            Job(dataset, list(LENGTHS), spec, folder, RECORD, options), ["cpu"] * 2, **how
        )

    assert sorted(run(options, in_process=False).finished) == sorted(LENGTHS)
    folder.boxes_file("e").unlink()
    again = run(dataclasses.replace(options, batch_size=3))
    assert (again.finished, len(again.resumed)) == (["e"], 4)
    for name in LENGTHS:
        np.testing.assert_allclose(
            read_results(folder.boxes_file(name)), alone[name].result.boxes, atol=1e-6
        )


@pytest.mark.parametrize("picture", ["b/000001.jpg", "b/000003.jpg"])
def test_a_full_disk_in_lock_step(dataset, network, cfg, tmp_path, monkeypatch, picture):
    """At the first picture of a sequence that joins, or at one of a later step."""
    debug, replace = tmp_path / "debug", os.replace

    def full(source, target):
        if str(target).endswith(picture):
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    options = RunOptions(batch_size=2, debug_dir=debug)
    outcomes, _ = track(Lockstep(dataset, options), network, cfg)
    assert [name for name in LENGTHS if outcomes[name].disk_full] == ["b"]
    assert picture in outcomes["b"].reason
    assert [name for name in LENGTHS if outcomes[name].result is None] == ["b"]


@pytest.mark.parametrize("name", ["static_box", "template_match"])
def test_a_tracker_without_a_step_of_its_own_is_taken_in_turns(dataset, name):
    """By `initialize` and `track`, with the same boxes; a target that fails leaves alone."""
    spec = TrackerSpec(name, "default")
    options = RunOptions(batch_size=3)
    job = Job(dataset, [], spec, None, RECORD, options)
    tracks = (OneByOne(dataset, options), make_follow(job))
    alone, together = (
        {one.name: one for one in follow(build_tracker(spec), ListSource(LENGTHS), lambda: None)}
        for follow in tracks
    )
    assert isinstance(tracks[1], Lockstep) and together.keys() == alone.keys()
    for one, other in zip(alone.values(), (together[key] for key in alone), strict=True):
        np.testing.assert_array_equal(one.result.boxes, other.result.boxes)


class Picky(StaticBox):
    """It fails in the third frame of a wide target, and tells how far each target came."""

    shared = ("seen",)

    def __init__(self):
        self.seen = []

    def initialize(self, image, info):
        super().initialize(image, info)
        self.frame = 0

    def track(self, image, info=None):
        self.frame += 1
        self.seen.append((self.box[0], self.frame))
        if self.frame == 2 and self.box[0] == 1:
            raise DataError("too wide")
        return super().track(image)


def test_one_target_of_a_default_step_fails_alone():
    tracker, image = Picky(), np.zeros((9, 9, 3), np.uint8)
    states = [tracker.start(image, (x, 1, 2, 2))[0] for x in (0, 1, 2)]
    for _ in range(2):
        answers = tracker.step(states, [image] * 3)
    assert [isinstance(one, Exception) for one in answers] == [False, True, False]
    assert sorted(tracker.seen) == [(x, frame) for x in (0, 1, 2) for frame in (1, 2)]
