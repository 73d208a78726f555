"""Generated sequences: same seed same video, boxes and flags that agree with the pixels."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lib.datasets.sequence import FrameSource
from lib.synthetic.video.bodies import Body, ProceduralMaterials, make_sprite
from lib.synthetic.video.dataset import (
    BUILT_IN,
    SPLITS,
    SUITES,
    SyntheticFrames,
    load_synthetic,
    synthetic_sequence,
)
from lib.synthetic.video.layers import HIDDEN_SHARE
from lib.synthetic.video.render import Renderer
from lib.synthetic.video.spec import BODIES, SyntheticSpec, draw_spec
from lib.utils.errors import DataError

# Without light, noise and blur a white target on black is its own alpha mask.
_PLAIN = SyntheticSpec(
    length=40,
    distractors=0,
    partial_occlusions=0,
    motion_blur=0.0,
    lighting=0.0,
    shadow=0.0,
    noise=0.0,
)


class WhiteOnBlack(ProceduralMaterials):
    """The procedural shapes: those of one kind white, all else black."""

    def __init__(self, white: str) -> None:
        self.white = white

    def backdrop(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        return np.zeros((height, width, 3), np.uint8)

    def body(self, rng: np.random.Generator, kind: str) -> Body:
        shade = 255 if kind == self.white else 0
        parts = []
        for part in super().body(rng, kind).parts:
            alpha = np.ascontiguousarray(part.sprite.levels[0][:, :, 3])
            plain = make_sprite(np.full((*alpha.shape, 3), shade, np.uint8), alpha)
            parts.append(replace(part, sprite=plain))
        return Body(tuple(parts))


def _measured_box(mask: np.ndarray) -> np.ndarray:
    """Tight box of a boolean mask, xywh."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1], float)


@pytest.fixture(scope="module")
def suite() -> dict[str, SyntheticFrames]:
    return {
        name: SyntheticFrames(number, spec, split="test")
        for contents in SUITES.values()
        for number, (name, spec) in enumerate(contents.items(), start=1)
    }


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    first, again, other = (SyntheticFrames(seed, length=20) for seed in (5, 5, 6))
    assert first.spec == again.spec != other.spec
    assert np.array_equal(first.scene.boxes, again.scene.boxes)
    assert np.array_equal(first.scene.share, again.scene.share)
    for index in (0, 19):
        assert first.read(index).tobytes() == again.read(index).tobytes()
        assert first.read(index).tobytes() != other.read(index).tobytes()


def test_a_frame_does_not_depend_on_what_was_read_before() -> None:
    forward = synthetic_sequence(7, length=12).frames
    backward = synthetic_sequence(7, length=12).frames
    in_order = [forward.read(i) for i in range(12)]
    for index in (11, 3, 3, 0, 7):
        assert np.array_equal(backward.read(index), in_order[index])


def test_frames_pickle_as_a_recipe_and_come_back_equal() -> None:
    sequence = synthetic_sequence(8, length=10)
    before = sequence.frames.read(4)
    data = pickle.dumps(sequence.frames)
    assert len(data) < 2000, "pixels or geometry travel with the pickle"
    assert np.array_equal(pickle.loads(data).read(4), before)


def test_frames_are_images_of_the_asked_size() -> None:
    sequence = synthetic_sequence(3, length=5, size=(200, 120))
    assert isinstance(sequence.frames, FrameSource)
    frame = sequence.frames.read(4)
    assert frame.shape == (120, 200, 3) and frame.dtype == np.uint8
    assert frame.std() > 8, "a blank frame"
    assert sequence.ground_truth.shape == (5, 4) and sequence.ground_truth.dtype == np.float64
    assert sequence.visible is not None
    assert sequence.visible.shape == (5,) and sequence.visible.dtype == bool
    assert sequence.cover is None and sequence.resolution == (200, 120)


@pytest.mark.parametrize("body", BODIES)
def test_boxes_are_the_tight_boxes_of_the_alpha_mask(body: str) -> None:
    spec = replace(_PLAIN, body=body, deformation=1.0, rotation=90, target_size=0.25)
    sequence = synthetic_sequence(2, spec=spec, materials=WhiteOnBlack(body))
    for index in range(0, spec.length, 3):
        measured = _measured_box(sequence.frames.read(index)[:, :, 0] > 127)
        assert np.abs(measured - sequence.ground_truth[index]).max() <= 2, (body, index)


def test_a_target_that_leaves_has_its_box_cut_at_the_border() -> None:
    spec = replace(_PLAIN, body="ellipse", exits=1, length=60)
    frames = SyntheticFrames(4, spec, materials=WhiteOnBlack("ellipse"))
    boxes, visible = frames.scene.boxes, frames.scene.visible
    area = [(frames.read(i)[:, :, 0] > 127).sum() for i in range(60)]
    gone = np.flatnonzero(np.equal(area, 0))
    assert len(gone) > 0 and not visible[gone].any()
    x, y, w, h = boxes.T
    assert (x >= 0).all() and (y >= 0).all() and (x + w <= 320).all() and (y + h <= 240).all()
    assert visible[-5:].all(), "it comes back"
    for index in np.flatnonzero(visible).tolist():
        measured = _measured_box(frames.read(index)[:, :, 0] > 127)
        assert np.abs(measured - boxes[index]).max() <= 3, index


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_visible_flags_agree_with_the_pixels_that_are_left(seed: int) -> None:
    spec = replace(_PLAIN, body="star", length=70, partial_occlusions=1, full_occlusions=1)
    frames = SyntheticFrames(seed, spec, materials=WhiteOnBlack("star"))
    bare = replace(frames.scene, layers=frames.scene.layers[:1])
    unhidden = Renderer(bare, frames.materials, *(np.random.default_rng(i) for i in (0, 1)))
    left = [(frames.read(i) > 127).sum() / (unhidden.draw(i) > 127).sum() for i in range(70)]
    assert np.abs(frames.scene.share - left).max() < 0.12
    assert min(left) < HIDDEN_SHARE
    clear_cut = np.abs(np.array(left) - HIDDEN_SHARE) > 0.05
    assert np.array_equal(frames.scene.visible[clear_cut], (np.array(left) > 0.1)[clear_cut])


def test_splits_have_nothing_in_common() -> None:
    draws = {
        tuple(SyntheticFrames(seed, split=split)._generator(stream).integers(2**63, size=2))
        for split in SPLITS
        for seed in range(20)
        for stream in range(5)
    }
    assert len(draws) == len(SPLITS) * 20 * 5
    spec = replace(_PLAIN, length=5)
    boxes = [synthetic_sequence(1, split=s, spec=spec).ground_truth for s in ("train", "test")]
    assert np.abs(boxes[0] - boxes[1]).max() > 1


def test_built_in_sequences_are_of_the_test_split(suite: dict[str, SyntheticFrames]) -> None:
    assert [len(contents) for contents in SUITES.values()] == [12, 12] and len(suite) == 24
    for name in list(suite)[1::7]:
        sequence = load_synthetic(name)
        assert sequence.name == name and "split test" in sequence.annotation
        assert np.array_equal(sequence.ground_truth, suite[name].scene.boxes)
        assert np.array_equal(sequence.frames.read(5), suite[name].read(5))


@pytest.mark.parametrize("number", [3, 1, 2], ids=["never away", "hidden", "leaves"])
def test_a_sequence_of_long_absences_has_one_as_long_as_it_says(number: int) -> None:
    split, contents = BUILT_IN["synthetic_absence"]
    name, spec = list(contents.items())[number - 1]
    sequence = load_synthetic(name)
    assert f"split {split}" in sequence.annotation and len(sequence) == 120
    gone = int((~sequence.visible).sum())
    assert (spec.exits, spec.full_occlusions) == (int(number == 2), int(number == 1))
    # Look-alikes in front may hide it for some frames more.
    assert gone >= 6 if number < 3 else gone <= 6


def test_calibration_and_test_have_no_sequence_in_common() -> None:
    (first, test), (second, fit) = BUILT_IN["synthetic_absence"], BUILT_IN["synthetic_calibration"]
    assert (first, second) == ("test", "val") and not test.keys() & fit.keys()


def test_each_test_sequence_is_hard_in_the_common_ways(suite: dict[str, SyntheticFrames]) -> None:
    for name, frames in suite.items():
        spec, scene = frames.spec, frames.scene
        common = {"look-alikes", "partial occlusion", "scale change", "camera motion"}
        assert common <= spec.challenges and len(frames) >= 100
        sides = np.sqrt(scene.boxes[scene.visible, 2:].prod(axis=1))
        assert sides.max() / sides.min() > 1.4, f"{name}: hardly any scale change"
        assert scene.share.min() < 0.8, f"{name}: no occlusion"
        promised, hidden = spec.full_occlusions or spec.exits, (~scene.visible).any()
        # Every third look-alike is in front of the target, and may hide it by chance.
        assert hidden if promised else not hidden or spec.distractors >= 3, name


def test_every_challenge_is_in_some_test_sequence_and_in_some_drawn_one() -> None:
    extreme = SyntheticSpec(
        body="figure",
        target_size=0.1,
        speed=2,
        rotation=90,
        full_occlusions=1,
        exits=1,
        shake=2,
        motion_blur=1,
        defocus=2,
        lighting=1,
        noise=9,
    )
    hard = SUITES["synthetic_hard"].values()
    tested = frozenset().union(*(spec.challenges for spec in hard))
    assert tested == extreme.challenges
    drawn = [draw_spec(np.random.default_rng(seed)) for seed in range(60)]
    assert frozenset().union(*(spec.challenges for spec in drawn)) == extreme.challenges
    assert {spec.body for spec in drawn} == set(BODIES)


def test_motion_and_sizes_are_those_of_a_video(suite: dict[str, SyntheticFrames]) -> None:
    for frames in [*suite.values(), *(SyntheticFrames(seed) for seed in range(8))]:
        boxes, visible = frames.scene.boxes, frames.scene.visible
        assert np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all()
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        step = np.hypot(*np.diff(centers, axis=0).T)[visible[1:] & visible[:-1]]
        assert step.max() <= 0.08 * 320 and 0.5 < step.mean() < 8, frames.describe(0)
        sides = np.sqrt(boxes[visible, 2:].prod(axis=1))
        assert sides.min() > 6 and sides.max() < 0.65 * 240, frames.describe(0)
        assert visible.mean() >= 0.85


def test_the_first_frame_shows_the_whole_target(suite: dict[str, SyntheticFrames]) -> None:
    for frames in [*suite.values(), *(SyntheticFrames(seed) for seed in range(8, 14))]:
        x, y, w, h = frames.scene.boxes[0]
        assert x > 0 and y > 0 and x + w < 320 and y + h < 240
        assert min(w, h) >= 8 and frames.scene.share[0] >= 0.9


def test_a_box_that_stays_put_fails_on_the_test_sequences(
    suite: dict[str, SyntheticFrames],
) -> None:
    scores = []
    for frames in suite.values():
        boxes = frames.scene.boxes
        low = np.maximum(boxes[:, :2], boxes[0, :2])
        high = np.minimum(boxes[:, :2] + boxes[:, 2:], boxes[0, :2] + boxes[0, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        overlap = common / (boxes[:, 2:].prod(axis=1) + boxes[0, 2:].prod() - common)
        overlap[~frames.scene.visible] = -1
        scores.append(np.mean([(overlap > t).mean() for t in np.arange(0, 1.05, 0.05)]))
    assert max(scores) <= 0.3
    assert np.mean(scores[:12]) <= 0.2 and np.mean(scores[12:]) <= 0.1


@pytest.mark.parametrize("length", [1, 2, 8, 30])
def test_short_clips_work(length: int) -> None:
    sequence = synthetic_sequence(11, length=length)
    assert len(sequence) == length and sequence.frames.read(length - 1).any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"body": "bolb"}, "did you mean 'blob'", id="unknown body"),
        pytest.param({"length": 0}, "length is 0", id="no frames"),
        pytest.param({"target_size": 0.9}, "target_size is 0.9", id="too big"),
        pytest.param({"size": (320, 20)}, "(320, 20)", id="frame too small"),
        pytest.param({"noise": float("nan")}, "noise is nan", id="not a number"),
    ],
)
def test_impossible_specs_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match="synthetic") as error:
        SyntheticSpec(**changes)
    assert words in str(error.value)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(DataError, match=r"synthetic-0001.*did you mean 'synthetic-001'"):
        load_synthetic("synthetic-0001")
    with pytest.raises(DataError, match=r"'dev'.*train, val, test"):
        synthetic_sequence(1, split="dev")
    with pytest.raises(DataError, match="-3"):
        synthetic_sequence(-3)
    with pytest.raises(DataError, match="frame 5 does not exist"):
        synthetic_sequence(1, length=5).frames.read(5)
    crowded = SyntheticSpec(length=12, full_occlusions=3, exits=3)
    with pytest.raises(DataError, match="no scene of 12 frames"):
        synthetic_sequence(1, spec=crowded)
